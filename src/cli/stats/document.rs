//! Stats as JSON: the contract's field names, durations in seconds, sizes in bytes.

use serde_json::{Value, json};

use crate::cli::units::{name, wire_seconds};
use crate::pb;

/// Formats the whole response.
pub(super) fn document(stats: &pb::StatsResponse) -> Value {
    json!({
        "replica": stats.replica.as_ref().map(replica),
        "namespaces": stats.namespaces.iter().map(namespace).collect::<Vec<_>>(),
        "l1": stats.l1.as_ref().map(l1),
        "coherence": stats.coherence.as_ref().map(coherence),
        "redis": stats.redis.as_ref().map(redis),
        "latencies": stats.latencies.iter().map(latency).collect::<Vec<_>>(),
        "self_audit": stats.self_audit.as_ref().map(self_audit),
        "leases": stats.leases.as_ref().map(leases),
        "watches": stats.watches.as_ref().map(watches),
        "warm_start": stats.warm_start.as_ref().map(warm_start),
        "fleet": stats.fleet.iter().map(fleet_replica).collect::<Vec<_>>(),
        "reset_time": stats.reset_time.map(|time| time.to_string()),
    })
}

fn replica(replica: &pb::ReplicaStats) -> Value {
    json!({
        "id": replica.id,
        "version": replica.version,
        "start_time": replica.start_time.map(|time| time.to_string()),
        "l1_only": replica.l1_only,
        "cache_enabled": replica.cache_enabled,
        "in_flight": replica.in_flight,
        "connections": replica.connections,
        "shed": replica.shed,
        "state": replica.state,
    })
}

fn namespace(namespace: &pb::NamespaceStats) -> Value {
    json!({
        "namespace": namespace.namespace,
        "l1_hits": namespace.l1_hits,
        "l2_hits": namespace.l2_hits,
        "stale_hits": namespace.stale_hits,
        "negative_hits": namespace.negative_hits,
        "misses": namespace.misses,
        "degraded": namespace.degraded,
        "coalesced": namespace.coalesced,
        "sets_stored": namespace.sets_stored,
        "sets_condition_failed": namespace.sets_condition_failed,
        "write_errors": namespace.write_errors,
        "invalidations": namespace.invalidations,
        "entries": namespace.entries,
        "bytes": namespace.bytes,
        "sets_void": namespace.sets_void,
        "touches": namespace.touches,
        "throttled": namespace.throttled,
        "over_quota": namespace.over_quota,
        "redis_keys": namespace.redis_keys,
        "redis_bytes": namespace.redis_bytes,
    })
}

fn l1(l1: &pb::L1Stats) -> Value {
    json!({
        "entries": l1.entries,
        "bytes": l1.bytes,
        "max_bytes": l1.max_bytes,
        "evicted_size": l1.evicted_size,
        "evicted_expired": l1.evicted_expired,
        "removed": l1.removed,
        "replaced": l1.replaced,
        "rejected": l1.rejected,
    })
}

fn coherence(coherence: &pb::CoherenceStats) -> Value {
    json!({
        "max_staleness_seconds": wire_seconds(coherence.max_staleness),
        "partitions": coherence.partitions,
        "partitions_proven": coherence.partitions_proven,
        "audit_age_seconds": wire_seconds(coherence.audit_age),
        "messages_applied": coherence.messages_applied,
        "messages_own": coherence.messages_own,
        "gaps": coherence.gaps,
        "undecodable": coherence.undecodable,
        "lagged": coherence.lagged,
        "bumps": coherence.bumps,
        "audits_sent": coherence.audits_sent,
        "audits_echoed": coherence.audits_echoed,
        "audits_failed": coherence.audits_failed,
        "disconnects": coherence.disconnects,
        "fills_fenced": coherence.fills_fenced,
        "lag_p99_seconds": wire_seconds(coherence.lag_p99),
        "takeovers": coherence.takeovers,
        "repaired": coherence.repaired,
    })
}

fn self_audit(audit: &pb::SelfAuditStats) -> Value {
    json!({
        "sampled": audit.sampled,
        "dropped": audit.dropped,
        "checked": audit.checked,
        "gone": audit.gone,
        "failed": audit.failed,
        "violations": audit.violations,
        "staleness_p99_seconds": wire_seconds(audit.staleness_p99),
        "staleness_max_seconds": wire_seconds(audit.staleness_max),
    })
}

fn leases(leases: &pb::LeaseStats) -> Value {
    json!({
        "granted": leases.granted,
        "granted_alone": leases.granted_alone,
        "filled": leases.filled,
        "voided": leases.voided,
        "released": leases.released,
        "waited": leases.waited,
        "served": leases.served,
        "waiting": leases.waiting,
    })
}

