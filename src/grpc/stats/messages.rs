//! Stats messages of a report, and their sums over replicas: each number of the contract is named
//! here once.

use super::additive::Additive;
use crate::cache::clock::Moment;
use crate::cache::fleet::replica::Replica;
use crate::cache::fleet::report::{CoherenceReport, LoadReport, NamespaceReport, ReplicaReport, WatchReport};
use crate::cache::fleet::warm_start::Warmed;
use crate::cache::stats::{LatencyReport, LeaseCounts, SelfAuditCounts, Snapshot};
use crate::cache::tier::{L1Usage, L2Report, L2State, ServerReport};
use crate::grpc::convert::{timestamp, to_wire};
use crate::pb;

/// Declares which numbers of a message are added over replicas, and which are numbers of the shared
/// Redis, the `same` for all; each with its value in a report.
macro_rules! numbers {
    ($($message:ident($from:ident: &$report:ty) {
        $($field:ident: $value:expr,)*
    } $(same {
        $($same:ident: $same_value:expr,)*
    })?;)*) => {
        $(impl From<&$report> for pb::$message {
            // Some messages have numbers only.
            #[allow(clippy::needless_update)]
            fn from($from: &$report) -> pb::$message {
                pb::$message {
                    $($field: $value,)*
                    $($($same: $same_value,)*)?
                    ..Default::default()
                }
            }
        }

        impl Additive for pb::$message {
            fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.saturating_add(other.$field);)*
                $($(self.$same = self.$same.or(other.$same);)*)?
            }
        })*

        /// Numbers that are converted, by message.
        #[cfg(test)]
        const NUMBERS: &[(&str, &[&str])] =
            &[$((stringify!($message), &[$(stringify!($field),)* $($(stringify!($same),)*)?])),*];
    };
}

numbers! {
    NamespaceStats(of: &NamespaceReport) {
        l1_hits: of.counts.l1_hits,
        l2_hits: of.counts.l2_hits,
        stale_hits: of.counts.gets().stale,
        negative_hits: of.counts.negative_hits,
        misses: of.counts.misses,
        degraded: of.counts.degraded,
        coalesced: of.counts.coalesced,
        sets_stored: of.counts.sets_stored,
        sets_condition_failed: of.counts.sets_condition_failed + of.counts.sets_void,
        write_errors: of.counts.write_errors(),
        invalidations: of.counts.invalidations,
        entries: of.counts.entries,
        bytes: of.counts.bytes,
        sets_void: of.counts.sets_void,
        touches: of.counts.touches,
        throttled: of.counts.throttled,
        over_quota: of.counts.over_quota,
        over_byte_rate: of.counts.over_byte_rate,
        over_in_flight: of.counts.over_in_flight,
        over_leases: of.counts.over_leases,
        over_redis_bytes: of.counts.over_l2_bytes,
        max_bytes: of.counts.quota_bytes,
        reserved_bytes: of.counts.reservation,
        tombstone_overflows: of.counts.tombstone_overflows,
    } same {
        redis_keys: of.in_l2.map(|usage| usage.keys),
        redis_bytes: of.in_l2.and_then(|usage| usage.bytes),
    };
    L1Stats(of: &L1Usage) {
        entries: of.entries,
        bytes: of.bytes,
        max_bytes: of.max_bytes,
        evicted_size: of.counts.evicted_size,
        evicted_expired: of.counts.evicted_expired,
        removed: of.counts.removed,
        replaced: of.counts.replaced,
        rejected: of.counts.rejected,
    };
    CoherenceStats(of: &CoherenceReport) {
        messages_applied: of.counts.messages_applied,
        messages_own: of.counts.messages_own,
        gaps: of.counts.gaps,
        undecodable: of.counts.undecodable,
        lagged: of.counts.lagged,
        bumps: of.counts.bumps,
        audits_sent: of.counts.audits_sent,
        audits_echoed: of.counts.audits_echoed,
        audits_failed: of.counts.audits_failed,
        disconnects: of.counts.disconnects,
        fills_fenced: of.counts.fills_fenced,
        sets_fenced: of.counts.sets_fenced,
        takeovers: of.counts.failovers,
        repaired: of.counts.repaired,
    };
    LeaseStats(of: &LeaseCounts) {
        granted: of.granted + of.granted_alone,
        granted_alone: of.granted_alone,
        filled: of.filled,
        voided: of.voided,
        released: of.released,
        waited: of.waited(),
        served: of.served,
        waiting: of.waiting,
    };
    WatchStats(of: &WatchReport) {
        watchers: of.watchers as u64,
        changes: of.counts.changes,
        discontinuities: of.counts.discontinuities,
    };
    ReplicaStats(of: &LoadReport) {
        in_flight: of.in_flight as u64,
        connections: of.connections as u64,
        shed: of.shed,
    };
    SelfAuditStats(of: &SelfAuditCounts) {
        sampled: of.sampled,
        dropped: of.dropped,
        checked: of.checked,
        gone: of.gone,
        failed: of.failed,
        violations: of.violations,
    };
    RedisStats(of: &L2Report) {
        reconnects: of.reconnects,
        commands: of.commands,
        errors: of.errors,
        undecodable: of.undecodable,
        used_memory: of.server.used_memory,
        used_memory_peak: of.server.used_memory_peak,
        maxmemory: of.server.maxmemory,
        keys: of.server.keys,
        evicted_keys: of.server.evicted_keys,
        expired_keys: of.server.expired_keys,
        commands_processed: of.server.commands_processed,
        foreign_messages: of.foreign_messages,
    } same {
        namespace_sample_keys: of.sampled().map(|sample| sample.sampled),
    };
}

