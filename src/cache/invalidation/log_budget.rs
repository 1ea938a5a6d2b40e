//! The bytes that the invalidated prefixes and tags of all namespaces may take together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A log whose bytes count in a budget.
pub trait BudgetMember: Send + Sync {
    /// Returns the bytes that count now.
    fn bytes(&self) -> usize;
    /// Drops the older half.
    fn halve(&self);
}

/// A limit on bytes that namespaces share. Beyond it the namespace that has most forgets its older half: none can push out the others.
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    members: Mutex<Vec<Weak<dyn BudgetMember>>>,
}

impl Budget {
    /// Nothing counts yet.
    pub fn new(limit: usize) -> Arc<Budget> {
        Arc::new(Budget { limit, used: AtomicUsize::new(0), members: Mutex::default() })
    }

    /// From now on these may be taken from. They have to count here.
    pub fn join<Member: BudgetMember + 'static>(&self, member: &Arc<Member>) {
        let member: Weak<dyn BudgetMember> = Arc::downgrade(member) as _;
        self.members.lock().unwrap_or_else(PoisonError::into_inner).push(member);
    }

    /// Bytes that count now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn update_used(&self, before: usize, now: usize) {
        self.used.fetch_add(now, Ordering::Relaxed);
        self.used.fetch_sub(before, Ordering::Relaxed);
    }

    /// Takes from the largest until the limit is kept. Not to be called under the lock of a table.
    pub(crate) fn enforce(&self) {
        if self.used() <= self.limit {
            return;
        }
        // One at a time: what another takes may be enough.
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        while self.used() > self.limit {
            let largest = members.iter().filter_map(Weak::upgrade).max_by_key(|member| member.bytes());
            match largest {
                Some(largest) if largest.bytes() > 0 => largest.halve(),
                _ => return,
            }
        }
    }
}
