//! Stats for people: a page of a few lines per subject, then the tables.

use std::time::SystemTime;

use crate::cli::stats::fleet;
use crate::cli::stats::tables::{self, Since};
use crate::cli::table;
use crate::cli::units::{self, count, duration, ratio, size, wire_duration};
use crate::pb;

/// Formats the page. Rates are since the earlier response, unless the replica has restarted since.
pub(super) fn report(stats: &pb::StatsResponse, since: Option<Since<'_>>, now: SystemTime) -> String {
    let since = since.filter(|since| id(since.stats) == id(stats));
    let mut rows = Vec::new();
    if let Some(replica) = &stats.replica {
        rows.extend(replica_rows(replica, now));
    }
    if let Some(redis) = &stats.redis {
        rows.extend(redis_rows(redis, since.as_ref()));
    }
    if let Some(coherence) = stats.coherence.as_ref().filter(|_| !l1_only(stats)) {
        rows.extend(coherence_rows(coherence));
        rows.extend(stats.self_audit.as_ref().map(self_audit_row));
    }
    rows.extend(stats.l1.as_ref().map(l1_rows).into_iter().flatten());
    rows.extend(stats.watches.as_ref().filter(|watches| **watches != pb::WatchStats::default()).map(watches_row));
    rows.extend(stats.warm_start.as_ref().map(fleet::warm_start));
    rows.extend(stats.reset_time.map(|time| fleet::reset(time, now)));
    rows.extend(stats.leases.as_ref().filter(|leases| **leases != pb::LeaseStats::default()).map(leases_row));
    let mut page = table::facts(&rows);
    page += "\n";
    page += &tables::namespaces(&stats.namespaces, since.as_ref());
    if !stats.latencies.is_empty() {
        page += "\n";
        page += &tables::latencies(&stats.latencies);
    }
    page += &fleet::replicas(stats, now);
    page
}

