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

/// The access of a Get to L2: one fetch for all Gets of a key.
pub enum FetchSlot {
    /// A fetch that has begun, to wait for.
    Joined(FetchWaiter),
    /// A fetch that this Get has to run.
    Started(StartedFetch),
}

/// A fetch to run.
pub struct StartedFetch {
    /// Number of the fetch.
    pub id: u64,
    /// State of the fence before the fetch.
    pub guard: FillGuard,
    /// Receives the result.
    pub completion: FetchCompletion,
    /// Waits for the result.
    pub waiter: FetchWaiter,
}

// === impl Coherence ===

impl Coherence {
    /// Returns the state of the fence before a read or write of `key` in L2.
    pub fn begin_fill(&self, key: KeyRef<'_>) -> FillGuard {
        let partition = self.partition_of(key);
        let stripe = self.fence.lock(partition, key);
        FillGuard { generation: self.partition(partition).generation(), applied: stripe.applied, shown: stripe.reads }
    }

    /// Joins the fetch of `key` in flight, if its result will be fresh enough for a caller that
    /// accepts `bound`, or starts one.
    pub fn fetch_slot(&self, key: &Key, bound: Duration) -> FetchSlot {
        let index = self.partition_of(key.as_ref());
        let now = self.clock.now();
        let changes = key.namespace().invalidation_log().changes(index);
        let mut stripe = self.fence.lock(index, key.as_ref());
        let generation = self.partition(index).generation();
        if let Some(flight) = stripe.flights.get(key)
            && flight.generation == generation
            && flight.changes == changes
            && now.since(flight.begun_at) <= bound.min(self.config.max_staleness)
        {
            return FetchSlot::Joined(flight.join());
        }
        let guard = FillGuard { generation, applied: stripe.applied, shown: stripe.reads };
        let (flight, completion) = Flight::begin(now, generation, changes);
        let fetch = StartedFetch { id: flight.id, guard, completion, waiter: flight.join() };
        stripe.flights.insert(key.clone(), flight);
        FetchSlot::Started(fetch)
    }

    /// Lets no further Get join the fetch `id` of `key`.
    pub fn close_fetch(&self, key: &Key, id: u64) {
        let mut stripe = self.fence.lock(self.partition_of(key.as_ref()), key.as_ref());
        if stripe.flights.get(key).is_some_and(|flight| flight.id == id) {
            stripe.flights.remove(key);
        }
    }

    /// Returns the position that replies of L2 have shown for `partition`. Call it before the
    /// request to L2.
    pub fn shown(&self, partition: u16) -> ShownPosition {
        self.partition(partition).shown()
    }

    /// Records a reply that shows `partition` at `position`, to a request sent after `before` was
    /// read.
    ///
    /// No reply to a later request may be from before that.
    pub fn show(&self, partition: u16, before: ShownPosition, position: Version) {
        if self.config.safeguards.on(Safeguard::Monotonic) {
            self.partition(partition).show(before, position);
        }
    }

    /// Admits into L1 an entry that was read from L2 after `guard`.
    ///
    /// It does not enter if something newer was applied or read meanwhile, if the partition has
    /// another generation, or if the reply is of another epoch. Whatever it shows to be outdated is
    /// removed from L1 all the same.
    pub fn admit(&self, key: &Key, held: &Arc<CachedEntry>, guard: FillGuard) -> bool {
        let partition = self.partition_of(key.as_ref());
        let mut stripe = self.fence.lock(partition, key.as_ref());
        let is_guest = key.namespace().is_unregistered();
        let admitted = !is_guest && self.passes(&stripe, key.as_ref(), guard, held.position, held.entry.version);
        if admitted {
            _ = self.insert(key, held);
        } else if !is_guest {
            self.counters.fills_fenced.inc();
        }
        self.follow_read(&mut stripe, key.as_ref(), held.position, Some(&held.entry), !admitted);
        admitted
    }