fn watches(watches: &pb::WatchStats) -> Value {
    json!({
        "watchers": watches.watchers,
        "changes": watches.changes,
        "discontinuities": watches.discontinuities,
    })
}

fn warm_start(warm_start: &pb::WarmStartStats) -> Value {
    json!({
        "listed": warm_start.listed,
        "loaded": warm_start.loaded,
        "duration_seconds": wire_seconds(warm_start.duration),
        "timed_out": warm_start.timed_out,
    })
}

fn fleet_replica(replica: &pb::FleetReplica) -> Value {
    json!({
        "id": replica.id,
        "version": replica.version,
        "start_time": replica.start_time.map(|time| time.to_string()),
        "age_seconds": wire_seconds(replica.age),
        "audit_age_seconds": wire_seconds(replica.audit_age),
    })
}

fn redis(redis: &pb::RedisStats) -> Value {
    json!({
        "state": name(redis.state().as_str_name(), "REDIS_STATE_"),
        "reason": redis.reason,
        "state_age_seconds": wire_seconds(redis.state_age),
        "round_trip_seconds": wire_seconds(redis.round_trip),
        "reconnects": redis.reconnects,
        "commands": redis.commands,
        "errors": redis.errors,
        "undecodable": redis.undecodable,
        "server_version": redis.server_version,
        "used_memory": redis.used_memory,
        "used_memory_peak": redis.used_memory_peak,
        "maxmemory": redis.maxmemory,
        "keys": redis.keys,
        "evicted_keys": redis.evicted_keys,
        "expired_keys": redis.expired_keys,
        "commands_processed": redis.commands_processed,
        "maxmemory_policy": redis.maxmemory_policy,
        "warnings": redis.warnings,
        "foreign_messages": redis.foreign_messages,
        "namespace_sample_age_seconds": wire_seconds(redis.namespace_sample_age),
        "namespace_sample_keys": redis.namespace_sample_keys,
    })
}

fn latency(latency: &pb::LatencyStats) -> Value {
    json!({
        "operation": latency.operation,
        "tier": match latency.tier() {
            pb::Tier::Unspecified => Value::Null,
            tier => name(tier.as_str_name(), "TIER_").into(),
        },
        "count": latency.count,
        "p50_seconds": wire_seconds(latency.p50),
        "p95_seconds": wire_seconds(latency.p95),
        "p99_seconds": wire_seconds(latency.p99),
        "p999_seconds": wire_seconds(latency.p999),
        "max_seconds": wire_seconds(latency.max),
    })
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_field_of_the_contract_is_in_the_document() {
        let stats = pb::StatsResponse {
            replica: Some(pb::ReplicaStats::default()),
            namespaces: vec![pb::NamespaceStats::default()],
            l1: Some(pb::L1Stats::default()),
            coherence: Some(pb::CoherenceStats::default()),
            redis: Some(pb::RedisStats::default()),
            latencies: vec![pb::LatencyStats::default()],
            self_audit: Some(pb::SelfAuditStats::default()),
            leases: Some(pb::LeaseStats::default()),
            watches: Some(pb::WatchStats::default()),
            warm_start: Some(pb::WarmStartStats::default()),
            fleet: vec![pb::FleetReplica::default()],
            reset_time: None,
        };
        let document = document(&stats);
        let parts = [
            ("StatsResponse", &document),
            ("ReplicaStats", &document["replica"]),
            ("NamespaceStats", &document["namespaces"][0]),
            ("L1Stats", &document["l1"]),
            ("CoherenceStats", &document["coherence"]),
            ("RedisStats", &document["redis"]),
            ("LatencyStats", &document["latencies"][0]),
            ("SelfAuditStats", &document["self_audit"]),
            ("LeaseStats", &document["leases"]),
            ("WatchStats", &document["watches"]),
            ("WarmStartStats", &document["warm_start"]),
            ("FleetReplica", &document["fleet"][0]),
        ];
        for (message, part) in parts {
            for field in fields(message) {
                let seconds = format!("{field}_seconds");
                assert!(part.get(&field).is_some() || part.get(&seconds).is_some(), "{message}.{field}");
            }
        }
    }

    fn fields(message: &str) -> Vec<String> {
        let set = FileDescriptorSet::decode(pb::FILE_DESCRIPTOR_SET).expect("a descriptor set");
        let messages = set.file.iter().flat_map(|file| &file.message_type);
        let found = messages.into_iter().find(|found| found.name() == message).expect("a message of the contract");
        found.field.iter().map(|field| field.name().to_owned()).collect()
    }
}
