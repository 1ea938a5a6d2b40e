//! Own writes: applies to L1 the changes that this replica made in L2, before they are acknowledged.

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
    /// This replica's own write of `key` was taken by the shared tier: whatever memory holds from before goes, at once and even if the
    /// new entry does not enter. To be called before the write is acknowledged.
    pub fn apply_own_set(&self, key: &Key, version: Version, held: &Arc<CachedEntry>, note: FillGuard) {
        let partition = self.partition_of(key.as_ref());
        self.check_epoch(partition, version);
        let mut stripe = self.fence.lock(partition, key.as_ref());
        let admitted = self.passes(&stripe, key.as_ref(), note, version, version);
        stripe.apply(key.as_ref(), version);
        match admitted {
            true => _ = self.insert(key, held),
            false => self.drop_older(key.as_ref(), version, Effect::Set),
        }
        drop(stripe);
        self.end_round(key.as_ref(), End::LookAgain);
    }

    /// This replica's own change of `key` was taken by the shared tier: whatever memory holds from before goes, or is marked. To be called
    /// before the change is acknowledged.
    pub fn apply_own_change(&self, key: &Key, version: Version, effect: Effect) {
        let partition = self.partition_of(key.as_ref());
        self.check_epoch(partition, version);
        let mut stripe = self.fence.lock(partition, key.as_ref());
        stripe.apply(key.as_ref(), version);
        self.drop_older(key.as_ref(), version, effect);
        drop(stripe);
        self.end_round(key.as_ref(), End::LookAgain);
    }

    /// The entry of `key` was found after `note` to live longer than memory knows: so does what memory holds, if it is the same.
    pub fn extend_ttl(&self, key: &Key, version: Version, expires_at: Moment, note: FillGuard) {
        let partition = self.partition_of(key.as_ref());
        let stripe = self.fence.lock(partition, key.as_ref());
        // A change that came later may have shortened it again.
        if !stripe.admits(note, Version::ZERO) {
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

    /// Puts what `make` makes of what memory holds of `key` and of the position, as an entry that the shared tier does not know. Without a
    /// shared tier to ask there is no promise; but what is invalidated afterwards is gone.
    pub fn put_local_only(
        &self,
        key: &Key,
        make: impl FnOnce(Option<&CachedEntry>, Version) -> Option<Entry>,
    ) -> Result<(), NotTaken> {
        let partition = self.partition_of(key.as_ref());
        // Not under the stripe: messages take effect with the line locked.
        let position = self.watermark(partition).max(key.namespace().tombstones().latest(partition));
        let note = self.begin_fill(key.as_ref());
        let _stripe = self.fence.lock(partition, key.as_ref());
        let before = self.l1.get(key.as_ref());
        match make(before.as_deref(), position) {
            Some(entry) => {
                let held = cached_entry(entry, CachedEntry::LOCAL_ONLY, note, self.clock.now(), key.namespace());
                self.insert(key, &held)
            }
            None => Ok(()),
        }
    }

    /// This replica's own invalidation of what `selectors` select was taken.
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

    /// An answer to an own write shows another epoch than the subscription's: the number line has another life. Between subscriptions
    /// that matters when the epoch went back: memory holds greater versions then, which the write would not remove.
    fn check_epoch(&self, index: u16, version: Version) {
        let partition = self.partition(index);
        let live = partition.live_epoch();
        if live == version.epoch {
            return;
        }
        let mut line = partition.state();
        if live != 0 || version.epoch < line.watermark.epoch {
            self.bump(partition, &mut line);
            partition.unsync(&mut line);
        }
    }
}
