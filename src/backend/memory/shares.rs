//! Fair shares of L1: which namespace loses entries when L1 is full.
//!
//! A namespace keeps what it reserves. The rest of L1, the pool, belongs to all: each may use what
//! no other uses. When the pool is full, a namespace above its share loses its own entries. The
//! share is the pool divided by the number of namespaces in use within a minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;

use super::shard::CoarseTime;
use crate::cache::namespace::Namespace;
use crate::sync::Mutex;

/// Steps of [`CoarseTime`] for which a namespace counts as in use: a minute.
const IN_USE: u32 = 450;
/// Steps of [`CoarseTime`] after which shares are computed again: a second.
const RENEWED_AFTER: u32 = 7;

/// The namespaces that share L1.
pub struct Shares {
    /// Distinguishes this L1 from others of the process.
    id: u64,
    /// Bytes of L1.
    size: u64,
    members: ArcSwap<Vec<Arc<Namespace>>>,
    growing: Mutex<()>,
    /// Bytes of all reservations.
    reserved: AtomicU64,
    /// Bytes of the pool for each namespace in use.
    share: AtomicU64,
    /// Time at which shares were computed.
    renewed_at: AtomicU32,
}

// === impl Shares ===

impl Shares {
    /// Creates the shares of an L1 of `size` bytes, without namespaces.
    pub fn new(size: u64) -> Shares {
        Shares {
            // 0 is no L1.
            id: rand::random::<u64>() | 1,
            size,
            members: ArcSwap::default(),
            growing: Mutex::new(()),
            reserved: AtomicU64::new(0),
            share: AtomicU64::new(size),
            renewed_at: AtomicU32::new(0),
        }
    }

    /// Records that `namespace` inserts an entry at `time`. Renews the shares if they are due.
    pub fn note_insert(&self, namespace: &Arc<Namespace>, time: CoarseTime) {
        let usage = &namespace.l1_activity;
        let is_member = usage.l1.load(Relaxed) == self.id;
        if !is_member {
            self.join(namespace);
        }
        let before = usage.used_at.load(Relaxed);
        if before != time.0 {
            usage.used_at.store(time.0, Relaxed);
        }
        let returns = !is_member || time.0.wrapping_sub(before) > IN_USE;
        if returns || time.0.wrapping_sub(self.renewed_at.load(Relaxed)) >= RENEWED_AFTER {
            self.renew(time);
        }
    }

    fn join(&self, namespace: &Arc<Namespace>) {
        let _one_at_a_time = self.growing.lock();
        let members = self.members.load();
        if !members.iter().any(|member| Arc::ptr_eq(member, namespace)) {
            self.members.store(Arc::new(members.iter().chain([namespace]).cloned().collect()));
        }
        namespace.l1_activity.l1.store(self.id, Relaxed);
    }

    /// Computes the shares again, and forgets namespaces without entries that are not in use.
    pub fn renew(&self, time: CoarseTime) {
        self.renewed_at.store(time.0, Relaxed);
        let members = self.members.load();
        let (mut reserved, mut in_use, mut left) = (0, 0, false);
        for member in members.iter() {
            let usage = &member.l1_activity;
            // A Get counts, but does not record its time.
            let calls = member.counters.l1_calls();
            if usage.calls.swap(calls, Relaxed) != calls {
                usage.used_at.store(time.0, Relaxed);
            }
            let is_in_use = is_in_use(member, time);
            in_use += u64::from(is_in_use);
            left |= !is_in_use && member.counters.entries.get() == 0;
            reserved += member.reservation();
        }
        self.reserved.store(reserved, Relaxed);
        self.share.store(self.size.saturating_sub(reserved) / in_use.max(1), Relaxed);
        if left {
            self.drop_unused(time);
        }
    }

    fn drop_unused(&self, time: CoarseTime) {
        let _one_at_a_time = self.growing.lock();
        let keeps = |member: &&Arc<Namespace>| is_in_use(member, time) || member.counters.entries.get() > 0;
        let (kept, dropped): (Vec<_>, Vec<_>) = self.members.load().iter().cloned().partition(|member| keeps(&member));
        // One that inserts meanwhile joins again.
        dropped.iter().for_each(|member| member.l1_activity.l1.store(0, Relaxed));
        self.members.store(Arc::new(kept));
    }

    /// Returns true if the pool, or L1 as a whole, holds more than it may. `bytes`: those of all
    /// entries.
    pub fn are_exceeded(&self, bytes: u64) -> bool {
        let reserved = self.reserved.load(Relaxed);
        let pool = self.size.saturating_sub(reserved);
        if bytes <= pool {
            return false;
        }
        if reserved == 0 || bytes > self.size {
            return true;
        }
        let used = self.members.load().iter().map(|member| within_reservation(member)).sum::<u64>();
        bytes.saturating_sub(used) > pool
    }

    /// Returns the namespace that has to lose an entry, while `inserting` inserts one. `None` if no
    /// namespace uses the pool.
    pub fn loser(&self, inserting: &Arc<Namespace>, time: CoarseTime) -> Option<Arc<Namespace>> {
        let share = self.share.load(Relaxed);
        if in_pool(inserting) > share {
            return Some(inserting.clone());
        }
        let members = self.members.load();
        let most = |of: &dyn Fn(&Arc<Namespace>) -> bool| {
            let using = members.iter().map(|member| (in_pool(member), member));
            using.filter(|(bytes, member)| *bytes > 0 && of(member)).max_by_key(|(bytes, _)| *bytes)
        };
        // One above its share; else one that is not in use; else the one that uses most.
        let above = most(&|member| is_in_use(member, time)).filter(|(bytes, _)| *bytes > share);
        let loser = above.or_else(|| most(&|member| !is_in_use(member, time))).or_else(|| most(&|_| true));
        loser.map(|(_, member)| member.clone())
    }
}

fn is_in_use(member: &Namespace, time: CoarseTime) -> bool {
    time.0.wrapping_sub(member.l1_activity.used_at.load(Relaxed)) <= IN_USE
}

/// Returns the bytes of a namespace that its reservation covers.
fn within_reservation(member: &Namespace) -> u64 {
    member.reservation().min(member.counters.bytes.get())
}

/// Returns the bytes of a namespace that are in the pool.
fn in_pool(member: &Namespace) -> u64 {
    member.counters.bytes.get().saturating_sub(member.reservation())
}
