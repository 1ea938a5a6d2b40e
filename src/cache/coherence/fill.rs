//! Fills of L1: fetches from L2, and the decision whether their results may enter L1.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::coherence::Coherence;
use super::fence::{FillGuard, Stripe};
use super::partition::ShownPosition;
use super::safeguards::Safeguard;
use crate::cache::clock::Moment;
use crate::cache::entry::{CachedEntry, Content, CoverageMemo, Entry};
use crate::cache::key::{Key, KeyRef};
use crate::cache::namespace::Namespace;
use crate::cache::single_flight::{FetchCompletion, FetchWaiter, Flight};
use crate::cache::version::Version;

/// A Get's way to the shared tier.
pub enum FetchSlot {
    /// A fetch under way that may be waited for.
    Joined(FetchWaiter),
    /// A fetch that this Get has to begin.
    Started(StartedFetch),
}

/// A fetch to be made, and what was known before.
pub struct StartedFetch {
    /// Number of the flight.
    pub id: u64,
    /// What was known before.
    pub guard: FillGuard,
    /// Where the result goes.
    pub completion: FetchCompletion,
    /// Where it comes from.
    pub waiter: FetchWaiter,
}

// === impl Coherence ===

impl Coherence {
    /// What is known before the shared tier is asked to write `key`.
    pub fn begin_fill(&self, key: KeyRef<'_>) -> FillGuard {
        let partition = self.partition_of(key);
        let stripe = self.fence.lock(partition, key);
        FillGuard { generation: self.partition(partition).generation(), applied: stripe.applied, shown: stripe.reads }
    }

    /// Joins the fetch of `key` under way, when its answer will be fresh enough for a caller who accepts `bound`, or begins one.
    pub fn fetch_slot(&self, key: &Key, bound: Duration) -> FetchSlot {
        let index = self.partition_of(key.as_ref());
        let now = self.clock.now();
        let changes = key.namespace().tombstones().changes(index);
        let mut stripe = self.fence.lock(index, key.as_ref());
        let generation = self.partition(index).generation();
        if let Some(flight) = stripe.flights.get(key)
            && flight.generation == generation
            && flight.changes == changes
            && now.since(flight.begun_at) <= bound.min(self.config.max_staleness)
        {
            return FetchSlot::Joined(flight.join());
        }
        let note = FillGuard { generation, applied: stripe.applied, shown: stripe.reads };
        let (flight, landing) = Flight::begin(now, generation, changes);
        let begun = StartedFetch { id: flight.id, guard: note, completion: landing, waiter: flight.join() };
        stripe.flights.insert(key.clone(), flight);
        FetchSlot::Started(begun)
    }

    /// No Get may join the flight `id` of `key` any more.
    pub fn close_fetch(&self, key: &Key, id: u64) {
        let mut stripe = self.fence.lock(self.partition_of(key.as_ref()), key.as_ref());
        if stripe.flights.get(key).is_some_and(|flight| flight.id == id) {
            stripe.flights.remove(key);
        }
    }

    /// How far answers of the shared tier have shown the number line of `partition`. To be read before it is asked.
    pub fn shown(&self, partition: u16) -> ShownPosition {
        self.partition(partition).shown()
    }

    /// An answer to a question that was asked after `before` was read shows that `partition` has reached `position`: no answer to a later
    /// question may be from before that.
    pub fn show(&self, partition: u16, before: ShownPosition, position: Version) {
        if self.config.safeguards.on(Safeguard::Monotonic) {
            self.partition(partition).show(before, position);
        }
    }

    /// Lets what was read from the shared tier after `note` enter memory, unless something newer was applied or read meanwhile, the
    /// partition moved on, or the answer is of another epoch. What it shows to be outdated leaves memory all the same.
    pub fn admit(&self, key: &Key, held: &Arc<CachedEntry>, note: FillGuard) -> bool {
        let partition = self.partition_of(key.as_ref());
        let mut stripe = self.fence.lock(partition, key.as_ref());
        let is_guest = key.namespace().is_guest();
        let admitted = !is_guest && self.passes(&stripe, key.as_ref(), note, held.position, held.entry.version);
        if admitted {
            _ = self.insert(key, held);
        } else if !is_guest {
            self.counters.fills_fenced.inc();
        }
        self.follow_read(&mut stripe, key.as_ref(), held.position, Some(&held.entry), !admitted);
        admitted
    }

