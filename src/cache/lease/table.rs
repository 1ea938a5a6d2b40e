//! Table of the leases granted here, counted by namespace.

use std::collections::HashMap;

use crate::cache::clock::Moment;
use crate::cache::key::Key;
use crate::cache::tier::LeaseId;

/// Most leases granted here at once, over all namespaces.
pub const MAX_LEASES: usize = 65_536;

/// The holder of a lease. Without an id the lease is paused.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    /// The lease.
    pub id: Option<LeaseId>,
    /// True if this replica granted it alone.
    pub alone: bool,
}

/// Leases granted here that were neither used nor released, and have not ended.
#[derive(Default)]
pub struct LeaseTable {
    namespaces: HashMap<u32, NamespaceLeases>,
    /// Number of leases, and of places reserved for further ones.
    total: usize,
}

struct NamespaceLeases {
    holders: HashMap<Key, (Holder, Moment)>,
    /// Places reserved for leases that are being requested.
    reserved: usize,
    /// No lease ends before this time.
    first_end: Moment,
}

/// The limit that keeps a lease from being granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// That of the namespace.
    Namespace,
    /// That of all namespaces together.
    All,
}

// === impl LeaseTable ===

impl LeaseTable {
    /// Returns the holder of `key`, and the end of its lease.
    pub fn get(&self, key: &Key, now: Moment) -> Option<(Holder, Moment)> {
        let leases = self.namespaces.get(&key.namespace().id)?;
        leases.holders.get(key).copied().filter(|(_, until)| now < *until)
    }

    /// Reserves a place in `namespace`, which may have `limit` leases. 0: no limit of its own.
    pub fn reserve(&mut self, namespace: u32, limit: u64, now: Moment) -> Result<(), NoPlace> {
        let used = |table: &LeaseTable| table.namespaces.get(&namespace).map_or(0, NamespaceLeases::used);
        if limit > 0 && used(self) as u64 >= limit {
            self.forget_ended(namespace, now);
            if used(self) as u64 >= limit {
                return Err(NoPlace::Namespace);
            }
        }
        if self.total >= MAX_LEASES {
            let ids: Vec<u32> = self.namespaces.keys().copied().collect();
            ids.into_iter().for_each(|id| self.forget_ended(id, now));
            if self.total >= MAX_LEASES {
                return Err(NoPlace::All);
            }
        }
        self.of(namespace).reserved += 1;
        self.total += 1;
        Ok(())
    }

    /// Gives a reserved place back.
    pub fn give_back(&mut self, namespace: u32) {
        self.of(namespace).reserved -= 1;
        self.total -= 1;
        self.drop_if_empty(namespace);
    }

    /// Records a lease until `until`.
    pub fn insert(&mut self, key: Key, holder: Holder, until: Moment) {
        let leases = self.of(key.namespace().id);
        leases.first_end = leases.first_end.min(until);
        if leases.holders.insert(key, (holder, until)).is_none() {
            self.total += 1;
        }
    }

    /// Forgets the lease of `key`.
    pub fn remove(&mut self, key: &Key) {
        let id = key.namespace().id;
        if self.namespaces.get_mut(&id).is_some_and(|leases| leases.holders.remove(key).is_some()) {
            self.total -= 1;
            self.drop_if_empty(id);
        }
    }

    fn forget_ended(&mut self, namespace: u32, now: Moment) {
        let Some(leases) = self.namespaces.get_mut(&namespace).filter(|leases| leases.first_end <= now) else { return };
        let before = leases.holders.len();
        leases.holders.retain(|_, (_, until)| now < *until);
        leases.first_end = leases.holders.values().map(|(_, until)| *until).min().unwrap_or(Moment::FOREVER);
        self.total -= before - leases.holders.len();
        self.drop_if_empty(namespace);
    }

    fn of(&mut self, namespace: u32) -> &mut NamespaceLeases {
        self.namespaces.entry(namespace).or_insert_with(|| NamespaceLeases {
            holders: HashMap::new(),
            reserved: 0,
            first_end: Moment::FOREVER,
        })
    }

    fn drop_if_empty(&mut self, namespace: u32) {
        if self.namespaces.get(&namespace).is_some_and(|leases| leases.used() == 0) {
            self.namespaces.remove(&namespace);
        }
    }
}

impl NamespaceLeases {
    fn used(&self) -> usize {
        self.holders.len() + self.reserved
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::cache::key::KeyRef;
    use crate::cache::namespace::Namespace;
    use crate::cache::policy::NamespacePolicy;

    fn holder() -> Holder {
        Holder { id: None, alone: true }
    }

    #[test]
    fn places_of_leases_that_have_ended_are_free_again() {
        let namespaces = [1, 2].map(|id| Arc::new(Namespace::new("n", id, NamespacePolicy::default(), 4)));
        let key = |of: usize, n: u64| KeyRef::new(&namespaces[of], &n.to_be_bytes()).to_key();
        let (mut table, now) = (LeaseTable::default(), Moment(1_000));
        let end = now.plus(Duration::from_secs(1));
        for n in 0..3 {
            assert_eq!(table.reserve(1, 3, now), Ok(()));
            table.insert(key(0, n), holder(), end);
            table.give_back(1);
        }
        assert_eq!(table.reserve(1, 3, now), Err(NoPlace::Namespace));
        assert_eq!(table.reserve(2, 1, now), Ok(()), "another namespace has places of its own");
        assert_eq!(table.reserve(2, 1, now), Err(NoPlace::Namespace), "a place that is reserved is taken");
        table.give_back(2);
        table.remove(&key(0, 0));
        assert_eq!(table.reserve(1, 3, now), Ok(()));
        assert_eq!(table.reserve(1, 3, now), Err(NoPlace::Namespace));
        assert_eq!(table.reserve(1, 3, end), Ok(()));
        table.give_back(1);
        table.give_back(1);
        assert_eq!((table.total, table.namespaces.len()), (0, 0));
    }

    #[test]
    fn all_namespaces_together_have_a_limit() {
        let (mut table, now) = (LeaseTable::default(), Moment(1_000));
        for n in 0..MAX_LEASES {
            assert_eq!(table.reserve(n as u32 % 100, 0, now), Ok(()));
        }
        assert_eq!(table.reserve(7, 0, now), Err(NoPlace::All));
    }
}
