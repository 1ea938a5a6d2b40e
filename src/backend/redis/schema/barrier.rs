//! Bookkeeping of barriers: which replicas have confirmed a change of this replica.
//!
//! A barrier ends when each replica that may still answer with older data has confirmed the change,
//! or has lost the right to answer from L1; at the latest after the staleness bound.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};

use tokio::sync::Notify;

use crate::sync::Mutex;

/// The open barriers of this replica.
#[derive(Default)]
pub struct Barriers {
    next_ticket: AtomicU64,
    waiting: Mutex<HashMap<u64, PendingBarrier>>,
}

#[derive(Default)]
struct PendingBarrier {
    /// Replica and partition of each new confirmation.
    confirmed: Vec<(u64, u16)>,
    changed: Arc<Notify>,
}

/// One open barrier. It closes when dropped.
pub struct BarrierState<'a> {
    /// The id that confirmations carry.
    pub ticket: u64,
    barriers: &'a Barriers,
    changed: Arc<Notify>,
}

// === impl Barriers ===

impl Barriers {
    /// Opens a barrier.
    ///
    /// Must be called before the change is sent, so that no confirmation is missed.
    pub fn open(&self) -> BarrierState<'_> {
        let ticket = 1 + self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let waiting = PendingBarrier::default();
        let changed = waiting.changed.clone();
        self.lock().insert(ticket, waiting);
        BarrierState { ticket, barriers: self, changed }
    }

    /// Records that `replica` has applied the change of `ticket` in `partition`.
    pub fn confirm(&self, ticket: u64, replica: u64, partition: u16) {
        if let Some(waiting) = self.lock().get_mut(&ticket) {
            waiting.confirmed.push((replica, partition));
            waiting.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, PendingBarrier>> {
        self.waiting.lock()
    }
}

// === impl BarrierState ===

impl BarrierState<'_> {
    /// Removes the confirmed replicas and partitions from `awaited`.
    pub fn remove_confirmed<T>(&self, awaited: &mut HashMap<(u64, u16), T>) {
        if let Some(waiting) = self.barriers.lock().get_mut(&self.ticket) {
            waiting.confirmed.drain(..).for_each(|confirmed| _ = awaited.remove(&confirmed));
        }
    }

    /// Waits for the next confirmation.
    pub async fn next_confirmation(&self) {
        self.changed.notified().await;
    }
}

impl Drop for BarrierState<'_> {
    fn drop(&mut self) {
        self.barriers.lock().remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_confirmation_before_anyone_waits_counts() {
        let barriers = Barriers::default();
        let barrier = barriers.open();
        let mut awaited = HashMap::from([((7, 0), ()), ((8, 0), ())]);
        barriers.confirm(barrier.ticket, 7, 0);
        barriers.confirm(barrier.ticket, 8, 1);
        barriers.confirm(barrier.ticket + 1, 8, 0);
        barrier.next_confirmation().await;
        barrier.remove_confirmed(&mut awaited);
        assert_eq!(awaited.keys().collect::<Vec<_>>(), [&(8, 0)]);
        drop(barrier);
        assert!(barriers.lock().is_empty());
    }
}
