//! L1 on moka, bounded in bytes. Freshness, order and expiry on read are the core's.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use equivalent::Equivalent;
use moka::Expiry;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::cache::entry::CachedEntry;
use crate::cache::key::{Key, KeyRef};
use crate::cache::stats::L1Counters;
use crate::cache::tier::{L1, L1Usage, NotTaken};

/// Bytes an entry costs beyond its key, content type and value: measured, see
/// `an_entry_costs_what_it_is_weighed`.
pub const OVERHEAD: usize = 560;

/// Bytes a tag costs beyond its own.
const TAG_OVERHEAD: usize = 48;

/// Part of the memory tier that one value may fill, as its divisor. A larger value is not kept.
pub const LARGEST_SHARE: u64 = 8;

/// Eviction policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// Evicts the least recently used. Takes every new entry.
    Lru,
    /// Evicts the least often used. May refuse a new entry in favour of those in use.
    TinyLfu,
}

/// Configuration of the memory tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L1Config {
    /// Most bytes of entries.
    pub size: u64,
    /// Eviction policy.
    pub eviction: Eviction,
}

/// The memory tier of one replica.
pub struct MokaL1 {
    entries: Cache<Key, Arc<CachedEntry>>,
    max_bytes: u64,
    counters: Arc<L1Counters>,
}

// === impl MokaL1 ===

impl MokaL1 {
    /// Creates an empty memory tier of `max_bytes`.
    pub fn new(max_bytes: u64, eviction: Eviction) -> MokaL1 {
        let counters = Arc::new(L1Counters::default());
        let listener = counters.clone();
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|key, held: &Arc<CachedEntry>| u32::try_from(weight(key, held)).unwrap_or(u32::MAX))
            .eviction_policy(match eviction {
                Eviction::Lru => EvictionPolicy::lru(),
                Eviction::TinyLfu => EvictionPolicy::tiny_lfu(),
            })
            .expire_after(KeepFor)
            // Counts only: moka switches a listener off after a panic.
            .eviction_listener(move |key: Arc<Key>, held: Arc<CachedEntry>, cause| {
                let namespace = &held.namespace.counters;
                namespace.entries.sub(1);
                namespace.bytes.sub(weight(&key, &held));
                let (all, own) = match cause {
                    RemovalCause::Size => (&listener.evicted_size, &namespace.evicted_size),
                    RemovalCause::Expired => (&listener.evicted_expired, &namespace.evicted_expired),
                    RemovalCause::Explicit => (&listener.removed, &namespace.removed),
                    RemovalCause::Replaced => (&listener.replaced, &namespace.replaced),
                };
                all.inc();
                own.inc();
            })
            .build();
        MokaL1 { entries, max_bytes, counters }
    }
}

impl L1 for MokaL1 {
    fn get(&self, key: KeyRef<'_>) -> Option<Arc<CachedEntry>> {
        self.entries.get(&key)
    }

    fn insert(&self, key: Key, held: Arc<CachedEntry>) -> Result<(), NotTaken> {
        if held.entry.content.len() as u64 > self.max_bytes / LARGEST_SHARE {
            self.counters.rejected.inc();
            self.remove(key.as_ref());
            return Err(NotTaken::TooLarge);
        }
        let (weight, counters) = (weight(&key, &held), &held.namespace.counters);
        let quota = held.namespace.policy().max_bytes;
        if !counters.bytes.add_within(weight, quota) {
            // The entry that it replaces may free the room it needs.
            self.remove(key.as_ref());
            if !counters.bytes.add_within(weight, quota) {
                return Err(NotTaken::OverQuota(quota));
            }
        }
        counters.entries.inc();
        self.entries.insert(key, held);
        Ok(())
    }

    fn remove(&self, key: KeyRef<'_>) {
        self.entries.invalidate(&key);
    }

    fn each(&self, visit: &mut dyn FnMut(&Key, &Arc<CachedEntry>) -> ControlFlow<()>) {
        let _ = self.entries.iter().try_for_each(|(key, held)| visit(&key, &held));
    }

    fn usage(&self) -> L1Usage {
        // Runs what moka defers: evictions, and their counts.
        self.entries.run_pending_tasks();
        L1Usage {
            entries: self.entries.entry_count(),
            bytes: self.entries.weighted_size(),
            max_bytes: self.max_bytes,
            counts: self.counters.read(),
        }
    }
}

fn weight(key: &Key, held: &CachedEntry) -> u64 {
    let tags: usize = held.entry.tags.iter().map(|tag| TAG_OVERHEAD + tag.len()).sum();
    (OVERHEAD + key.bytes().len() + held.entry.content_type.len() + held.entry.content.len() + tags) as u64
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.as_ref()
    }
}

/// Expiry of entries: after their end and stale window, but no later than the namespace's `l1_ttl`.
/// Reads do not extend it.
struct KeepFor;

impl KeepFor {
    fn of(held: &CachedEntry) -> Option<Duration> {
        Some(held.entry.kept_until.since(held.known_at).min(held.namespace.policy().l1_ttl))
    }
}

impl Expiry<Key, Arc<CachedEntry>> for KeepFor {
    fn expire_after_create(&self, _: &Key, held: &Arc<CachedEntry>, _: Instant) -> Option<Duration> {
        KeepFor::of(held)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        held: &Arc<CachedEntry>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        KeepFor::of(held)
    }
}
