//! Tables of a stats page: a row per namespace, a row per operation and tier.

use std::time::Duration;

use crate::cli::table;
use crate::cli::units::{self, count, ratio, size, wire_duration};
use crate::pb;

/// Earlier response, and the time since then.
pub(super) struct Since<'a> {
    pub stats: &'a pb::StatsResponse,
    pub interval: Duration,
}

/// Formats a row per namespace, with rates if there is an earlier response.
pub(super) fn namespaces(namespaces: &[pb::NamespaceStats], since: Option<&Since<'_>>) -> String {
    if namespaces.is_empty() {
        return "No namespace was used yet.\n".to_owned();
    }
    let mut header = vec!["NAMESPACE", "GETS", "HITS", "L1", "L2", "STALE", "NEG", "MISS", "DEGR", "COAL"];
    header.extend(["SETS", "COND", "INVAL", "ERR", "ENTRIES", "SIZE"]);
    // Only where it is known: an estimate, whose date is above on the page.
    let in_redis = namespaces.iter().any(|namespace| namespace.redis_keys.is_some());
    if in_redis {
        header.extend(["REDIS KEYS", "REDIS SIZE"]);
    }
    if since.is_some() {
        header.splice(1..1, ["GET/S", "HITS NOW", "SET/S", "INVAL/S"]);
    }
    let rows: Vec<_> = namespaces.iter().map(|namespace| namespace_row(namespace, since, in_redis)).collect();
    table::aligned(&header, &rows)
}

fn namespace_row(namespace: &pb::NamespaceStats, since: Option<&Since<'_>>, in_redis: bool) -> Vec<String> {
    let mut row = vec![namespace.namespace.clone()];
    row.extend(since.into_iter().flat_map(|since| rates(namespace, since)));
    row.extend([count(gets(namespace)), ratio(hits(namespace), gets(namespace))]);
    let counts = [
        namespace.l1_hits,
        namespace.l2_hits,
        namespace.stale_hits,
        namespace.negative_hits,
        namespace.misses,
        namespace.degraded,
        namespace.coalesced,
        namespace.sets_stored,
        namespace.sets_condition_failed,
        namespace.invalidations,
        namespace.write_errors,
        namespace.entries,
    ];
    row.extend(counts.map(count));
    row.push(size(namespace.bytes));
    if in_redis {
        let unknown = || "-".to_owned();
        row.push(namespace.redis_keys.map_or_else(unknown, count));
        row.push(namespace.redis_bytes.map_or_else(unknown, size));
    }
    row
}

/// Gets, hit ratio, Sets and Invalidates since the earlier response; zero before, for a namespace
/// that is not in it.
fn rates(namespace: &pb::NamespaceStats, since: &Since<'_>) -> [String; 4] {
    let found = since.stats.namespaces.iter().find(|earlier| earlier.namespace == namespace.namespace);
    let delta = |counter: fn(&pb::NamespaceStats) -> u64| counter(namespace).saturating_sub(found.map_or(0, counter));
    [
        units::rate(delta(gets), since.interval),
        ratio(delta(hits), delta(gets)),
        units::rate(delta(|namespace| namespace.sets_stored), since.interval),
        units::rate(delta(|namespace| namespace.invalidations), since.interval),
    ]
}

fn gets(namespace: &pb::NamespaceStats) -> u64 {
    hits(namespace).saturating_add(namespace.misses)
}

fn hits(namespace: &pb::NamespaceStats) -> u64 {
    [namespace.l2_hits, namespace.stale_hits].into_iter().fold(namespace.l1_hits, u64::saturating_add)
}

/// Formats a row per operation and tier.
pub(super) fn latencies(latencies: &[pb::LatencyStats]) -> String {
    let rows: Vec<_> = latencies.iter().map(latency_row).collect();
    table::aligned(&["LATENCY", "TIER", "COUNT", "P50", "P95", "P99", "P99.9", "MAX"], &rows)
}

fn latency_row(latency: &pb::LatencyStats) -> Vec<String> {
    let tier = match latency.tier() {
        pb::Tier::Unspecified => "-",
        pb::Tier::L1 => "L1",
        pb::Tier::L2 => "L2",
    };
    let mut row = vec![latency.operation.clone(), tier.to_owned(), count(latency.count)];
    row.extend([latency.p50, latency.p95, latency.p99, latency.p999, latency.max].map(wire_duration));
    row
}
