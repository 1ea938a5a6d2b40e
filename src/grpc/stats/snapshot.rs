//! Every counter of this replica and the state of its tiers at one instant, as a Stats response.

use std::time::SystemTime;

use super::counts::Additive;
use crate::cache::clock::Moment;
use crate::cache::fleet::replica::ReplicaHandles;
use crate::cache::fleet::warm_start::Warmed;
use crate::cache::namespace::Namespace;
use crate::cache::stats::Snapshot;
use crate::cache::tier::{L2Report, L2State, ServerReport};
use crate::grpc::convert::{timestamp, to_wire};
use crate::pb;

/// All counters and the state of the tiers at one instant.
pub struct StatsSnapshot {
    pub(super) at: SystemTime,
    pub(super) stats: pb::StatsResponse,
    pub(super) latencies: Vec<(&'static str, pb::Tier, Snapshot)>,
    pub(super) staleness: Snapshot,
    pub(super) lag: Snapshot,
}

impl StatsSnapshot {
    pub(super) fn now(observed: &ReplicaHandles) -> StatsSnapshot {
        let l2 = observed.l2.report();
        let lag = l2.bus_lag.clone();
        let mut stats = pb::StatsResponse {
            leases: Some(leases(observed)),
            watches: Some(watches(observed)),
            warm_start: observed.warm_start.as_ref().and_then(|warm| warm.outcome()).map(warm_start),
            fleet: Vec::new(),
            reset_time: None,
            replica: Some(replica(observed, &l2)),
            namespaces: namespaces(observed, &l2),
            l1: Some(l1(observed)),
            coherence: Some(coherence(observed)),
            redis: Some(redis(l2, observed.clock.now())),
            latencies: Vec::new(),
            self_audit: Some(self_audit(observed)),
        };
        stats.namespaces.sort_by(|one, other| one.namespace.cmp(&other.namespace));
        let staleness = observed.cache.self_audit().staleness.snapshot();
        StatsSnapshot { at: SystemTime::now(), stats, latencies: latencies(observed), staleness, lag }
    }

    /// Subtracts the counters of `baseline`.
    pub(super) fn subtract(&mut self, baseline: &StatsSnapshot) {
        let (now, before) = (&mut self.stats, &baseline.stats);
        now.namespaces.subtract(&before.namespaces);
        now.l1.subtract(&before.l1);
        now.coherence.subtract(&before.coherence);
        now.self_audit.subtract(&before.self_audit);
        now.leases.subtract(&before.leases);
        now.watches.subtract(&before.watches);
        now.replica.subtract(&before.replica);
        now.redis.subtract(&before.redis);
        now.reset_time = Some(timestamp(baseline.at));
        for ((_, _, now), (_, _, before)) in self.latencies.iter_mut().zip(&baseline.latencies) {
            *now = now.since(before);
        }
        self.staleness = self.staleness.since(&baseline.staleness);
        self.lag = self.lag.since(&baseline.lag);
    }

