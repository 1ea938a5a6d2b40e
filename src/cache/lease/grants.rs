//! Leases at one replica: options of a request, the table of leases granted here, and rounds of
//! waiters.

use std::sync::MutexGuard;
use std::time::Duration;

use crate::cache::clock::Moment;
use crate::cache::expiring_map::ExpiringMap;
use crate::cache::key::Key;
use crate::cache::stats::LeaseCounters;
use crate::cache::tier::LeaseId;
use crate::sync::Mutex;

/// Most leases granted here that are remembered.
const MAX_LEASES: usize = 65_536;

/// Options of a Get that requests a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseOptions {
    /// Duration of the lease.
    pub duration: Duration,
    /// True to wait for the entry while another caller has the lease.
    pub wait: bool,
    /// True to accept a stale value when the fill failed.
    pub stale_if_error: bool,
}

/// A granted lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub id: LeaseId,
    /// Time until which it is valid, at least.
    pub until: Moment,
    /// True if this replica granted it alone, because L2 was unavailable.
    pub alone: bool,
}

/// Reply of L2 to a request for a lease that was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseStatus {
    /// Another caller has it, or there is an entry.
    Taken,
    /// It is not granted for a while, because the fill failed.
    Paused,
}

/// Leases granted here that were neither used nor released: the basis of decisions while L2 is
/// unavailable.
pub struct Leases {
    granted: Mutex<ExpiringMap<Key, Holder>>,
    /// Counters.
    pub counters: LeaseCounters,
}

/// The holder of a lease. Without an id the lease is paused.
#[derive(Clone, Copy)]
struct Holder {
    id: Option<LeaseId>,
    alone: bool,
}

/// The holder of a lease that this replica could otherwise grant alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseHolder {
    /// Time until which it blocks the lease.
    pub until: Moment,
    /// Status to report to the caller.
    pub status: LeaseStatus,
}

impl Default for Leases {
    fn default() -> Self {
        Leases { granted: Mutex::new(ExpiringMap::new(MAX_LEASES)), counters: LeaseCounters::default() }
    }
}

// === impl Leases ===

impl Leases {
    /// Records a lease that L2 has granted.
    pub fn granted(&self, key: &Key, lease: Lease, now: Moment) {
        self.counters.granted.inc();
        self.table().insert(key.clone(), Holder { id: Some(lease.id), alone: false }, lease.until, now);
    }

    /// Grants `lease` without L2, unless it was granted here already.
    pub fn grant_alone(&self, key: &Key, lease: Lease, now: Moment) -> Result<(), LeaseHolder> {
        let mut table = self.table();
        if let Some(holder) = lease_holder(&table, key, now, |_| true) {
            return Err(holder);
        }
        table.insert(key.clone(), Holder { id: Some(lease.id), alone: true }, lease.until, now);
        self.counters.granted_alone.inc();
        Ok(())
    }

    /// Returns the holder of a lease that this replica has granted alone: then L2 need not be
    /// queried.
    pub fn alone(&self, key: &Key, now: Moment) -> Option<LeaseHolder> {
        lease_holder(&self.table(), key, now, |holder| holder.alone)
    }

    /// Forgets a lease that was used or released.
    ///
    /// Returns whether this replica had granted it alone. `None` if it is not known here.
    pub fn forget(&self, key: &Key, lease: LeaseId, now: Moment) -> Option<bool> {
        let mut table = self.table();
        let (holder, _) = table.get(key, now)?;
        let alone = (holder.id == Some(lease)).then_some(holder.alone)?;
        table.remove(key);
        Some(alone)
    }

    /// Keeps this replica from granting the lease of `key` alone before `until`.
    pub fn pause(&self, key: &Key, until: Moment, now: Moment) {
        self.table().insert(key.clone(), Holder { id: None, alone: true }, until, now);
    }

    fn table(&self) -> MutexGuard<'_, ExpiringMap<Key, Holder>> {
        self.granted.lock()
    }
}

fn lease_holder(
    table: &ExpiringMap<Key, Holder>,
    key: &Key,
    now: Moment,
    counts: impl Fn(&Holder) -> bool,
) -> Option<LeaseHolder> {
    let (holder, until) = table.get(key, now).filter(|(holder, _)| counts(holder))?;
    Some(LeaseHolder { until, status: if holder.id.is_some() { LeaseStatus::Taken } else { LeaseStatus::Paused } })
}
