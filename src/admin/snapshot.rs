//! JSON of the dashboard's events.
//!
//! All rates are computed here, over the reports of a diagnosis. Durations are in the unit of the
//! name. Counters have the names of the core.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::diagnosis::{Finding, Level};
use super::history::{History, micros};
use crate::cache::fleet::report::{NamespaceReport, ReplicaReport};
use crate::cache::stats::keyspace::NamespaceUsage;
use crate::cache::stats::{Gets, Number};
use crate::cache::tier::L2State;

/// Input of an event.
pub struct SnapshotInput<'a> {
    /// Report of now.
    pub now: &'a ReplicaReport,
    /// Report of the last seconds, and their number.
    pub lately: &'a ReplicaReport,
    pub seconds: f64,
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
    let SnapshotInput { now, lately, seconds, .. } = *told;
    let (total, gets) = (lately.total(), lately.latencies.gets());
    json!({
        "point": told.history.latest(),
        "findings": told.findings.iter().map(finding).collect::<Vec<_>>(),
        "ready": now.health.is_ready(),
        "gets": rates(total.gets(), seconds),
        "total": recent(total.numbers(), seconds),
        "latency": { "p50": micros(&gets, 0.5), "p99": micros(&gets, 0.99) },
        "load": {
            "in_flight": now.load.in_flight, "limit": now.load.limit, "connections": now.load.connections,
            "watchers": now.watches.watchers, "shed": now.load.shed,
        },
        "l1": { "entries": now.l1.entries, "bytes": now.l1.bytes, "limit": now.l1.max_bytes },
        "audit": totals(now.self_audit.numbers()),
        "coherence": coherence(now, lately),
        "leases": leases(now, lately, seconds),
        "redis": redis(now, lately, seconds),
        "namespaces": namespaces(told),
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

/// Formats counts since the start.
fn totals(numbers: impl Iterator<Item = (&'static str, Number)>) -> Map<String, Value> {
    let shown = |number| match number {
        Number::Count(number) | Number::Gauge(number) => number.into(),
    };
    numbers.map(|(name, number)| (name.to_owned(), shown(number))).collect()
}

/// Formats recent counts as rates, and gauges as they are.
fn recent(numbers: impl Iterator<Item = (&'static str, Number)>, seconds: f64) -> Map<String, Value> {
    let shown = |number| match number {
        Number::Count(count) => rounded(count as f64 / seconds).into(),
        Number::Gauge(gauge) => gauge.into(),
    };
    numbers.map(|(name, number)| (name.to_owned(), shown(number))).collect()
}

/// Puts the fields of `more` into `object`, over those of the same name.
fn with(mut object: Map<String, Value>, more: Value) -> Value {
    if let Value::Object(more) = more {
        object.extend(more);
    }
    Value::Object(object)
}

fn coherence(now: &ReplicaReport, lately: &ReplicaReport) -> Value {
    let coherence = &now.coherence;
    let more = json!({
        "bound": coherence.max_staleness.as_secs_f64(), "proof_age": coherence.proof_age.map(seconds),
        "partitions": coherence.partitions, "proven": coherence.proven,
        "lag_p99": micros(&lately.l2.bus_lag, 0.99),
    });
    with(totals(coherence.counts.numbers()), more)
}

fn leases(now: &ReplicaReport, lately: &ReplicaReport, seconds: f64) -> Value {
    let more = json!({ "waited": rounded(lately.leases.waited() as f64 / seconds) });
    with(totals(now.leases.numbers()), more)
}

fn redis(now: &ReplicaReport, lately: &ReplicaReport, seconds: f64) -> Value {
    let (l2, server) = (&now.l2, &now.l2.server);
    // Its last answer is not about the present.
    let said = |number: u64| l2.can_be_asked().then_some(number);
    let sample = l2.sampled();
    let rate = |count: u64| rounded(count as f64 / seconds);
    json!({
        "state": state_name(l2.state), "reason": l2.reason, "state_age": l2.state_age.as_secs(),
        "round_trip": l2.round_trip.map(|trip| (trip.as_secs_f64() * 1e7).round() / 10.0),
        "p99": micros(&lately.latencies.l2(), 0.99),
        "reconnects": l2.reconnects, "errors": l2.errors, "errors_rate": rate(lately.l2.errors),
        "commands": rate(lately.l2.commands), "undecodable": l2.undecodable,
        "version": server.version, "memory": said(server.used_memory), "peak": said(server.used_memory_peak), "limit": said(server.maxmemory),
        "policy": server.maxmemory_policy, "keys": said(server.keys), "evicted": server.evicted_keys, "warnings": server.warnings,
        "foreign": l2.foreign_messages, "sample_age": sample.map(|sample| self::seconds(now.at.since(sample.taken))),
        "sample_keys": sample.map(|sample| sample.sampled),
    })
}

/// The busiest namespaces, and the sum of all others.
fn namespaces(told: &SnapshotInput<'_>) -> Value {
    let busiest = told.history.busiest();
    // A namespace that only Redis knows is not in the report while Redis does not answer.
    let mut rows: Vec<_> = busiest.iter().filter_map(|name| told.lately.namespace(name)).cloned().collect();
    let others = told.lately.namespaces.iter().filter(|namespace| !busiest.contains(&namespace.name));
    rows.extend(others.cloned().reduce(|one, other| sum(&one, &other)));
    json!(rows.iter().map(|row| namespace(row, told.seconds)).collect::<Vec<_>>())
}

/// Without a name: the sum of several.
fn sum(one: &NamespaceReport, other: &NamespaceReport) -> NamespaceReport {
    let known = |part: fn(NamespaceUsage) -> Option<u64>| {
        [one.in_l2, other.in_l2].into_iter().filter_map(|usage| part(usage?)).reduce(u64::saturating_add)
    };
    let (keys, bytes) = (known(|usage| Some(usage.keys)), known(|usage| usage.bytes));
    NamespaceReport {
        counts: one.counts.plus(&other.counts),
        in_l2: keys.map(|keys| NamespaceUsage { keys, bytes }),
        ..NamespaceReport::default()
    }
}

fn namespace(row: &NamespaceReport, seconds: f64) -> Value {
    let more = json!({
        "name": row.name, "gets": rates(row.counts.gets(), seconds),
        "write_errors": rounded(row.counts.write_errors() as f64 / seconds),
        "redis_keys": row.in_l2.map(|usage| usage.keys), "redis_bytes": row.in_l2.and_then(|usage| usage.bytes),
    });
    with(recent(row.counts.numbers(), seconds), more)
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
    use crate::cache::stats::NamespaceCounts;
    use crate::cache::stats::keyspace::KeyspaceSample;

    #[test]
    fn what_namespaces_hold_in_redis_is_summed_as_far_as_it_is_known() {
        let row = |[one, other]: [Option<NamespaceUsage>; 2]| {
            let [one, other] = [one, other].map(|in_l2| NamespaceReport { in_l2, ..NamespaceReport::default() });
            let row = namespace(&sum(&one, &other), 1.0);
            (row["redis_keys"].clone(), row["redis_bytes"].clone())
        };
        let usage = |keys, bytes| Some(NamespaceUsage { keys, bytes });
        assert_eq!(row([usage(3, Some(300)), usage(4, None)]), (json!(7), json!(300)));
        assert_eq!(row([None, None]), (Value::Null, Value::Null));
    }

    #[test]
    fn a_row_has_the_rate_of_every_counter_and_gauges_as_they_are() {
        let counts = NamespaceCounts { over_quota: 30, entries: 7, set_errors: 5, ..NamespaceCounts::default() };
        let row = namespace(&NamespaceReport { counts, ..NamespaceReport::default() }, 10.0);
        assert_eq!((&row["over_quota"], &row["entries"], &row["write_errors"]), (&json!(3.0), &json!(7), &json!(0.5)));
    }

    #[test]
    fn the_age_of_a_sample_is_absent_while_redis_cannot_be_asked() {
        let mut now = ReplicaReport::quiet(100);
        let namespaces = [("n".to_owned(), NamespaceUsage { keys: 1, bytes: Some(9) })].into();
        let sample = KeyspaceSample { taken: now.at.minus(Duration::from_secs(7)), sampled: 5, namespaces };
        now.l2.keyspace = Some(Arc::new(sample));
        let part = redis(&now, &now, 1.0);
        assert_eq!((&part["sample_age"], &part["sample_keys"], &part["foreign"]), (&json!(7.0), &json!(5), &json!(0)));
        now.l2.state = L2State::Unavailable;
        let part = redis(&now, &now, 1.0);
        assert_eq!((&part["sample_age"], &part["sample_keys"]), (&Value::Null, &Value::Null));
    }
}
