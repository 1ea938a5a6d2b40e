//! One warm start under way: which keys it loads, in which order, and how fast.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::hot_key_list;
use super::shared_store::{KeyScan, ScanPosition};
use super::warm_start_context::{HOT_KEYS_LIFETIME, SHARED_STORE_TIMEOUT, WarmStartContext};
use crate::cache::invalidation::selector;
use crate::cache::key::{Key, KeyRef};
use crate::cache::namespace::Namespace;

/// Most keys that are loaded in one trip, and most often that there is one in a second.
const TRIP: (usize, usize) = (64, 50);
/// Pause after a step of the search for keys below a prefix.
const SCAN_PAUSE: Duration = Duration::from_millis(2);

/// How far a warm start has come.
#[derive(Default)]
pub struct Progress {
    listed: AtomicU64,
    loaded: AtomicU64,
}

/// Loads keys, each once.
pub struct Loader<'a> {
    context: &'a WarmStartContext,
    progress: &'a Progress,
    begun: Instant,
    seen: HashSet<Key>,
}

// === impl Progress ===

impl Progress {
    /// Returns the number of keys found, and of entries loaded.
    pub fn counts(&self) -> (u64, u64) {
        (self.listed.load(Ordering::Relaxed), self.loaded.load(Ordering::Relaxed))
    }

    fn found(&self, keys: usize) {
        self.listed.fetch_add(keys as u64, Ordering::Relaxed);
    }
}

// === impl Loader ===

impl<'a> Loader<'a> {
    /// A loader that has loaded nothing.
    pub fn new(context: &'a WarmStartContext, progress: &'a Progress, begun: Instant) -> Loader<'a> {
        Loader { context, progress, begun, seen: HashSet::new() }
    }

    /// Loads the configured keys, then those that the fleet reads most, then those below the configured prefixes: the search for them may
    /// take longer than there is time.
    pub async fn load_all(mut self) {
        self.load_configured().await;
        self.load_listed().await;
        self.load_prefixes().await;
    }

    async fn load_configured(&mut self) {
        let mut keys = Vec::new();
        for (name, key) in &self.context.config.load_keys {
            keys.extend(self.configured(name).map(|namespace| KeyRef::new(&namespace, key).to_key()));
        }
        self.load(keys).await;
    }

    async fn load_listed(&mut self) {
        let context = self.context;
        // Longer than the time there is: that its end is noticed.
        let until = context.clock.now().plus(context.config.timeout + SHARED_STORE_TIMEOUT);
        let Ok(Some(note)) = context.shared_store.hot_keys(HOT_KEYS_LIFETIME, until).await else { return };
        let mut listed = hot_key_list::read(&note.text, 0.0);
        listed.truncate(context.config.keys);
        let mut keys = Vec::with_capacity(listed.len());
        for listed in &listed {
            // A namespace that this replica has no account of is left out.
            let namespace = context.namespaces.find(&listed.namespace);
            keys.extend(namespace.map(|namespace| KeyRef::new(&namespace, &listed.key).to_key()));
        }
        self.progress.found(listed.len() - keys.len());
        self.load(keys).await;
    }

    async fn load_prefixes(&mut self) {
        let mut left = self.context.config.keys;
        let mut by_namespace: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, prefix) in &self.context.config.load_prefixes {
            by_namespace.entry(name).or_default().push(prefix);
        }
        for (name, prefixes) in by_namespace {
            if let Some(namespace) = self.configured(name) {
                self.search(&namespace, &prefixes, &mut left).await;
            }
        }
    }

    /// Searches the shared tier for keys below `prefixes` of one namespace, and loads them as they are found, until there are none `left` to
    /// be loaded.
    async fn search(&mut self, namespace: &Arc<Namespace>, prefixes: &[&str], left: &mut usize) {
        let begin = common_begin(prefixes);
        let (shared_store, clock) = (&self.context.shared_store, &self.context.clock);
        let mut position = Some(ScanPosition::default());
        while let Some(at) = position.filter(|_| *left > 0) {
            let scan = KeyScan { namespace: namespace.name(), begin, at: &at };
            let page = match shared_store.scan_keys(scan, clock.now().plus(SHARED_STORE_TIMEOUT)).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(namespace = namespace.name(), %error, "a search for keys to load was given up");
                    return;
                }
            };
            let wanted = page.keys.iter().filter(|key| is_below(key, prefixes));
            let mut keys: Vec<Key> = wanted.map(|key| KeyRef::new(namespace, key).to_key()).collect();
            keys.retain(|key| !self.seen.contains(key));
            keys.truncate(*left);
            *left -= keys.len();
            self.load(keys).await;
            position = page.next;
            sleep(SCAN_PAUSE).await;
        }
    }

    /// Loads those of `keys` that were not loaded before, at the pace that is configured.
    async fn load(&mut self, keys: Vec<Key>) {
        let mut before = self.seen.len();
        let new: Vec<Key> = keys.into_iter().filter(|key| self.seen.insert(key.clone())).collect();
        self.progress.found(new.len());
        let a_second = self.context.config.keys_per_second;
        let trip = (a_second as usize / TRIP.1).clamp(1, TRIP.0);
        for keys in new.chunks(trip) {
            sleep_until(self.begun + Duration::from_secs(1) * before as u32 / a_second).await;
            before += keys.len();
            let loaded = self.context.cache.load_into_l1(keys).await;
            self.progress.loaded.fetch_add(loaded as u64, Ordering::Relaxed);
        }
    }

    /// The namespace that the configuration names. `None` if there is no room for another.
    fn configured(&self, name: &str) -> Option<Arc<Namespace>> {
        let found = self.context.namespaces.get("warm_start", name);
        found.map_err(|error| tracing::warn!(namespace = name, %error, "keys to load are left out")).ok()
    }
}

/// Returns true if `key` is below one of `prefixes`, of which an empty one is for every key.
fn is_below(key: &[u8], prefixes: &[&str]) -> bool {
    let is_one = |candidate: &[u8]| prefixes.iter().any(|prefix| prefix.as_bytes() == candidate);
    prefixes.contains(&"") || selector::prefixes(key).any(is_one)
}

/// The beginning that all of `prefixes` share.
fn common_begin<'a>(prefixes: &[&'a str]) -> &'a str {
    let Some((first, others)) = prefixes.split_first() else { return "" };
    others.iter().fold(first, |common, other| {
        let pairs = common.char_indices().zip(other.chars());
        let differs = pairs.filter(|((_, one), other)| one != other).map(|((at, _), _)| at).next();
        &common[..differs.unwrap_or(common.len().min(other.len()))]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_begins_with_what_its_prefixes_share() {
        for (prefixes, shared) in [
            (&["user:1"][..], "user:1"),
            (&["user:1", "user:22"], "user:"),
            (&["user", "user:22"], "user"),
            (&["a", "b"], ""),
            (&["é1", "è1"], ""),
            (&["user:1", ""], ""),
            (&[], ""),
        ] {
            assert_eq!(common_begin(prefixes), shared, "{prefixes:?}");
        }
    }

    #[test]
    fn a_key_is_below_a_prefix_by_its_segments() {
        let below = |key: &str, prefixes: &[&str]| is_below(key.as_bytes(), prefixes);
        assert!(below("user:1:posts", &["x", "user:1"]) && below("user:1", &["user:1"]) && below("any", &[""]));
        assert!(!below("user:12", &["user:1"]) && !below("user", &["user:1"]));
    }
}