type Rows = Vec<(&'static str, String)>;

fn id(stats: &pb::StatsResponse) -> Option<&str> {
    stats.replica.as_ref().map(|replica| replica.id.as_str())
}

fn l1_only(stats: &pb::StatsResponse) -> bool {
    stats.replica.as_ref().is_some_and(|replica| replica.l1_only)
}

fn replica_rows(replica: &pb::ReplicaStats, now: SystemTime) -> Rows {
    let start = replica.start_time.and_then(|time| SystemTime::try_from(time).ok());
    let up = start.map_or_else(|| "-".to_owned(), |start| duration(now.duration_since(start).unwrap_or_default()));
    let state = match (replica.cache_enabled, replica.l1_only) {
        (false, _) => ", cache switched off by configuration",
        (true, true) => ", L1 only",
        (true, false) => "",
    };
    vec![
        ("Replica", format!("{}, twintier {}, up {up}{state}", replica.id, replica.version)),
        (
            "RPCs",
            format!(
                "{} in flight, {} connections, {} shed",
                count(replica.in_flight),
                count(replica.connections),
                count(replica.shed)
            ),
        ),
    ]
}

fn redis_rows(redis: &pb::RedisStats, since: Option<&Since<'_>>) -> Rows {
    let state = units::name(redis.state().as_str_name(), "REDIS_STATE_");
    if redis.state() == pb::RedisState::Disabled {
        return vec![("Redis", state)];
    }
    let reason = if redis.reason.is_empty() { String::new() } else { format!(": {}", redis.reason) };
    let rate = since
        .and_then(|since| Some((since.stats.redis.as_ref()?.commands, since.interval)))
        .map(|(earlier, interval)| format!(" ({}/s)", units::rate(redis.commands.saturating_sub(earlier), interval)));
    let mut rows = vec![
        ("Redis", format!("{state} for {}{reason}", wire_duration(redis.state_age))),
        (
            "",
            format!(
                "round trip {}, {} commands{}, {} errors, {} undecodable, {} reconnects",
                wire_duration(redis.round_trip),
                count(redis.commands),
                rate.unwrap_or_default(),
                count(redis.errors),
                count(redis.undecodable),
                count(redis.reconnects)
            ),
        ),
    ];
    if !redis.server_version.is_empty() {
        rows.push(("", redis_server(redis)));
    }
    if redis.foreign_messages > 0 {
        rows.push(("", format!("{} messages of another deployment", count(redis.foreign_messages))));
    }
    if let Some(keys) = redis.namespace_sample_keys {
        let age = wire_duration(redis.namespace_sample_age);
        rows.push(("", format!("namespaces: estimates from a sample of {} keys, {age} ago", count(keys))));
    }
    rows.extend(redis.warnings.iter().map(|warning| ("", format!("warning: {warning}"))));
    rows
}

fn watches_row(watches: &pb::WatchStats) -> (&'static str, String) {
    let told = [watches.watchers, watches.changes, watches.discontinuities].map(count);
    ("Watches", format!("{} now; {} changes and {} discontinuities told", told[0], told[1], told[2]))
}

/// Formats what Redis reports about itself.
fn redis_server(redis: &pb::RedisStats) -> String {
    if redis.used_memory == 0 {
        return format!("version {}; memory and keys are not known", redis.server_version);
    }
    let limit = if redis.maxmemory == 0 { "no limit".to_owned() } else { size(redis.maxmemory) };
    format!(
        "version {}, {} used of {limit}, peak {}, {} keys, {} evicted, {} expired",
        redis.server_version,
        size(redis.used_memory),
        size(redis.used_memory_peak),
        count(redis.keys),
        count(redis.evicted_keys),
        count(redis.expired_keys)
    )
}

fn coherence_rows(coherence: &pb::CoherenceStats) -> Rows {
    vec![
        (
            "Coherence",
            format!(
                "{} of {} partitions proven, oldest proof {}, bound {}, lag p99 {}",
                coherence.partitions_proven,
                coherence.partitions,
                wire_duration(coherence.audit_age),
                wire_duration(coherence.max_staleness),
                wire_duration(coherence.lag_p99)
            ),
        ),
        (
            "",
            format!(
                "messages: {} applied, {} own, {} gaps, {} undecodable, {} lagged, {} disconnects",
                count(coherence.messages_applied),
                count(coherence.messages_own),
                count(coherence.gaps),
                count(coherence.undecodable),
                count(coherence.lagged),
                count(coherence.disconnects)
            ),
        ),
        (
            "",
            format!(
                "audits: {} sent, {} echoed, {} failed; {} bumps, {} fills and {} sets fenced, {} failovers, {} repaired",
                count(coherence.audits_sent),
                count(coherence.audits_echoed),
                count(coherence.audits_failed),
                count(coherence.bumps),
                count(coherence.fills_fenced),
                count(coherence.sets_fenced),
                count(coherence.takeovers),
                count(coherence.repaired)
            ),
        ),
    ]
}

fn self_audit_row(audit: &pb::SelfAuditStats) -> (&'static str, String) {
    let text = format!(
        "self-audit: {} checked, {} violations, staleness p99 {}, max {}; {} dropped, {} gone, {} failed",
        count(audit.checked),
        count(audit.violations),
        wire_duration(audit.staleness_p99),
        wire_duration(audit.staleness_max),
        count(audit.dropped),
        count(audit.gone),
        count(audit.failed)
    );
    ("", text)
}

fn leases_row(leases: &pb::LeaseStats) -> (&'static str, String) {
    let text = format!(
        "{} granted ({} alone), {} filled, {} void, {} given back; {} waiting, {} of {} waiters were served",
        count(leases.granted),
        count(leases.granted_alone),
        count(leases.filled),
        count(leases.voided),
        count(leases.released),
        count(leases.waiting),
        count(leases.served),
        count(leases.waited)
    );
    ("Leases", text)
}

fn l1_rows(l1: &pb::L1Stats) -> Rows {
    vec![
        (
            "L1",
            format!(
                "{} of {} ({}), {} entries",
                size(l1.bytes),
                size(l1.max_bytes),
                ratio(l1.bytes, l1.max_bytes),
                count(l1.entries)
            ),
        ),
        (
            "",
            format!(
                "evicted: {} for size, {} expired; {} removed, {} replaced, {} too large",
                count(l1.evicted_size),
                count(l1.evicted_expired),
                count(l1.removed),
                count(l1.replaced),
                count(l1.rejected)
            ),
        ),
    ]
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
