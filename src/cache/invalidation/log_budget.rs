//! Budget for the bytes that the invalidation logs of all namespaces take together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use crate::sync::Mutex;

/// An invalidation log whose bytes count in a budget.
pub trait BudgetMember: Send + Sync {
    /// Returns the bytes that count now.
    fn bytes(&self) -> usize;
    /// Drops the older half.
    fn halve(&self);
}

/// A limit on bytes that namespaces share. Beyond it the largest log forgets its older half, so
/// that no namespace pushes out the others.
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    members: Mutex<Vec<Weak<dyn BudgetMember>>>,
}

impl Budget {
    /// Creates a budget of which nothing is used.
    pub fn new(limit: usize) -> Arc<Budget> {
        Arc::new(Budget { limit, used: AtomicUsize::new(0), members: Mutex::default() })
    }

    /// Adds a log that may be halved. Its bytes have to count in this budget.
    pub fn join<Member: BudgetMember + 'static>(&self, member: &Arc<Member>) {
        let member: Weak<dyn BudgetMember> = Arc::downgrade(member) as _;
        self.members.lock().push(member);
    }

    /// Returns the bytes that count now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn update_used(&self, before: usize, now: usize) {
        self.used.fetch_add(now, Ordering::Relaxed);
        self.used.fetch_sub(before, Ordering::Relaxed);
    }

    /// Halves the largest log until the limit is kept. Must not be called under the lock of a log.
    pub(crate) fn enforce(&self) {
        if self.used() <= self.limit {
            return;
        }
        // One at a time: the work of another thread may be enough.
        let members = self.members.lock();
        while self.used() > self.limit {
            let largest = members.iter().filter_map(Weak::upgrade).max_by_key(|member| member.bytes());
            match largest {
                Some(largest) if largest.bytes() > 0 => largest.halve(),
                _ => return,
            }
        }
    }
}