    /// A read of the shared tier, of which nothing enters memory, has found `entry` or that there is none, where the partition stood at
    /// `position`. What that shows to be outdated leaves memory. To be called before anybody is answered with it.
    pub fn observe_read(&self, key: &Key, position: Version, entry: Option<&Entry>) {
        let partition = self.partition_of(key.as_ref());
        let position = match position {
            // There is no number line: everything is gone that was on one so far.
            Version::ZERO => {
                let partition = self.partition(partition);
                let last = partition.known_epoch().max(partition.shown().position.epoch);
                Version::new(last, Version::LAST_SEQUENCE)
            }
            position => position,
        };
        let mut stripe = self.fence.lock(partition, key.as_ref());
        self.follow_read(&mut stripe, key.as_ref(), position, entry, true);
    }

    /// The shared tier has said that `key` was written at `version`. What is older leaves memory.
    pub fn observe_newer(&self, key: &Key, version: Version) {
        if self.config.safeguards.on(Safeguard::Monotonic) {
            let mut stripe = self.fence.lock(self.partition_of(key.as_ref()), key.as_ref());
            self.drop_below(key.as_ref(), version, |_| true);
            stripe.show(key.as_ref(), version);
        }
    }

    /// Follows what a read showed of `key`; with what memory holds of it only if that is not what was read. To be called under the key's
    /// stripe.
    fn follow_read(
        &self,
        stripe: &mut Stripe,
        key: KeyRef<'_>,
        position: Version,
        entry: Option<&Entry>,
        memory_differs: bool,
    ) {
        if !self.config.safeguards.on(Safeguard::Monotonic) {
            return;
        }
        let now = self.clock.now();
        let least = match entry {
            Some(entry) if entry.lives(now) => entry.version,
            other => other.map_or(position, |entry| position.max(entry.version)).next(),
        };
        if memory_differs && !entry.is_some_and(|entry| self.limit_life(key, entry, now)) {
            // One that has outlived its time is absent elsewhere for that; it is kept to be answered flagged.
            let is_outdated =
                |held: &CachedEntry| entry.is_some() || (held.entry.lives(now) && held.marked_at().is_none());
            self.drop_below(key, least, is_outdated);
        }
        stripe.show(key, least);
    }

    /// Marks the entry of `key` in memory, and ends it no later, as `entry` does; false: it is of another version, or not kept. To be called
    /// under the key's stripe.
    fn limit_life(&self, key: KeyRef<'_>, entry: &Entry, now: Moment) -> bool {
        let is_kept = entry.lives(now) || !entry.stale_window.is_zero();
        let is_same = |held: &Arc<CachedEntry>| held.entry.version == entry.version && !held.is_alone() && is_kept;
        let Some(held) = self.l1.get(key).filter(is_same) else { return false };
        let marked_at = held.entry.marked_at.into_iter().chain(entry.marked_at).min();
        let expires_at = held.entry.expires_at.min(entry.expires_at);
        if (marked_at, expires_at) != (held.entry.marked_at, held.entry.expires_at) {
            let kept_until = held.entry.kept_until.min(entry.kept_until);
            self.put(&key.to_key(), &held, Entry { marked_at, expires_at, kept_until, ..held.entry.clone() });
        }
        true
    }

    /// Removes what memory holds of `key` from before `least`, if `is_outdated`. To be called under the key's stripe.
    fn drop_below(&self, key: KeyRef<'_>, least: Version, is_outdated: impl Fn(&CachedEntry) -> bool) {
        if self.l1.get(key).is_some_and(|held| held.entry.version < least && is_outdated(&held)) {
            self.l1.remove(key);
        }
    }

    /// Whether an entry of `key` of `version`, known at `position` and asked for after `note`, may enter memory.
    pub(super) fn passes(
        &self,
        stripe: &Stripe,
        key: KeyRef<'_>,
        note: FillGuard,
        position: Version,
        version: Version,
    ) -> bool {
        let partition = self.partition(self.partition_of(key));
        let stands = partition.generation() == note.generation && partition.live_epoch() == position.epoch;
        let fenced = !stands || !stripe.admits(note, version);
        let on = |protection| self.config.safeguards.on(protection);
        !(fenced && on(Safeguard::Fence) || stripe.is_outdated(key, note, version) && on(Safeguard::Monotonic))
    }
}

/// An entry with what its freshness is judged by, as read or written under `note`. Its value gets memory of its own: as it came it is a
/// slice of a larger buffer of the connection, which it would keep alive.
pub fn cached_entry(
    mut entry: Entry,
    position: Version,
    note: FillGuard,
    known_at: Moment,
    namespace: &Arc<Namespace>,
) -> Arc<CachedEntry> {
    if let Content::Value(value) = &mut entry.content {
        *value = Bytes::copy_from_slice(value);
    }
    let (generation, namespace, covered) = (note.generation, namespace.clone(), CoverageMemo::default());
    Arc::new(CachedEntry { entry, position, generation, known_at, namespace, covered })
}
