//! L1 in shards, bounded in bytes over all of them, and for each namespace. Freshness, order and
//! expiry on read are the core's.
//!
//! A full L1 evicts the least used of a few entries that lie side by side in a table. There is no
//! list of all entries, so an entry takes less memory and a read changes no list. `shares` tells
//! which namespace loses entries; `owners` finds them.

use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::shard::{Candidate, CoarseTime, L1Shard, Slot};
use super::shares::Shares;
use super::weight::weight;
use crate::cache::clock::Clock;
use crate::cache::entry::CachedEntry;
use crate::cache::key::{Key, KeyRef};
use crate::cache::namespace::Namespace;
use crate::cache::stats::L1Counters;
use crate::cache::tier::{L1, L1Usage, NotTaken};
use crate::sync::RwLock;

/// Part of the memory tier that one value may fill, as its divisor. A larger value is not kept.
pub const LARGEST_SHARE: u64 = 8;
/// Number of shards, each with a lock of its own.
const SHARDS: usize = 256;
/// Entries among which the one to be evicted is chosen.
const SAMPLE: usize = 16;
/// Number of evictions of which one halves the counted reads of an entry.
const FORGETTING: u8 = 8;
/// Buckets of its shard that an insert looks through for expired entries.
const SWEPT_PER_INSERT: usize = 4;
/// Buckets that one call of `usage` looks through for expired entries. It ends at the end of a shard.
const SWEPT_PER_USAGE: usize = 1 << 18;
/// Entries that one insert evicts of its namespace at most. More are needed only after its quota was
/// lowered.
const EVICTED_PER_INSERT: usize = 1024;

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
pub struct MemoryL1 {
    shards: Box<[RwLock<L1Shard>]>,
    /// Seeded at random: callers choose keys, and must not choose buckets.
    hasher: RandomState,
    config: L1Config,
    /// Number of inserts: the time by which recent use is measured.
    inserts: AtomicU32,
    entries: AtomicU64,
    bytes: AtomicU64,
    shares: Shares,
    /// Index of the shard at which the next sweep begins.
    swept: AtomicUsize,
    counters: L1Counters,
    clock: Arc<dyn Clock>,
}

/// Cause of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Size,
    Expired,
    Explicit,
    Replaced,
}

// === impl MemoryL1 ===

impl MemoryL1 {
    /// Creates an empty memory tier.
    pub fn new(config: L1Config, clock: Arc<dyn Clock>) -> MemoryL1 {
        MemoryL1 {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
            config,
            inserts: AtomicU32::new(0),
            entries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            shares: Shares::new(config.size),
            swept: AtomicUsize::new(0),
            counters: L1Counters::default(),
            clock,
        }
    }

    /// Returns the shard of `key`, and the half of its hash that the shard uses.
    fn place(&self, key: KeyRef<'_>) -> (&RwLock<L1Shard>, u32) {
        let hash = self.hasher.hash_one(key);
        (&self.shards[(hash >> 32) as usize % SHARDS], hash as u32)
    }

    fn counts_reads(&self) -> bool {
        self.config.eviction == Eviction::TinyLfu
    }

    /// Subtracts a removed slot from the counts.
    fn count_removed(&self, slot: &Slot, cause: Cause) {
        let (weight, own) = (weight(slot.key(), &slot.held), &slot.held.namespace.counters);
        self.entries.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(weight, Relaxed);
        own.entries.sub(1);
        own.bytes.sub(weight);
        let all = &self.counters;
        let (all, own) = match cause {
            Cause::Size => (&all.evicted_size, &own.evicted_size),
            Cause::Expired => (&all.evicted_expired, &own.evicted_expired),
            Cause::Explicit => (&all.removed, &own.removed),
            Cause::Replaced => (&all.replaced, &own.replaced),
        };
        all.inc();
        own.inc();
    }

    /// Takes `weight` of the quota of `namespace`, whose least used entries leave for it.
    fn take_quota(&self, namespace: &Namespace, weight: u64, time: CoarseTime) {
        let (quota, bytes) = (namespace.policy().max_bytes, &namespace.counters.bytes);
        for _ in 0..EVICTED_PER_INSERT {
            if bytes.add_within(weight, quota) {
                return;
            }
            if !self.evict(Some(namespace.id), time) {
                // Others have taken it for entries that are not here yet.
                break;
            }
        }
        bytes.add(weight);
    }

    /// Evicts entries until the rest is within the limits.
    fn make_room(&self, inserting: &Arc<Namespace>, time: CoarseTime) {
        while self.shares.are_exceeded(self.bytes.load(Relaxed)) {
            let Some(loser) = self.shares.loser(inserting, time) else { return };
            let has_all = loser.counters.entries.get() >= self.entries.load(Relaxed);
            if !self.evict((!has_all).then_some(loser.id), time) {
                return;
            }
        }
    }

    /// Evicts the least used of a sample, of one namespace or of all. Returns false if there is none.
    fn evict(&self, namespace: Option<u32>, time: CoarseTime) -> bool {
        let Some((shard, Candidate { held, hash, disuse })) = self.candidate(namespace, time) else { return false };
        // Another thread may have removed or replaced it meanwhile.
        let removed = shard.write().remove_exactly(&held, hash);
        if let Some(slot) = removed {
            self.count_removed(&slot, if disuse.expired { Cause::Expired } else { Cause::Size });
        }
        true
    }

