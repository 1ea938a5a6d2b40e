//! Waiting until the fleet has applied a change: each replica that may still answer with what was before confirms it, or its right to
//! answer runs out. Bounded by the staleness bound.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The changes of this replica that wait for the fleet.
#[derive(Default)]
pub struct Barriers {
    next_ticket: AtomicU64,
    waiting: Mutex<HashMap<u64, PendingBarrier>>,
}

#[derive(Default)]
struct PendingBarrier {
    /// Replica and partition.
    confirmed: Vec<(u64, u16)>,
    news: Arc<Notify>,
}

/// One change that waits. Dropped, it waits no more.
pub struct BarrierState<'a> {
    /// What confirmations carry.
    pub ticket: u64,
    barriers: &'a Barriers,
    news: Arc<Notify>,
}

// === impl Barriers ===

impl Barriers {
    /// Opens a barrier: before the change is sent, so that no confirmation is missed.
    pub fn open(&self) -> BarrierState<'_> {
        let ticket = 1 + self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let waiting = PendingBarrier::default();
        let news = waiting.news.clone();
        self.lock().insert(ticket, waiting);
        BarrierState { ticket, barriers: self, news }
    }

    /// `replica` has applied the change of `ticket` in `partition`.
    pub fn confirmed(&self, ticket: u64, replica: u64, partition: u16) {
        if let Some(waiting) = self.lock().get_mut(&ticket) {
            waiting.confirmed.push((replica, partition));
            waiting.news.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, PendingBarrier>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Barrier ===

impl BarrierState<'_> {
    /// Strikes those that have confirmed from `awaited`, by replica and partition.
    pub fn strike<T>(&self, awaited: &mut HashMap<(u64, u16), T>) {
        if let Some(waiting) = self.barriers.lock().get_mut(&self.ticket) {
            waiting.confirmed.drain(..).for_each(|confirmed| _ = awaited.remove(&confirmed));
        }
    }

    /// Waits for the next confirmation.
    pub async fn news(&self) {
        self.news.notified().await;
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
        barriers.confirmed(barrier.ticket, 7, 0);
        barriers.confirmed(barrier.ticket, 8, 1);
        barriers.confirmed(barrier.ticket + 1, 8, 0);
        barrier.news().await;
        barrier.strike(&mut awaited);
        assert_eq!(awaited.keys().collect::<Vec<_>>(), [&(8, 0)]);
        drop(barrier);
        assert!(barriers.lock().is_empty());
    }
}