    /// Returns the report, for one namespace or for all.
    pub(super) fn render(self, namespace: &str) -> pb::StatsResponse {
        let StatsSnapshot { mut stats, latencies, staleness, lag, .. } = self;
        stats.namespaces.retain(|stats| was_used(stats) && (namespace.is_empty() || stats.namespace == namespace));
        if let Some(coherence) = &mut stats.coherence {
            coherence.lag_p99 = (lag.count > 0).then(|| to_wire(lag.quantile(0.99)));
        }
        if let Some(audit) = stats.self_audit.as_mut().filter(|_| staleness.count > 0) {
            audit.staleness_p99 = Some(to_wire(staleness.quantile(0.99)));
            audit.staleness_max = Some(to_wire(staleness.max));
        }
        let rows = latencies.iter().filter_map(|(operation, tier, snapshot)| latency(operation, *tier, snapshot));
        stats.latencies = rows.collect();
        stats
    }
}

fn replica(observed: &ReplicaHandles, l2: &L2Report) -> pb::ReplicaStats {
    pb::ReplicaStats {
        id: observed.replica.id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        start_time: Some(timestamp(observed.replica.started)),
        l1_only: l2.state == L2State::Disabled,
        cache_enabled: observed.cache.switches().enabled,
        in_flight: observed.admission.in_flight() as u64,
        connections: observed.admission.connections() as u64,
        shed: observed.admission.shed(),
        state: observed.health.borrow().word().to_owned(),
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

/// Returns the namespaces that this replica knows, and those that only Redis has keys of.
fn namespaces(observed: &ReplicaHandles, l2: &L2Report) -> Vec<pb::NamespaceStats> {
    let all = observed.namespaces.all();
    let mut stats: Vec<_> = all.iter().map(|namespace| namespace_stats(namespace)).collect();
    let Some(sample) = l2.sampled() else { return stats };
    for namespace in &mut stats {
        let usage = sample.usage(&namespace.namespace);
        (namespace.redis_keys, namespace.redis_bytes) = (Some(usage.keys), usage.bytes);
    }
    let unknown = sample.namespaces.iter().filter(|(name, _)| observed.namespaces.find(name).is_none());
    stats.extend(unknown.map(|(name, usage)| pb::NamespaceStats {
        namespace: name.clone(),
        redis_keys: Some(usage.keys),
        redis_bytes: usage.bytes,
        ..Default::default()
    }));
    stats
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
        stale_hits: counters.stale_hits(),
        negative_hits: counters.negative_hits.get(),
        misses: counters.misses.get(),
        degraded: counters.degraded.get(),
        coalesced: counters.coalesced.get(),
        sets_stored: counters.sets_stored.get(),
        sets_condition_failed: counters.sets_condition_failed.get() + counters.sets_void.get(),
        write_errors: counters.write_errors(),
        invalidations: counters.invalidations.get(),
        entries: counters.entries.get(),
        bytes: counters.bytes.get(),
        redis_keys: None,
        redis_bytes: None,
    }
}

pub(super) fn was_used(stats: &pb::NamespaceStats) -> bool {
    let (redis_keys, redis_bytes) = (stats.redis_keys, stats.redis_bytes);
    let unused =
        pb::NamespaceStats { namespace: stats.namespace.clone(), redis_keys, redis_bytes, ..Default::default() };
    *stats != unused || redis_keys.is_some_and(|keys| keys > 0)
}

fn l1(observed: &ReplicaHandles) -> pb::L1Stats {
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

fn coherence(observed: &ReplicaHandles) -> pb::CoherenceStats {
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
        lag_p99: None,
        takeovers: counters.failovers.get(),
        repaired: counters.repaired.get(),
    }
}

fn watches(observed: &ReplicaHandles) -> pb::WatchStats {
    let watches = &observed.cache.coherence().watches;
    pb::WatchStats {
        watchers: watches.open() as u64,
        changes: watches.changes.get(),
        discontinuities: watches.discontinuities.get(),
    }
}

fn self_audit(observed: &ReplicaHandles) -> pb::SelfAuditStats {
    let counters = observed.cache.self_audit();
    pb::SelfAuditStats {
        sampled: counters.sampled.get(),
        dropped: counters.dropped.get(),
        checked: counters.checked.get(),
        gone: counters.gone.get(),
        failed: counters.failed.get(),
        violations: counters.violations.get(),
        staleness_p99: None,
        staleness_max: None,
    }
}

fn leases(observed: &ReplicaHandles) -> pb::LeaseStats {
    let counters = observed.cache.leases();
    pb::LeaseStats {
        granted: counters.granted.get() + counters.granted_alone.get(),
        granted_alone: counters.granted_alone.get(),
        filled: counters.filled.get(),
        voided: counters.voided.get(),
        released: counters.released.get(),
        waited: counters.served.get() + counters.left.get(),
        served: counters.served.get(),
        waiting: counters.waiting.get(),
    }
}

fn redis(mut l2: L2Report, now: Moment) -> pb::RedisStats {
    if !l2.can_be_asked() {
        // The last values of a server that does not answer are outdated.
        let ServerReport { version, maxmemory_policy, warnings, .. } = l2.server;
        l2.server = ServerReport { version, maxmemory_policy, warnings, ..ServerReport::default() };
        l2.round_trip = None;
    }
    let sample = l2.sampled().map(|sample| (to_wire(now.since(sample.taken)), sample.sampled)).unzip();
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
        foreign_messages: l2.foreign_messages,
        namespace_sample_age: sample.0,
        namespace_sample_keys: sample.1,
    }
}

fn latencies(observed: &ReplicaHandles) -> Vec<(&'static str, pb::Tier, Snapshot)> {
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
    rows.map(|(operation, tier, histogram)| (operation, tier, histogram.snapshot())).into()
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