    /// Chooses the entry to be evicted, of one namespace or of all: the least used of a sample, which
    /// begins at a random place. Fewer entries than a sample are compared as a whole.
    fn candidate(&self, namespace: Option<u32>, time: CoarseTime) -> Option<(&RwLock<L1Shard>, Candidate)> {
        let (first_shard, place, chance): (u32, u32, u8) = rand::random();
        let now = (self.inserts.load(Relaxed), time);
        let (mut first, mut seen) = (None::<(&RwLock<L1Shard>, Candidate)>, 0);
        for number in 0..SHARDS {
            let shard = &self.shards[(first_shard as usize + number) % SHARDS];
            let forgets = self.counts_reads() && seen == 0 && chance.is_multiple_of(FORGETTING);
            let (place, most) = (place as usize, SAMPLE - seen);
            let (candidate, looked_at) = match namespace {
                None => shard.read().candidate(place, most, now, forgets),
                Some(namespace) => shard.read().candidate_of(namespace, place, most, now, forgets),
            };
            let is_first =
                |candidate: &Candidate| first.as_ref().is_none_or(|(_, first)| candidate.disuse > first.disuse);
            first = candidate.filter(is_first).map(|candidate| (shard, candidate)).or(first);
            seen += looked_at;
            if seen >= SAMPLE {
                break;
            }
        }
        first
    }

    /// Removes entries that have ended, from as many shards as one call may take.
    fn sweep(&self, time: CoarseTime) {
        let (begin, mut looked_at) = (self.swept.load(Relaxed), 0);
        for number in 0..SHARDS {
            if looked_at >= SWEPT_PER_USAGE {
                self.swept.store(begin + number, Relaxed);
                return;
            }
            let (ended, buckets) = self.shards[(begin + number) % SHARDS].write().sweep_all(time);
            ended.iter().for_each(|slot| self.count_removed(slot, Cause::Expired));
            looked_at += buckets;
        }
    }
}

impl L1 for MemoryL1 {
    fn get(&self, key: KeyRef<'_>) -> Option<Arc<CachedEntry>> {
        let (shard, hash) = self.place(key);
        shard.read().get(key, hash, self.inserts.load(Relaxed), self.counts_reads()).cloned()
    }

    fn insert(&self, key: Key, held: Arc<CachedEntry>) -> Result<(), NotTaken> {
        if held.entry.content.len() as u64 > self.config.size / LARGEST_SHARE {
            self.counters.rejected.inc();
            self.remove(key.as_ref());
            return Err(NotTaken::TooLarge);
        }
        let (weight, namespace) = (weight(key.bytes(), &held), held.namespace.clone());
        let quota = namespace.policy().max_bytes;
        if quota > 0 && weight > quota {
            self.remove(key.as_ref());
            return Err(NotTaken::OverQuota(quota));
        }
        let ((shard, hash), time) = (self.place(key.as_ref()), CoarseTime::at(self.clock.now()));
        self.shares.note_insert(&namespace, time);
        if !namespace.counters.bytes.add_within(weight, quota) {
            // The entry that it replaces may free the room it needs.
            self.remove(key.as_ref());
            self.take_quota(&namespace, weight, time);
        }
        namespace.counters.entries.inc();
        self.entries.fetch_add(1, Relaxed);
        self.bytes.fetch_add(weight, Relaxed);
        let used = self.inserts.fetch_add(1, Relaxed).wrapping_add(1);
        let slot = Slot::new(&key, held.clone(), hash, CoarseTime::after(held.kept_until()), used);
        let (replaced, ended) = {
            let mut shard = shard.write();
            (shard.insert(key.as_ref(), slot), shard.sweep(time, SWEPT_PER_INSERT))
        };
        replaced.iter().for_each(|slot| self.count_removed(slot, Cause::Replaced));
        ended.iter().for_each(|slot| self.count_removed(slot, Cause::Expired));
        self.make_room(&namespace, time);
        Ok(())
    }

    fn remove(&self, key: KeyRef<'_>) {
        let (shard, hash) = self.place(key);
        let removed = shard.write().remove(key, hash);
        removed.iter().for_each(|slot| self.count_removed(slot, Cause::Explicit));
    }

    fn each(&self, visit: &mut dyn FnMut(&Key, &Arc<CachedEntry>) -> ControlFlow<()>) {
        let time = CoarseTime::at(self.clock.now());
        // `visit` may call this L1, so no lock is held while it runs.
        let _ = self.shards.iter().try_for_each(|shard| {
            let copy = shard.read().copy(time);
            copy.iter().try_for_each(|(key, held)| visit(key, held))
        });
    }

    fn part(&self, number: usize) -> Option<Vec<(Key, Arc<CachedEntry>)>> {
        let time = CoarseTime::at(self.clock.now());
        self.shards.get(number).map(|shard| shard.read().copy(time))
    }

    fn usage(&self) -> L1Usage {
        let time = CoarseTime::at(self.clock.now());
        self.shares.renew(time);
        self.sweep(time);
        L1Usage {
            entries: self.entries.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            max_bytes: self.config.size,
            counts: self.counters.read(),
        }
    }
}

#[cfg(test)]
#[path = "apart_tests.rs"]
mod apart_tests;
#[cfg(test)]
#[path = "l1_tests.rs"]
mod tests;