/// Builds the response of a replica.
pub fn response(of: &Replica, report: &ReplicaReport) -> pb::StatsResponse {
    pb::StatsResponse {
        replica: Some(replica(of, report)),
        namespaces: report.namespaces.iter().map(namespace).filter(was_used).collect(),
        l1: Some((&report.l1).into()),
        coherence: Some(coherence(report)),
        redis: Some(redis(report.l2.clone(), report.at)),
        latencies: latencies(&report.latencies),
        self_audit: Some(self_audit(&report.self_audit)),
        leases: Some((&report.leases).into()),
        watches: Some((&report.watches).into()),
        warm_start: report.warm_start.map(warm_start),
        fleet: Vec::new(),
        reset_time: None,
    }
}

/// Returns true if anything was counted, or Redis has keys.
pub fn was_used(stats: &pb::NamespaceStats) -> bool {
    let (redis_keys, redis_bytes) = (stats.redis_keys, stats.redis_bytes);
    let unused =
        pb::NamespaceStats { namespace: stats.namespace.clone(), redis_keys, redis_bytes, ..Default::default() };
    *stats != unused || redis_keys.is_some_and(|keys| keys > 0)
}

/// Returns the Gets of all namespaces by result: from L1, from L2, stale, missed.
pub fn gets(all: &[pb::NamespaceStats]) -> [u64; 4] {
    let of = |stats: &pb::NamespaceStats| [stats.l1_hits, stats.l2_hits, stats.stale_hits, stats.misses];
    all.iter().map(of).fold([0; 4], |sum, more| std::array::from_fn(|at| sum[at] + more[at]))
}

/// Returns the stored Sets and the Invalidates of all namespaces.
pub fn writes(all: &[pb::NamespaceStats]) -> u64 {
    all.iter().map(|stats| stats.sets_stored + stats.invalidations).sum()
}

/// Returns how much a namespace is used, to compare it with others.
pub fn use_of(stats: &pb::NamespaceStats) -> u64 {
    stats.l1_hits + stats.l2_hits + stats.misses + stats.sets_stored
}

fn replica(of: &Replica, report: &ReplicaReport) -> pb::ReplicaStats {
    pb::ReplicaStats {
        id: of.id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        start_time: Some(timestamp(of.started)),
        l1_only: report.l2.state == L2State::Disabled,
        cache_enabled: report.switches.enabled,
        state: report.health.word().to_owned(),
        ..(&report.load).into()
    }
}

fn namespace(report: &NamespaceReport) -> pb::NamespaceStats {
    pb::NamespaceStats { namespace: report.name.clone(), ..report.into() }
}

