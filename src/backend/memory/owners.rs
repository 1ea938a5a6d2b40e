//! Hashes of the entries of one shard by namespace, to find entries of one namespace.

/// Hashes that a list may keep of entries that are gone, beside as many as there are entries.
const SLACK: usize = 16;

/// Hashes of the entries of each namespace in one shard.
#[derive(Default)]
pub struct Owners(Vec<OwnerList>);

/// Hashes of the entries of one namespace. Hashes of removed entries stay until the list is
/// compacted, so that a removal does not search.
struct OwnerList {
    namespace: u32,
    /// Number of entries.
    live: usize,
    hashes: Vec<u32>,
}

// === impl Owners ===

impl Owners {
    /// Adds an entry of `namespace`. `is_live` tells whether a hash is of an entry of it.
    pub fn add(&mut self, namespace: u32, hash: u32, is_live: impl Fn(u32) -> bool) {
        let index = match self.find(namespace) {
            Ok(index) => index,
            Err(index) => {
                self.0.insert(index, OwnerList { namespace, live: 0, hashes: Vec::new() });
                index
            }
        };
        let list = &mut self.0[index];
        list.live += 1;
        list.hashes.push(hash);
        if list.hashes.len() > 2 * list.live + SLACK {
            list.hashes.sort_unstable();
            list.hashes.dedup();
            list.hashes.retain(|hash| is_live(*hash));
            list.hashes.shrink_to(2 * list.live);
        }
    }

    /// Counts an entry of `namespace` that was removed.
    pub fn remove(&mut self, namespace: u32) {
        if let Ok(index) = self.find(namespace) {
            let list = &mut self.0[index];
            list.live = list.live.saturating_sub(1);
            if list.live == 0 {
                self.0.remove(index);
            }
        }
    }

    /// Returns the hashes of the entries of `namespace`, and of some that were removed.
    pub fn hashes(&self, namespace: u32) -> &[u32] {
        self.find(namespace).map_or(&[], |index| &self.0[index].hashes)
    }

    fn find(&self, namespace: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&namespace, |list| list.namespace)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_list_has_the_hashes_of_all_entries_and_is_bounded_by_their_number() {
        let (mut owners, mut live) = (Owners::default(), HashSet::new());
        for hash in 0..10_000 {
            live.insert(hash);
            owners.add(7, hash, |hash| live.contains(&hash));
            if hash >= 10 {
                live.remove(&(hash - 10));
                owners.remove(7);
            }
            let listed: HashSet<u32> = owners.hashes(7).iter().copied().collect();
            assert!(live.is_subset(&listed));
            assert!(owners.hashes(7).len() <= 2 * live.len() + SLACK + 2);
        }
        assert_eq!(owners.hashes(8), &[0; 0]);
        (0..10).for_each(|_| owners.remove(7));
        assert!(owners.0.is_empty(), "a namespace without entries has no list");
    }
}
