//! Stats: what was counted, in the contract's words.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::convert::{timestamp, to_wire};
use super::load::Load;
use crate::cache::error::CacheError;
use crate::cache::namespace::{Namespace, Namespaces};
use crate::cache::policy::limits;
use crate::cache::stats::Histogram;
use crate::cache::tier::{L2, L2Report, L2State};
use crate::cache::tiered::Tiered;
use crate::pb;

/// What this replica says of itself.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Identity of this process.
    pub id: String,
    /// When it was started.
    pub started: SystemTime,
}

/// What is reported on.
pub struct Observed {
    /// The replica.
    pub replica: Replica,
    /// The cache.
    pub cache: Tiered,
    /// The shared tier.
    pub l2: Arc<dyn L2>,
    /// The namespaces.
    pub namespaces: Arc<Namespaces>,
    /// The load.
    pub load: Arc<Load>,
}

/// The report of this replica, of one namespace or of all.
pub fn report(observed: &Observed, namespace: &str) -> Result<pb::StatsResponse, CacheError> {
    let namespaces = match namespace {
        "" => observed.namespaces.all(),
        name => {
            limits::namespace("namespace", name)?;
            observed.namespaces.find(name).into_iter().collect()
        }
    };
    let l2 = observed.l2.report();
    Ok(pb::StatsResponse {
        leases: Some(leases(observed)),
        watches: Some(watches(observed)),
        warm_start: None,
        fleet: Vec::new(),
        reset_time: None,
        replica: Some(replica(observed, &l2)),
        namespaces: namespaces.iter().map(|namespace| namespace_stats(namespace)).filter(was_used).collect(),
        l1: Some(l1(observed)),
        coherence: Some(coherence(observed, &l2)),
        redis: Some(redis(l2)),
        latencies: latencies(observed),
        self_audit: Some(self_audit(observed)),
    })
}

fn replica(observed: &Observed, l2: &L2Report) -> pb::ReplicaStats {
    pb::ReplicaStats {
        id: observed.replica.id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        start_time: Some(timestamp(observed.replica.started)),
        l1_only: l2.state == L2State::Disabled,
        cache_enabled: observed.cache.switches().enabled,
        in_flight: observed.load.in_flight() as u64,
        connections: observed.load.connections() as u64,
        shed: observed.load.shed(),
    }
}

fn namespace_stats(namespace: &Namespace) -> pb::NamespaceStats {
    let counters = &namespace.counters;
    pb::NamespaceStats {
        sets_void: counters.sets_void.get(),
        touches: counters.touches.get(),
        throttled: counters.throttled.get(),
        over_quota: counters.over_quota.get(),
        namespace: namespace.name().to_owned(),
        l1_hits: counters.l1_hits.get(),
        l2_hits: counters.l2_hits.get(),
        stale_hits: counters.stale_hits.get(),
        negative_hits: counters.negative_hits.get(),
        misses: counters.misses.get(),
        degraded: counters.degraded.get(),
        coalesced: counters.coalesced.get(),
        sets_stored: counters.sets_stored.get(),
        sets_condition_failed: counters.sets_condition_failed.get(),
        write_errors: counters.write_errors.get(),
        invalidations: counters.invalidations.get(),
        entries: counters.entries.get(),
        bytes: counters.bytes.get(),
    }
}

fn was_used(stats: &pb::NamespaceStats) -> bool {
    *stats != pb::NamespaceStats { namespace: stats.namespace.clone(), ..Default::default() }
}

fn l1(observed: &Observed) -> pb::L1Stats {
    let usage = observed.cache.l1().usage();
    pb::L1Stats {
        entries: usage.entries,
        bytes: usage.bytes,
        max_bytes: usage.max_bytes,
        evicted_size: usage.evicted_size,
        evicted_expired: usage.evicted_expired,
        removed: usage.removed,
        replaced: usage.replaced,
        rejected: usage.rejected,
    }
}

