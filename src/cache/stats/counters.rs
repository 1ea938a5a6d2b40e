//! Counters for Stats and metrics: an atomic add each, without locks.

use std::sync::atomic::{AtomicU64, Ordering};

use super::histogram::Histogram;

/// A counter.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds `n` and returns true, unless the sum would exceed `limit`. 0: no limit.
    pub fn add_within(&self, n: u64, limit: u64) -> bool {
        let add = |count: u64| Some(count + n).filter(|sum| limit == 0 || *sum <= limit);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    /// Subtracts `n`: for a count of what exists now.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Adds one for as long as the guard lives.
    pub fn inc_guard(&self) -> IncGuard<'_> {
        self.inc();
        IncGuard(self)
    }

    /// Returns the count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counted thing. Dropping it subtracts one.
pub struct IncGuard<'a>(&'a Counter);

impl Drop for IncGuard<'_> {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

/// Counters of one namespace, which the contract's NamespaceStats explains. Its `stale_hits` and
/// `write_errors` are sums of fields here; its `sets_condition_failed` includes `sets_void`.
#[derive(Default, Debug)]
#[allow(missing_docs)]
pub struct NamespaceCounters {
    pub l1_hits: Counter,
    pub l2_hits: Counter,
    pub stale_l1_hits: Counter,
    pub stale_l2_hits: Counter,
    pub negative_hits: Counter,
    pub misses: Counter,
    pub degraded: Counter,
    pub coalesced: Counter,
    pub sets_stored: Counter,
    pub sets_condition_failed: Counter,
    pub sets_void: Counter,
    pub touches: Counter,
    pub throttled: Counter,
    pub over_quota: Counter,
    pub set_errors: Counter,
    pub touch_errors: Counter,
    pub invalidate_errors: Counter,
    pub invalidations: Counter,
    pub evicted_size: Counter,
    pub evicted_expired: Counter,
    pub removed: Counter,
    pub replaced: Counter,
    pub entries: Counter,
    pub bytes: Counter,
}

impl NamespaceCounters {
    /// Adds the Gets counted in `other`.
    pub fn absorb(&self, other: &NamespaceCounters) {
        let pairs = [
            (&self.l1_hits, &other.l1_hits),
            (&self.l2_hits, &other.l2_hits),
            (&self.stale_l1_hits, &other.stale_l1_hits),
            (&self.stale_l2_hits, &other.stale_l2_hits),
            (&self.negative_hits, &other.negative_hits),
            (&self.misses, &other.misses),
            (&self.degraded, &other.degraded),
            (&self.coalesced, &other.coalesced),
        ];
        pairs.iter().for_each(|(mine, others)| mine.add(others.get()));
    }

    /// Returns the Gets answered flagged stale.
    pub fn stale_hits(&self) -> u64 {
        self.stale_l1_hits.get() + self.stale_l2_hits.get()
    }

    /// Returns the failed writes of all kinds.
    pub fn write_errors(&self) -> u64 {
        self.set_errors.get() + self.touch_errors.get() + self.invalidate_errors.get()
    }
}

/// Counters of the coherence protocol, which the contract's CoherenceStats explains.
#[derive(Default, Debug)]
#[allow(missing_docs)]
pub struct CoherenceCounters {
    pub messages_applied: Counter,
    pub messages_own: Counter,
    pub gaps: Counter,
    pub undecodable: Counter,
    pub lagged: Counter,
    pub bumps: Counter,
    pub audits_sent: Counter,
    pub audits_echoed: Counter,
    pub audits_failed: Counter,
    pub disconnects: Counter,
    pub fills_fenced: Counter,
    pub failovers: Counter,
    pub repaired: Counter,
}

/// Counters of the self-audit, which the contract's SelfAuditStats explains.
#[derive(Default)]
#[allow(missing_docs)]
pub struct SelfAuditCounters {
    pub sampled: Counter,
    pub dropped: Counter,
    pub checked: Counter,
    pub gone: Counter,
    pub failed: Counter,
    pub violations: Counter,
    pub staleness: Histogram,
}

/// Latencies inside the service.
#[derive(Default)]
#[allow(missing_docs)]
pub struct Latencies {
    pub get_l1: Histogram,
    pub get_l2: Histogram,
    pub get_miss: Histogram,
    pub set: Histogram,
    pub invalidate: Histogram,
    pub barrier: Histogram,
    pub batch_get: Histogram,
    pub batch_set: Histogram,
    pub batch_invalidate: Histogram,
    pub l2_read: Histogram,
    pub l2_write: Histogram,
}
