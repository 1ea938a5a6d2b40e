//! JSON of the dashboard's events.
//!
//! All rates are computed here, over the samples of a diagnosis. Durations are in the unit of the
//! name.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::diagnosis::{Finding, Level};
use super::history::{History, micros};
use super::sample::{Gets, NamespaceSample, Sample};
use crate::cache::tier::L2State;

/// Input of an event.
pub struct SnapshotInput<'a> {
    pub before: &'a Sample,
    pub now: &'a Sample,
    pub history: &'a History,
    pub fleet: Value,
    pub findings: &'a [Finding],
    pub hot: &'a [Hot],
}

/// A hot key as it is shown.
pub struct Hot {
    pub shown: String,
    pub namespace: String,
    pub rate: f64,
}

/// Formats the state of this replica, and the latest point of its history.
pub fn tick(told: &SnapshotInput<'_>) -> Value {
    let SnapshotInput { before, now, .. } = *told;
    let seconds = now.seconds_since(before).max(0.001);
    let rate = |now: u64, before: u64| rounded(now.saturating_sub(before) as f64 / seconds);
    let gets = now.latencies.since(&before.latencies).gets();
    json!({
        "point": told.history.latest(),
        "findings": told.findings.iter().map(finding).collect::<Vec<_>>(),
        "ready": now.health.is_ready(),
        "gets": rates(now.gets().since(before.gets()), seconds),
        "sets": rate(now.sum(|n| n.sets), before.sum(|n| n.sets)),
        "invalidations": rate(now.sum(|n| n.invalidations), before.sum(|n| n.invalidations)),
        "latency": { "p50": micros(&gets, 0.5), "p99": micros(&gets, 0.99) },
        "load": {
            "in_flight": now.load.in_flight, "limit": now.load.limit, "connections": now.load.connections,
            "watchers": now.watchers, "shed": now.load.shed,
        },
        "l1": {
            "entries": now.l1.entries, "bytes": now.l1.bytes, "limit": now.l1.max_bytes,
            "evicted": rate(now.l1.evicted_size, before.l1.evicted_size), "rejected": now.l1.rejected,
        },
        "audit": { "checked": now.audit.checked, "violations": now.audit.violations },
        "coherence": coherence(before, now),
        "leases": leases(before, now, seconds),
        "redis": redis(before, now, seconds),
        "namespaces": namespaces(told, seconds),
        "namespaces_known": now.namespaces.len(),
        "fleet": told.fleet,
        "hot": told.hot.iter().map(hot_key).collect::<Vec<_>>(),
    })
}

/// Name of the state of Redis.
pub fn state_name(state: L2State) -> &'static str {
    match state {
        L2State::Disabled => "disabled",
        L2State::Healthy => "healthy",
        L2State::Degraded => "degraded",
        L2State::Unavailable => "unavailable",
    }
}

/// Milliseconds since 1970, as in JavaScript.
pub fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

fn finding(finding: &Finding) -> Value {
    let level = match finding.level {
        Level::Notice => "notice",
        Level::Warning => "warning",
        Level::Critical => "critical",
    };
    json!({
        "level": level, "kind": finding.kind, "title": finding.title, "meaning": finding.meaning,
        "evidence": finding.evidence, "action": finding.action, "runbook": finding.runbook,
        "runbook_url": finding.runbook_url(),
    })
}

fn rates(gets: Gets, seconds: f64) -> Value {
    let rate = |count: u64| rounded(count as f64 / seconds);
    json!({ "l1": rate(gets.l1), "l2": rate(gets.l2), "stale": rate(gets.stale), "miss": rate(gets.miss) })
}

fn coherence(before: &Sample, now: &Sample) -> Value {
    let coherence = &now.coherence;
    let lag = now.l2.bus_lag.since(&before.l2.bus_lag);
    json!({
        "bound": coherence.max_staleness.as_secs_f64(), "proof_age": coherence.proof_age.map(seconds),
        "partitions": coherence.partitions, "proven": coherence.proven,
        "applied": coherence.applied, "own": coherence.own, "gaps": coherence.gaps, "undecodable": coherence.undecodable,
        "overruns": coherence.overruns, "bumps": coherence.bumps, "disconnects": coherence.disconnects,
        "fenced": coherence.fenced, "failovers": coherence.failovers, "repaired": coherence.repaired,
        "lag_p99": micros(&lag, 0.99),
    })
}

fn leases(before: &Sample, now: &Sample, seconds: f64) -> Value {
    let leases = now.leases;
    let rate = |now: u64, before: u64| rounded(now.saturating_sub(before) as f64 / seconds);
    let coalesced = rate(now.sum(|n| n.coalesced), before.sum(|n| n.coalesced));
    json!({
        "coalesced": coalesced, "waited": rate(leases.waited, before.leases.waited), "waiting": leases.waiting,
        "granted": leases.granted, "granted_alone": leases.granted_alone, "filled": leases.filled,
        "voided": leases.voided, "released": leases.released, "served": leases.served,
    })
}