fn coherence(observed: &Observed, l2: &L2Report) -> pb::CoherenceStats {
    let coherence = observed.cache.coherence();
    let (proofs, counters) = (coherence.proofs(), &coherence.counters);
    pb::CoherenceStats {
        max_staleness: Some(to_wire(coherence.max_staleness())),
        partitions: coherence.partitions().into(),
        partitions_proven: proofs.proven.into(),
        audit_age: proofs.oldest.map(to_wire),
        messages_applied: counters.messages_applied.get(),
        messages_own: counters.messages_own.get(),
        gaps: counters.gaps.get(),
        undecodable: counters.undecodable.get(),
        lagged: counters.lagged.get(),
        bumps: counters.bumps.get(),
        audits_sent: counters.audits_sent.get(),
        audits_echoed: counters.audits_echoed.get(),
        audits_failed: counters.audits_failed.get(),
        disconnects: counters.disconnects.get(),
        fills_fenced: counters.fills_fenced.get(),
        lag_p99: l2.bus_lag_p99.map(to_wire),
        takeovers: counters.takeovers.get(),
        repaired: counters.repaired.get(),
    }
}

fn watches(observed: &Observed) -> pb::WatchStats {
    let watches = &observed.cache.coherence().watches;
    pb::WatchStats {
        watchers: watches.open() as u64,
        changes: watches.changes.get(),
        discontinuities: watches.discontinuities.get(),
    }
}

fn self_audit(observed: &Observed) -> pb::SelfAuditStats {
    let counters = observed.cache.self_audit();
    let staleness = counters.staleness.snapshot();
    let measured = |duration: Duration| (staleness.count > 0).then(|| to_wire(duration));
    pb::SelfAuditStats {
        sampled: counters.sampled.get(),
        dropped: counters.dropped.get(),
        checked: counters.checked.get(),
        gone: counters.gone.get(),
        failed: counters.failed.get(),
        violations: counters.violations.get(),
        staleness_p99: measured(staleness.quantile(0.99)),
        staleness_max: measured(staleness.max),
    }
}

fn leases(observed: &Observed) -> pb::LeaseStats {
    let counters = observed.cache.leases();
    pb::LeaseStats {
        granted: counters.granted.get(),
        granted_alone: counters.granted_alone.get(),
        filled: counters.filled.get(),
        voided: counters.voided.get(),
        released: counters.released.get(),
        waited: counters.waited.get(),
        served: counters.served.get(),
        waiting: counters.waiting.get(),
    }
}

fn redis(l2: L2Report) -> pb::RedisStats {
    let state = match l2.state {
        L2State::Disabled => pb::RedisState::Disabled,
        L2State::Healthy => pb::RedisState::Healthy,
        L2State::Degraded => pb::RedisState::Degraded,
        L2State::Unavailable => pb::RedisState::Unavailable,
    };
    pb::RedisStats {
        state: state.into(),
        reason: l2.reason,
        state_age: (l2.state != L2State::Disabled).then(|| to_wire(l2.state_age)),
        round_trip: l2.round_trip.map(to_wire),
        reconnects: l2.reconnects,
        commands: l2.commands,
        errors: l2.errors,
        undecodable: l2.undecodable,
        server_version: l2.server.version,
        used_memory: l2.server.used_memory,
        used_memory_peak: l2.server.used_memory_peak,
        maxmemory: l2.server.maxmemory,
        keys: l2.server.keys,
        evicted_keys: l2.server.evicted_keys,
        expired_keys: l2.server.expired_keys,
        commands_processed: l2.server.commands_processed,
        maxmemory_policy: l2.server.maxmemory_policy,
        warnings: l2.server.warnings.into_iter().collect(),
    }
}

fn latencies(observed: &Observed) -> Vec<pb::LatencyStats> {
    let all = observed.cache.latencies();
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
    rows.into_iter().filter_map(|(operation, tier, histogram)| latency(operation, tier, histogram)).collect()
}

fn latency(operation: &str, tier: pb::Tier, histogram: &Histogram) -> Option<pb::LatencyStats> {
    let snapshot = histogram.snapshot();
    let quantile = |q| Some(to_wire(snapshot.quantile(q)));
    let max: Duration = snapshot.max;
    (snapshot.count > 0).then(|| pb::LatencyStats {
        operation: operation.to_owned(),
        tier: tier.into(),
        count: snapshot.count,
        p50: quantile(0.5),
        p95: quantile(0.95),
        p99: quantile(0.99),
        p999: quantile(0.999),
        max: Some(to_wire(max)),
    })
}
