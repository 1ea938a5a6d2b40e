//! Sweep of L1: removes entries that selectors invalidated.
//!
//! Such entries are dead at once, because every lookup judges them. Until they are removed they
//! only use memory.

use std::ops::ControlFlow;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::coherence::Coherence;
use super::sweep_queue::SweepQueue;
use crate::cache::entry::{CachedEntry, Entry};
use crate::cache::key::{Key, KeyRef};
use crate::cache::namespace::Namespace;
use crate::cache::tier::{NotTaken, insert_counted};

/// Pause between an invalidation and a sweep, so that the steps of one invalidation are swept
/// together.
const SWEEP_DELAY: Duration = Duration::from_millis(20);
/// Pause after a sweep, as a multiple of its duration.
const PAUSE_FACTOR: u32 = 4;

impl Coherence {
    /// Requests a sweep after an invalidation by selector in `namespace`.
    pub(super) fn want_sweep(&self, namespace: &Namespace) {
        if !namespace.is_unregistered() {
            *self.unswept().entry(namespace.id).or_default() += 1;
            self.sweep_wanted.notify_one();
        }
    }

    /// Sweeps L1 after each invalidation by selector, for as long as it is polled.
    pub async fn sweep_memory(self: Arc<Self>) {
        loop {
            self.sweep_wanted.notified().await;
            sleep(SWEEP_DELAY).await;
            let (coherence, started_at) = (self.clone(), Instant::now());
            if let Err(error) = tokio::task::spawn_blocking(move || coherence.sweep()).await {
                tracing::error!(%error, "sweep of L1 failed: dead entries stay until they expire");
            }
            sleep(started_at.elapsed() * PAUSE_FACTOR).await;
        }
    }

    /// Removes the entries that selectors have invalidated, and returns their number.
    pub fn sweep(&self) -> usize {
        let wanted = self.unswept().clone();
        let mut removed = 0;
        if wanted.is_empty() {
            return removed;
        }
        self.l1.each(&mut |key, held| {
            if wanted.contains_key(&key.namespace().id) {
                removed += usize::from(self.remove_if_invalidated(key, held));
            }
            ControlFlow::Continue(())
        });
        self.unswept().retain(|id, count| wanted.get(id) != Some(count));
        removed
    }

    /// Inserts an entry into L1. To be called under the key's stripe.
    pub(super) fn insert(&self, key: &Key, held: &Arc<CachedEntry>) -> Result<(), NotTaken> {
        insert_counted(&*self.l1, key, held)
    }

    /// Removes `held` if it is dead, and returns whether it was removed.
    ///
    /// An entry that is only marked stale is kept no longer than its stale window.
    fn remove_if_invalidated(&self, key: &Key, held: &Arc<CachedEntry>) -> bool {
        if self.covers(key.as_ref(), held) {
            return self.remove_dead(key.as_ref(), held);
        }
        if let Some(marked_at) = held.marked_at().filter(|_| held.entry.marked_at.is_none()) {
            self.replace(key.as_ref(), held, || {
                let entry: Entry = held.entry.clone().marked_since(Some(marked_at));
                self.put(key, held, entry);
            });
        }
        false
    }

    /// Removes the dead entry `held`, unless another has replaced it or its stripe is in use.
    pub fn remove_dead(&self, key: KeyRef<'_>, held: &Arc<CachedEntry>) -> bool {
        self.replace(key, held, || self.l1.remove(key))
    }

    fn replace(&self, key: KeyRef<'_>, held: &Arc<CachedEntry>, replace: impl FnOnce()) -> bool {
        // The stripe may be locked by this thread, or its owner may wait for one that this thread
        // has.
        let Some(_stripe) = self.fence.try_lock(self.partition_of(key), key) else { return false };
        let is_there = self.l1.get(key).is_some_and(|now| Arc::ptr_eq(&now, held));
        if is_there {
            replace();
        }
        is_there
    }

    fn unswept(&self) -> MutexGuard<'_, SweepQueue> {
        self.unswept.lock()
    }
}
