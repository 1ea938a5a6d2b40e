//! Counters of all subjects for Stats, metrics and the dashboard, and sums of them.

use super::histogram::{Histogram, Snapshot};
use super::meter::{Counter, Gauge, Meter, Number, meters};

meters! {
    /// Counters of one namespace, which the contract's NamespaceStats explains. Its `stale_hits` and
    /// `write_errors` are sums of fields here; its `sets_condition_failed` includes `sets_void`.
    NamespaceCounters reported as NamespaceCounts {
        l1_hits: Counter,
        l2_hits: Counter,
        stale_l1_hits: Counter,
        stale_l2_hits: Counter,
        negative_hits: Counter,
        misses: Counter,
        degraded: Counter,
        coalesced: Counter,
        sets_stored: Counter,
        sets_condition_failed: Counter,
        sets_void: Counter,
        touches: Counter,
        throttled: Counter,
        over_quota: Counter,
        over_byte_rate: Counter,
        over_in_flight: Counter,
        over_leases: Counter,
        over_l2_bytes: Counter,
        tombstone_overflows: Counter,
        set_errors: Counter,
        touch_errors: Counter,
        invalidate_errors: Counter,
        invalidations: Counter,
        evicted_size: Counter,
        evicted_expired: Counter,
        removed: Counter,
        replaced: Counter,
        entries: Gauge,
        bytes: Gauge,
        quota_bytes: Gauge,
        reservation: Gauge,
    }

    /// Counters of the entries that L1 dropped, or did not take because they are too large, which the
    /// contract's L1Stats explains.
    L1Counters reported as L1Counts {
        evicted_size: Counter,
        evicted_expired: Counter,
        removed: Counter,
        replaced: Counter,
        rejected: Counter,
    }

    /// Counters of the coherence protocol, which the contract's CoherenceStats explains.
    CoherenceCounters reported as CoherenceCounts {
        messages_applied: Counter,
        messages_own: Counter,
        gaps: Counter,
        undecodable: Counter,
        lagged: Counter,
        bumps: Counter,
        audits_sent: Counter,
        audits_echoed: Counter,
        audits_failed: Counter,
        disconnects: Counter,
        fills_fenced: Counter,
        sets_fenced: Counter,
        failovers: Counter,
        repaired: Counter,
    }

    /// Counters of leases, which the contract's LeaseStats explains. Its `granted` includes those
    /// granted alone, and its `waited` is `served` plus `left`.
    LeaseCounters reported as LeaseCounts {
        granted: Counter,
        granted_alone: Counter,
        filled: Counter,
        voided: Counter,
        released: Counter,
        served: Counter,
        left: Counter,
        waiting: Gauge,
    }

    /// Counters of watches, which the contract's WatchStats explains.
    WatchCounters reported as WatchCounts {
        changes: Counter,
        discontinuities: Counter,
    }

    /// Counters of the self-audit, which the contract's SelfAuditStats explains.
    SelfAuditCounters reported as SelfAuditCounts {
        sampled: Counter,
        dropped: Counter,
        checked: Counter,
        gone: Counter,
        failed: Counter,
        violations: Counter,
        staleness: Histogram,
    }

    /// Counters of TLS handshakes by result, and of reloads of the configuration.
    SecurityCounters reported as SecurityCounts {
        handshakes: Counter,
        handshakes_plain_text: Counter,
        handshakes_timed_out: Counter,
        handshakes_closed: Counter,
        handshakes_certificate: Counter,
        handshakes_alert: Counter,
        handshakes_protocol: Counter,
        reloads: Counter,
        reloads_failed: Counter,
    }

    /// Latencies inside the service.
    Latencies reported as LatencyReport {
        get_l1: Histogram,
        get_l2: Histogram,
        get_miss: Histogram,
        set: Histogram,
        invalidate: Histogram,
        barrier: Histogram,
        batch_get: Histogram,
        batch_set: Histogram,
        batch_invalidate: Histogram,
        l2_read: Histogram,
        l2_write: Histogram,
    }
}

/// Gets by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gets {
    /// Answered from L1 as fresh.
    pub l1: u64,
    /// Answered from L2.
    pub l2: u64,
    /// Answered flagged stale.
    pub stale: u64,
    /// Answered with a miss.
    pub miss: u64,
}

// === impl counters ===

impl NamespaceCounters {
    /// Returns the calls that are a use of L1: Gets and stored Sets.
    pub fn l1_calls(&self) -> u64 {
        let calls =
            [&self.l1_hits, &self.l2_hits, &self.stale_l1_hits, &self.stale_l2_hits, &self.misses, &self.sets_stored];
        calls.iter().map(|counter| counter.get()).sum()
    }

    /// Returns the calls of all kinds.
    pub fn calls(&self) -> u64 {
        self.l1_calls() + [&self.touches, &self.invalidations, &self.set_errors].map(Counter::get).iter().sum::<u64>()
    }

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
}

impl NamespaceCounts {
    /// Returns the Gets by result.
    pub fn gets(&self) -> Gets {
        let stale = self.stale_l1_hits + self.stale_l2_hits;
        Gets { l1: self.l1_hits, l2: self.l2_hits, stale, miss: self.misses }
    }

    /// Returns the failed writes of all kinds.
    pub fn write_errors(&self) -> u64 {
        self.set_errors + self.touch_errors + self.invalidate_errors
    }

    /// Returns the counts without what exists now.
    pub fn without_gauges(mut self) -> NamespaceCounts {
        for gauge in [&mut self.entries, &mut self.bytes, &mut self.quota_bytes, &mut self.reservation] {
            *gauge = 0;
        }
        self
    }

    /// Returns the Gets, stored Sets and acknowledged Invalidates.
    pub fn calls(&self) -> u64 {
        self.gets().all() + self.sets_stored + self.invalidations
    }

    /// Returns the entries that needed room in L1.
    pub fn fills(&self) -> u64 {
        self.sets_stored + self.l2_hits
    }
}

impl CoherenceCounts {
    /// Returns the messages applied in sequence, also those of this replica.
    pub fn messages(&self) -> u64 {
        self.messages_applied + self.messages_own
    }
}

impl LeaseCounts {
    /// Returns the waits for a lease that ended. Current waiters are not included: the count would
    /// fall when one times out.
    pub fn waited(&self) -> u64 {
        self.served + self.left
    }
}

impl LatencyReport {
    /// Returns the latencies of all Gets.
    pub fn gets(&self) -> Snapshot {
        self.get_l1.plus(&self.get_l2).plus(&self.get_miss)
    }

    /// Returns the latencies of reads and writes of L2.
    pub fn l2(&self) -> Snapshot {
        self.l2_read.plus(&self.l2_write)
    }
}

impl Gets {
    /// Returns the Gets of all results.
    pub fn all(self) -> u64 {
        self.l1 + self.l2 + self.stale + self.miss
    }
}