fn redis(before: &Sample, now: &Sample, seconds: f64) -> Value {
    let (l2, server) = (&now.l2, &now.l2.server);
    // Its last answer is not about the present.
    let said = |number: u64| l2.can_be_asked().then_some(number);
    let sample = l2.sampled();
    let rate = |now: u64, before: u64| rounded(now.saturating_sub(before) as f64 / seconds);
    json!({
        "state": state_name(l2.state), "reason": l2.reason, "state_age": l2.state_age.as_secs(),
        "round_trip": l2.round_trip.map(|trip| (trip.as_secs_f64() * 1e7).round() / 10.0),
        "p99": micros(&now.latencies.redis.since(&before.latencies.redis), 0.99),
        "reconnects": l2.reconnects, "errors": l2.errors, "errors_rate": rate(l2.errors, before.l2.errors),
        "commands": rate(l2.commands, before.l2.commands), "undecodable": l2.undecodable,
        "version": server.version, "memory": said(server.used_memory), "peak": said(server.used_memory_peak), "limit": said(server.maxmemory),
        "policy": server.maxmemory_policy, "keys": said(server.keys), "evicted": server.evicted_keys, "warnings": server.warnings,
        "foreign": l2.foreign_messages, "sample_age": sample.map(|sample| self::seconds(now.at.since(sample.taken))),
        "sample_keys": sample.map(|sample| sample.sampled),
    })
}

/// The busiest namespaces, and the sum of all others.
fn namespaces(told: &SnapshotInput<'_>, seconds: f64) -> Value {
    let since = |now: &NamespaceSample| now.since(told.before.namespace(&now.name));
    let busiest = told.history.busiest();
    // A namespace that only Redis knows is not in the sample while Redis does not answer.
    let present = busiest.iter().map(|name| told.now.namespace(name)).filter(|namespace| !namespace.name.is_empty());
    let mut rows: Vec<_> = present.map(since).collect();
    let others = told.now.namespaces.iter().filter(|namespace| !busiest.contains(&namespace.name));
    rows.extend(others.map(since).reduce(sum));
    json!(rows.iter().map(|row| namespace(row, seconds)).collect::<Vec<_>>())
}

/// Without a name: the sum of several.
fn sum(one: NamespaceSample, other: NamespaceSample) -> NamespaceSample {
    NamespaceSample {
        name: String::new(),
        gets: one.gets.plus(other.gets),
        coalesced: one.coalesced + other.coalesced,
        degraded: one.degraded + other.degraded,
        sets: one.sets + other.sets,
        write_errors: one.write_errors + other.write_errors,
        invalidations: one.invalidations + other.invalidations,
        evicted: one.evicted + other.evicted,
        throttled: one.throttled + other.throttled,
        over_quota: one.over_quota + other.over_quota,
        entries: one.entries + other.entries,
        bytes: one.bytes + other.bytes,
        redis_keys: sum_of_known(one.redis_keys, other.redis_keys),
        redis_bytes: sum_of_known(one.redis_bytes, other.redis_bytes),
    }
}

fn sum_of_known(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).reduce(u64::saturating_add)
}

fn namespace(row: &NamespaceSample, seconds: f64) -> Value {
    let rate = |count: u64| rounded(count as f64 / seconds);
    json!({
        "name": row.name, "gets": rates(row.gets, seconds), "sets": rate(row.sets),
        "invalidations": rate(row.invalidations), "coalesced": rate(row.coalesced), "degraded": rate(row.degraded),
        "evicted": rate(row.evicted), "errors": rate(row.write_errors), "throttled": rate(row.throttled), "over_quota": rate(row.over_quota),
        "entries": row.entries, "bytes": row.bytes,
        "redis_keys": row.redis_keys, "redis_bytes": row.redis_bytes,
    })
}

fn hot_key(hot: &Hot) -> Value {
    json!({ "key": hot.shown, "namespace": hot.namespace, "rate": rounded(hot.rate) })
}

/// Rounds seconds to the millisecond.
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Rounds a rate to two decimals.
pub fn rounded(rate: f64) -> f64 {
    (rate * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::stats::keyspace::{KeyspaceSample, NamespaceUsage};

    fn holding(redis_keys: Option<u64>, redis_bytes: Option<u64>) -> NamespaceSample {
        NamespaceSample { redis_keys, redis_bytes, ..NamespaceSample::default() }
    }

    #[test]
    fn what_namespaces_hold_in_redis_is_summed_as_far_as_it_is_known() {
        let row = |sample: &NamespaceSample| {
            let row = namespace(sample, 1.0);
            (row["redis_keys"].clone(), row["redis_bytes"].clone())
        };
        assert_eq!(row(&sum(holding(Some(3), Some(300)), holding(Some(4), None))), (json!(7), json!(300)));
        assert_eq!(row(&sum(holding(None, None), holding(None, None))), (Value::Null, Value::Null));
    }

    #[test]
    fn the_age_of_a_sample_is_absent_while_redis_cannot_be_asked() {
        let mut now = Sample::quiet(100);
        let namespaces = [("n".to_owned(), NamespaceUsage { keys: 1, bytes: Some(9) })].into();
        let sample = KeyspaceSample { taken: now.at.minus(Duration::from_secs(7)), sampled: 5, namespaces };
        now.l2.keyspace = Some(Arc::new(sample));
        let before = Sample::quiet(99);
        let part = redis(&before, &now, 1.0);
        assert_eq!((&part["sample_age"], &part["sample_keys"], &part["foreign"]), (&json!(7.0), &json!(5), &json!(0)));
        now.l2.state = L2State::Unavailable;
        let part = redis(&before, &now, 1.0);
        assert_eq!((&part["sample_age"], &part["sample_keys"]), (&Value::Null, &Value::Null));
    }
}
