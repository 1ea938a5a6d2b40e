//! Own writes: applies this replica's changes of L2 to its L1, before they are acknowledged.

use std::sync::Arc;

use super::coherence::Coherence;
use super::fence::FillGuard;
use super::fill::cached_entry;
use crate::cache::clock::Moment;
use crate::cache::entry::{CachedEntry, Entry};
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::Key;
use crate::cache::lease::waiters::End;
use crate::cache::namespace::Namespace;
use crate::cache::tier::NotTaken;
use crate::cache::tier::bus::Effect;
use crate::cache::version::Version;

// === impl Coherence ===

impl Coherence {
    /// Applies this replica's own Set of `key`, which L2 has accepted.
    ///
    /// Any older entry is removed from L1 at once, even if the new one does not enter. Call it
    /// before the Set is acknowledged.
    pub fn apply_own_set(&self, key: &Key, version: Version, held: &Arc<CachedEntry>, guard: FillGuard) {
        let partition = self.partition_of(key.as_ref());
        self.check_epoch(partition, version);
        let mut stripe = self.fence.lock(partition, key.as_ref());
        let admitted = self.passes(&stripe, key.as_ref(), guard, version, version);
        stripe.apply(key.as_ref(), version);
        if admitted {
            _ = self.insert(key, held);
        } else {
            self.counters.sets_fenced.inc();
            self.drop_older(key.as_ref(), version, Effect::Set);
        }
        drop(stripe);
        self.end_round(key.as_ref(), End::LookAgain);
    }

    /// Applies this replica's own change of `key`, which L2 has accepted.
    ///
    /// Any older entry is removed from L1, or marked. Call it before the change is acknowledged.
    pub fn apply_own_change(&self, key: &Key, version: Version, effect: Effect) {
        let partition = self.partition_of(key.as_ref());
        self.check_epoch(partition, version);
        let mut stripe = self.fence.lock(partition, key.as_ref());
        stripe.apply(key.as_ref(), version);
        self.drop_older(key.as_ref(), version, effect);
        drop(stripe);
        self.end_round(key.as_ref(), End::LookAgain);
    }

    /// Extends the time to live of the entry of `key` in L1, if L2 was found after `guard` to keep
    /// the same version longer.
    pub fn extend_ttl(&self, key: &Key, version: Version, expires_at: Moment, guard: FillGuard) {
        let partition = self.partition_of(key.as_ref());
        let stripe = self.fence.lock(partition, key.as_ref());
        // A later change may have shortened it again.
        if !stripe.admits(key.as_ref(), guard, Version::ZERO) {
            return;
        }
        let Some(held) = self.l1.get(key.as_ref()) else { return };
        let entry = &held.entry;
        if entry.version == version && entry.expires_at < expires_at {
            self.put(
                key,
                &held,
                Entry { expires_at, kept_until: expires_at.plus(entry.stale_window), ..entry.clone() },
            );
        }
    }

    /// Stores in L1 an entry that L2 does not know: the result of `make` for the current entry and
    /// position.
    ///
    /// Without L2 there is no promise; but later invalidations remove the entry.
    pub fn put_local_only(
        &self,
        key: &Key,
        make: impl FnOnce(Option<&CachedEntry>, Version) -> Option<Entry>,
    ) -> Result<(), NotTaken> {
        let partition = self.partition_of(key.as_ref());
        // Read before the stripe is locked: a message locks the partition's state first, then the
        // stripe.
        let position = self.watermark(partition).max(key.namespace().invalidation_log().latest(partition));
        let guard = self.begin_fill(key.as_ref());
        let _stripe = self.fence.lock(partition, key.as_ref());
        let before = self.l1.get(key.as_ref());
        match make(before.as_deref(), position) {
            Some(entry) => {
                let held = cached_entry(entry, CachedEntry::LOCAL_ONLY, guard, self.clock.now(), key.namespace());
                self.insert(key, &held)
            }
            None => Ok(()),
        }
    }

    /// Applies this replica's own invalidation by `selectors`, which L2 has accepted.
    pub fn apply_own_invalidation(
        &self,
        namespace: &Namespace,
        partition: u16,
        selectors: &[Selector],
        version: Version,
        effect: Effect,
    ) {
        self.check_epoch(partition, version);
        self.record_invalidation(namespace, partition, selectors, version, effect);
    }

    /// Checks the epoch of a reply to an own write: another epoch than the subscription's means
    /// another life of the counter.
    ///
    /// Between subscriptions that matters when the epoch went back: L1 then holds greater versions,
    /// which the write would not remove.
    fn check_epoch(&self, index: u16, version: Version) {
        let partition = self.partition(index);
        let live = partition.live_epoch();
        if live == version.epoch {
            return;
        }
        let mut state = partition.state();
        if live != 0 || version.epoch < state.watermark.epoch {
            self.bump(partition, &mut state);
            partition.unsync(&mut state);
        }
    }
}
