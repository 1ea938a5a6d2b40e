//! Leases as one replica sees them: how they are asked for, what was granted through here, and the rounds of those who want one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cache::clock::Moment;
use crate::cache::expiring_map::ExpiringMap;
use crate::cache::key::Key;
use crate::cache::stats::Counter;
use crate::cache::tier::LeaseId;

/// Leases granted through this replica that it remembers.
const GRANTED: usize = 65_536;

/// How a Get asks for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseOptions {
    /// For how long it is wanted.
    pub duration: Duration,
    /// Whether to wait for the entry while another has it.
    pub wait: bool,
    /// Whether a stale value is welcome when the entry cannot be made.
    pub stale_if_error: bool,
}

/// A lease as it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is called.
    pub id: LeaseId,
    /// Until when it holds, at least.
    pub until: Moment,
    /// Granted by this replica alone, because the shared tier could not be asked.
    pub alone: bool,
}

/// What the shared tier said to who wants the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseStatus {
    /// Somebody has it now, or there is an entry.
    Taken,
    /// Nobody may have it for a while: the entry could not be made.
    Paused,
}

/// Counts of leases; the contract's LeaseStats says what each means. Its `granted` has those granted alone as well, its `waited` is `served` and
/// `left`.
#[derive(Default, Debug)]
#[allow(missing_docs)]
pub struct LeaseCounters {
    pub granted: Counter,
    pub granted_alone: Counter,
    pub filled: Counter,
    pub voided: Counter,
    pub released: Counter,
    pub served: Counter,
    pub left: Counter,
    pub waiting: Counter,
}

/// The leases granted through this replica that were neither used nor given back: what it goes by while the shared tier cannot be asked.
pub struct Leases {
    granted: Mutex<ExpiringMap<Key, Holder>>,
    /// Counts.
    pub counters: LeaseCounters,
}

/// Who has a lease; none: nobody may.
#[derive(Clone, Copy)]
struct Holder {
    id: Option<LeaseId>,
    alone: bool,
}

/// Who stands in the way of a lease that this replica might grant alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseHolder {
    /// Until when.
    pub until: Moment,
    /// What is said of it.
    pub status: LeaseStatus,
}

impl Default for Leases {
    fn default() -> Self {
        Leases { granted: Mutex::new(ExpiringMap::new(GRANTED)), counters: LeaseCounters::default() }
    }
}

// === impl Leases ===

impl Leases {
    /// The shared tier has granted a lease.
    pub fn granted(&self, key: &Key, lease: Lease, now: Moment) {
        self.counters.granted.inc();
        self.table().insert(key.clone(), Holder { id: Some(lease.id), alone: false }, lease.until, now);
    }

    /// Grants `lease` without the shared tier, unless it was granted through this replica already.
    pub fn grant_alone(&self, key: &Key, lease: Lease, now: Moment) -> Result<(), LeaseHolder> {
        let mut table = self.table();
        if let Some(obstacle) = obstacle(&table, key, now, |_| true) {
            return Err(obstacle);
        }
        table.insert(key.clone(), Holder { id: Some(lease.id), alone: true }, lease.until, now);
        self.counters.granted_alone.inc();
        Ok(())
    }

    /// Why the shared tier need not be asked: this replica has granted the lease alone.
    pub fn alone(&self, key: &Key, now: Moment) -> Option<LeaseHolder> {
        obstacle(&self.table(), key, now, |holder| holder.alone)
    }

    /// The lease was used or given back. Returns whether this replica had granted it alone; none: it did not know it.
    pub fn forget(&self, key: &Key, lease: LeaseId, now: Moment) -> Option<bool> {
        let mut table = self.table();
        let (holder, _) = table.get(key, now)?;
        let alone = (holder.id == Some(lease)).then_some(holder.alone)?;
        table.remove(key);
        Some(alone)
    }

    /// Nobody gets the lease of `key` from this replica alone before `until`.
    pub fn pause(&self, key: &Key, until: Moment, now: Moment) {
        self.table().insert(key.clone(), Holder { id: None, alone: true }, until, now);
    }

    fn table(&self) -> MutexGuard<'_, ExpiringMap<Key, Holder>> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn obstacle(
    table: &ExpiringMap<Key, Holder>,
    key: &Key,
    now: Moment,
    counts: impl Fn(&Holder) -> bool,
) -> Option<LeaseHolder> {
    let (holder, until) = table.get(key, now).filter(|(holder, _)| counts(holder))?;
    Some(LeaseHolder { until, status: if holder.id.is_some() { LeaseStatus::Taken } else { LeaseStatus::Paused } })
}