fn coherence(report: &ReplicaReport) -> pb::CoherenceStats {
    let (coherence, lag) = (&report.coherence, &report.l2.bus_lag);
    pb::CoherenceStats {
        max_staleness: Some(to_wire(coherence.max_staleness)),
        partitions: coherence.partitions.into(),
        partitions_proven: coherence.proven.into(),
        audit_age: coherence.proof_age.map(to_wire),
        lag_p99: (lag.count > 0).then(|| to_wire(lag.quantile(0.99))),
        ..coherence.into()
    }
}

fn self_audit(counts: &SelfAuditCounts) -> pb::SelfAuditStats {
    let staleness = Some(&counts.staleness).filter(|staleness| staleness.count > 0);
    pb::SelfAuditStats {
        staleness_p99: staleness.map(|staleness| to_wire(staleness.quantile(0.99))),
        staleness_max: staleness.map(|staleness| to_wire(staleness.max)),
        ..counts.into()
    }
}

fn redis(mut l2: L2Report, now: Moment) -> pb::RedisStats {
    if !l2.can_be_asked() {
        // The last values of a server that does not answer are outdated.
        let ServerReport { version, maxmemory_policy, warnings, .. } = l2.server;
        l2.server = ServerReport { version, maxmemory_policy, warnings, ..ServerReport::default() };
        l2.round_trip = None;
    }
    let state = match l2.state {
        L2State::Disabled => pb::RedisState::Disabled,
        L2State::Healthy => pb::RedisState::Healthy,
        L2State::Degraded => pb::RedisState::Degraded,
        L2State::Unavailable => pb::RedisState::Unavailable,
    };
    let stats = pb::RedisStats::from(&l2);
    pb::RedisStats {
        state: state.into(),
        state_age: (l2.state != L2State::Disabled).then(|| to_wire(l2.state_age)),
        round_trip: l2.round_trip.map(to_wire),
        namespace_sample_age: l2.sampled().map(|sample| to_wire(now.since(sample.taken))),
        reason: l2.reason,
        server_version: l2.server.version,
        maxmemory_policy: l2.server.maxmemory_policy,
        warnings: l2.server.warnings.into_iter().collect(),
        ..stats
    }
}

fn warm_start(warmed: Warmed) -> pb::WarmStartStats {
    pb::WarmStartStats {
        listed: warmed.listed,
        loaded: warmed.loaded,
        duration: Some(to_wire(warmed.took)),
        timed_out: warmed.timed_out,
    }
}

fn latencies(all: &LatencyReport) -> Vec<pb::LatencyStats> {
    let rows = [
        ("get", pb::Tier::L1, &all.get_l1),
        ("get", pb::Tier::L2, &all.get_l2),
        ("get", pb::Tier::Unspecified, &all.get_miss),
        ("set", pb::Tier::Unspecified, &all.set),
        ("invalidate", pb::Tier::Unspecified, &all.invalidate),
        ("barrier", pb::Tier::Unspecified, &all.barrier),
        ("batch_get", pb::Tier::Unspecified, &all.batch_get),
        ("batch_set", pb::Tier::Unspecified, &all.batch_set),
        ("batch_invalidate", pb::Tier::Unspecified, &all.batch_invalidate),
        ("l2_read", pb::Tier::L2, &all.l2_read),
        ("l2_write", pb::Tier::L2, &all.l2_write),
    ];
    rows.into_iter().filter_map(|(operation, tier, snapshot)| latency(operation, tier, snapshot)).collect()
}

fn latency(operation: &str, tier: pb::Tier, snapshot: &Snapshot) -> Option<pb::LatencyStats> {
    let quantile = |q| Some(to_wire(snapshot.quantile(q)));
    (snapshot.count > 0).then(|| pb::LatencyStats {
        operation: operation.to_owned(),
        tier: tier.into(),
        count: snapshot.count,
        p50: quantile(0.5),
        p95: quantile(0.95),
        p99: quantile(0.99),
        p999: quantile(0.999),
        max: Some(to_wire(snapshot.max)),
    })
}

#[cfg(test)]
#[path = "messages_tests.rs"]
mod tests;
