//! Leases at one replica: options of a request, the table of leases granted here, and rounds of
//! waiters.

use std::sync::MutexGuard;
use std::time::Duration;

use super::table::{Holder, LeaseTable, MAX_LEASES, NoPlace};
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::key::Key;
use crate::cache::stats::LeaseCounters;
use crate::cache::tier::{LeaseId, RETRY_AFTER};
use crate::sync::Mutex;

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
#[derive(Default)]
pub struct Leases {
    granted: Mutex<LeaseTable>,
    /// Counters.
    pub counters: LeaseCounters,
}

/// The holder of a lease that this replica could otherwise grant alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseHolder {
    /// Time until which it blocks the lease.
    pub until: Moment,
    /// Status to report to the caller.
    pub status: LeaseStatus,
}

// === impl Leases ===

impl Leases {
    /// Reserves a place for the lease of `key`, before it is requested. One that was granted here
    /// has its place already.
    pub fn reserve(&self, key: &Key, now: Moment) -> Result<LeasePlace<'_>, CacheError> {
        let (namespace, mut table) = (key.namespace(), self.table());
        if table.get(key, now).is_some() {
            return Ok(LeasePlace { leases: self, namespace: None });
        }
        let limit = namespace.policy().max_leases;
        match table.reserve(namespace.id, limit, now) {
            Ok(()) => Ok(LeasePlace { leases: self, namespace: Some(namespace.id) }),
            Err(NoPlace::Namespace) => {
                namespace.counters.over_leases.inc();
                Err(namespace.quota_reached("max_leases", limit, Some(RETRY_AFTER)).into())
            }
            Err(NoPlace::All) => {
                namespace.counters.over_leases.inc();
                Err(CacheError::Exhausted { what: "leases", limit: MAX_LEASES, retry_after: Some(RETRY_AFTER) })
            }
        }
    }

    /// Records a lease that L2 has granted.
    pub fn granted(&self, key: &Key, lease: Lease) {
        self.counters.granted.inc();
        self.table().insert(key.clone(), Holder { id: Some(lease.id), alone: false }, lease.until);
    }

    /// Grants `lease` without L2, unless it was granted here already.
    pub fn grant_alone(&self, key: &Key, lease: Lease, now: Moment) -> Result<(), LeaseHolder> {
        let mut table = self.table();
        if let Some(holder) = lease_holder(&table, key, now, |_| true) {
            return Err(holder);
        }
        table.insert(key.clone(), Holder { id: Some(lease.id), alone: true }, lease.until);
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

    /// Keeps this replica from granting the lease of `key` alone before `until`, if there is a place
    /// to remember that.
    pub fn pause(&self, key: &Key, until: Moment, now: Moment) {
        let (namespace, mut table) = (key.namespace(), self.table());
        if table.reserve(namespace.id, namespace.policy().max_leases, now).is_ok() {
            table.insert(key.clone(), Holder { id: None, alone: true }, until);
            table.give_back(namespace.id);
        }
    }

    fn table(&self) -> MutexGuard<'_, LeaseTable> {
        self.granted.lock()
    }
}

/// A place reserved for a lease that is being requested. Dropping it gives the place back: a lease
/// that was granted meanwhile has a place of its own.
pub struct LeasePlace<'a> {
    leases: &'a Leases,
    namespace: Option<u32>,
}

impl Drop for LeasePlace<'_> {
    fn drop(&mut self) {
        if let Some(namespace) = self.namespace {
            self.leases.table().give_back(namespace);
        }
    }
}

fn lease_holder(table: &LeaseTable, key: &Key, now: Moment, counts: impl Fn(&Holder) -> bool) -> Option<LeaseHolder> {
    let (holder, until) = table.get(key, now).filter(|(holder, _)| counts(holder))?;
    Some(LeaseHolder { until, status: if holder.id.is_some() { LeaseStatus::Taken } else { LeaseStatus::Paused } })
}