    /// Applies to L1 a read of L2 that is not stored there: it found `entry`, or none, with the
    /// partition at `position`.
    ///
    /// Whatever that shows to be outdated is removed from L1. Call it before the result is
    /// answered.
    pub fn observe_read(&self, key: &Key, position: Version, entry: Option<&Entry>) {
        let partition = self.partition_of(key.as_ref());
        let position = match position {
            // The counter does not exist: everything that was counted by it so far is gone.
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

    /// Removes from L1 what is older than `version`, at which L2 reported a write of `key`.
    pub fn observe_newer(&self, key: &Key, version: Version) {
        if self.config.safeguards.on(Safeguard::Monotonic) {
            let mut stripe = self.fence.lock(self.partition_of(key.as_ref()), key.as_ref());
            self.drop_below(key.as_ref(), version, |_| true);
            stripe.show(key.as_ref(), version);
        }
    }

    /// Applies what a read showed of `key` to the stripe, and to L1 if `l1_differs`.
    ///
    /// To be called under the key's stripe.
    fn follow_read(
        &self,
        stripe: &mut Stripe,
        key: KeyRef<'_>,
        position: Version,
        entry: Option<&Entry>,
        l1_differs: bool,
    ) {
        if !self.config.safeguards.on(Safeguard::Monotonic) {
            return;
        }
        let now = self.clock.now();
        let least = match entry {
            Some(entry) if entry.lives(now) => entry.version,
            other => other.map_or(position, |entry| position.max(entry.version)).next(),
        };
        if l1_differs && !entry.is_some_and(|entry| self.limit_life(key, entry, now)) {
            // An expired entry is absent in L2 for that reason; it is kept to be answered flagged.
            let is_outdated =
                |held: &CachedEntry| entry.is_some() || (held.entry.lives(now) && held.marked_at().is_none());
            self.drop_below(key, least, is_outdated);
        }
        stripe.show(key, least);
    }

    /// Marks the entry of `key` in L1 as `entry` is marked, and lets it expire no later than
    /// `entry`.
    ///
    /// Returns false if it is of another version, or is not kept. To be called under the key's
    /// stripe.
    fn limit_life(&self, key: KeyRef<'_>, entry: &Entry, now: Moment) -> bool {
        let is_kept = entry.lives(now) || !entry.stale_window.is_zero();
        let is_same = |held: &Arc<CachedEntry>| held.entry.version == entry.version && !held.is_local_only() && is_kept;
        let Some(held) = self.l1.get(key).filter(is_same) else { return false };
        let marked_at = held.entry.marked_at.into_iter().chain(entry.marked_at).min();
        let expires_at = held.entry.expires_at.min(entry.expires_at);
        if (marked_at, expires_at) != (held.entry.marked_at, held.entry.expires_at) {
            let kept_until = held.entry.kept_until.min(entry.kept_until);
            let entry = Entry { expires_at, kept_until, ..held.entry.clone() };
            self.put(&key.to_key(), &held, entry.with(|details| details.marked_at = marked_at));
        }
        true
    }

    /// Removes the entry of `key` from L1 if it is older than `least` and `is_outdated`. To be
    /// called under the key's stripe.
    fn drop_below(&self, key: KeyRef<'_>, least: Version, is_outdated: impl Fn(&CachedEntry) -> bool) {
        if self.l1.get(key).is_some_and(|held| held.entry.version < least && is_outdated(&held)) {
            self.l1.remove(key);
        }
    }

    /// Returns true if an entry of `key` at `version`, known at `position` and requested after
    /// `guard`, may enter L1.
    pub(super) fn passes(
        &self,
        stripe: &Stripe,
        key: KeyRef<'_>,
        guard: FillGuard,
        position: Version,
        version: Version,
    ) -> bool {
        let partition = self.partition(self.partition_of(key));
        let stands = partition.generation() == guard.generation && partition.live_epoch() == position.epoch;
        let fenced = !stands || !stripe.admits(key, guard, version);
        let on = |protection| self.config.safeguards.on(protection);
        !(fenced && on(Safeguard::Fence) || stripe.is_outdated(key, guard, version) && on(Safeguard::Monotonic))
    }
}

/// Builds an entry for L1, with the facts that its freshness is judged by, as read or written under
/// `guard`.
///
/// Its value is copied: as received it is a slice of a larger buffer of the connection, which it
/// would keep alive.
pub fn cached_entry(
    mut entry: Entry,
    position: Version,
    guard: FillGuard,
    known_at: Moment,
    namespace: &Arc<Namespace>,
) -> Arc<CachedEntry> {
    if let Content::Value(value) = &mut entry.content {
        *value = Bytes::copy_from_slice(value);
    }
    let (generation, namespace, covered) = (guard.generation, namespace.clone(), CoverageMemo::default());
    Arc::new(CachedEntry { entry, position, generation, known_at, namespace, covered })
}
