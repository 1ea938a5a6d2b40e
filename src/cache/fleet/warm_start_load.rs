//! Loader of a warm start: order, pace and progress of the keys that it loads.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::hot_key_list;
use super::warm_start_context::{HOT_KEYS_LIFETIME, SHARED_STORE_TIMEOUT, WarmStartContext};
use crate::cache::invalidation::selector;
use crate::cache::key::{Key, KeyRef};
use crate::cache::namespace::Namespace;
use crate::cache::tier::{KeyScan, ScanPosition};

/// Most keys of one batch, and most batches per second.
const TRIP: (usize, usize) = (64, 50);
/// Approximate number of keys that a step of the search for keys by prefix looks at.
const SCAN_COUNT: u32 = 500;
/// Pause after a step of the search for keys by prefix.
const SCAN_PAUSE: Duration = Duration::from_millis(2);

/// Progress of a warm start.
#[derive(Default)]
pub struct Progress {
    listed: AtomicU64,
    loaded: AtomicU64,
}

/// Loads keys, each once.
pub struct Loader<'a> {
    context: &'a WarmStartContext,
    progress: &'a Progress,
    started_at: Instant,
    seen: HashSet<Key>,
}

// === impl Progress ===

impl Progress {
    /// Returns the numbers of keys found and of entries loaded.
    pub fn counts(&self) -> (u64, u64) {
        (self.listed.load(Ordering::Relaxed), self.loaded.load(Ordering::Relaxed))
    }

    fn found(&self, keys: usize) {
        self.listed.fetch_add(keys as u64, Ordering::Relaxed);
    }
}

// === impl Loader ===

impl<'a> Loader<'a> {
    /// Creates a loader that has loaded nothing.
    pub fn new(context: &'a WarmStartContext, progress: &'a Progress, started_at: Instant) -> Loader<'a> {
        Loader { context, progress, started_at, seen: HashSet::new() }
    }

    /// Loads the configured keys, the hot keys of the fleet, then the keys of the configured
    /// prefixes, because the search for these may take longer than the timeout.
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
        // Longer than the timeout of the warm start, which then ends it and is recorded.
        let deadline = context.clock.now().plus(context.config.timeout + SHARED_STORE_TIMEOUT);
        let Ok(Some(note)) = context.shared_store.hot_keys(HOT_KEYS_LIFETIME, deadline).await else { return };
        let mut listed = hot_key_list::read(&note.text, 0.0);
        listed.truncate(context.config.keys);
        let mut keys = Vec::with_capacity(listed.len());
        for listed in &listed {
            // An unregistered namespace is left out.
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

    /// Searches the shared tier for keys by `prefixes` of one namespace, and loads them as they are
    /// found, at most `left` keys.
    async fn search(&mut self, namespace: &Arc<Namespace>, prefixes: &[&str], left: &mut usize) {
        let begin = common_begin(prefixes);
        let (cache, clock) = (&self.context.cache, &self.context.clock);
        let mut position = Some(ScanPosition::default());
        while let Some(at) = position.filter(|_| *left > 0) {
            let scan = KeyScan { namespace: Some(namespace.name()), begin, at: &at, count: SCAN_COUNT };
            let page = match cache.scan_keys(scan, clock.now().plus(SHARED_STORE_TIMEOUT)).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(namespace = namespace.name(), %error, "warm start: key search failed");
                    return;
                }
            };
            let wanted = page.keys.iter().map(|found| &found.key).filter(|key| is_below(key, prefixes));
            let mut keys: Vec<Key> = wanted.map(|key| KeyRef::new(namespace, key).to_key()).collect();
            keys.retain(|key| !self.seen.contains(key));
            keys.truncate(*left);
            *left -= keys.len();
            self.load(keys).await;
            position = page.next;
            sleep(SCAN_PAUSE).await;
        }
    }

    /// Loads those of `keys` that were not loaded before, at the configured pace.
    async fn load(&mut self, keys: Vec<Key>) {
        let mut before = self.seen.len();
        let new: Vec<Key> = keys.into_iter().filter(|key| self.seen.insert(key.clone())).collect();
        self.progress.found(new.len());
        let a_second = self.context.config.keys_per_second;
        let trip = (a_second as usize / TRIP.1).clamp(1, TRIP.0);
        for keys in new.chunks(trip) {
            sleep_until(self.started_at + Duration::from_secs(1) * before as u32 / a_second).await;
            before += keys.len();
            let loaded = self.context.cache.load_into_l1(keys).await;
            self.progress.loaded.fetch_add(loaded as u64, Ordering::Relaxed);
        }
    }

    /// Returns a configured namespace. `None` if there is no room for another.
    fn configured(&self, name: &str) -> Option<Arc<Namespace>> {
        let found = self.context.namespaces.get("warm_start", name);
        found.map_err(|error| tracing::warn!(namespace = name, %error, "warm start: skipped keys of a namespace")).ok()
    }
}

/// Returns true if `key` is below one of `prefixes`. An empty prefix selects every key.
fn is_below(key: &[u8], prefixes: &[&str]) -> bool {
    let is_one = |candidate: &[u8]| prefixes.iter().any(|prefix| prefix.as_bytes() == candidate);
    prefixes.contains(&"") || selector::prefixes(key).any(is_one)
}

/// Returns the longest common beginning of `prefixes`.
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
