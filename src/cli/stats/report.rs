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
                "audits: {} sent, {} echoed, {} failed; {} bumps, {} fills fenced, {} failovers, {} repaired",
                count(coherence.audits_sent),
                count(coherence.audits_echoed),
                count(coherence.audits_failed),
                count(coherence.bumps),
                count(coherence.fills_fenced),
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
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const NOW: Duration = Duration::from_secs(10_000);

    fn wire(micros: u64) -> Option<prost_types::Duration> {
        Some(units::to_wire(Duration::from_micros(micros)))
    }

    fn namespace(name: &str, l1_hits: u64, misses: u64) -> pb::NamespaceStats {
        pb::NamespaceStats { namespace: name.to_owned(), l1_hits, misses, bytes: 2048, ..pb::NamespaceStats::default() }
    }

    fn stats() -> pb::StatsResponse {
        let latency = |operation: &str, tier: pb::Tier, p50| pb::LatencyStats {
            operation: operation.to_owned(),
            tier: tier.into(),
            count: 1_234,
            p50: wire(p50),
            p95: wire(2 * p50),
            p99: wire(3 * p50),
            p999: wire(4 * p50),
            max: wire(5 * p50),
        };
        pb::StatsResponse {
            replica: Some(pb::ReplicaStats {
                id: "r1".to_owned(),
                version: "0.1.0".to_owned(),
                start_time: Some(prost_types::Timestamp { seconds: 9_940, nanos: 0 }),
                cache_enabled: true,
                in_flight: 3,
                ..pb::ReplicaStats::default()
            }),
            namespaces: vec![namespace("default", 90, 10), namespace("users.by-id", 0, 0)],
            l1: Some(pb::L1Stats { bytes: 1 << 20, max_bytes: 64 << 20, entries: 1_000, ..pb::L1Stats::default() }),
            coherence: Some(pb::CoherenceStats {
                partitions: 16,
                partitions_proven: 15,
                ..pb::CoherenceStats::default()
            }),
            redis: Some(pb::RedisStats {
                state: pb::RedisState::Degraded.into(),
                reason: "the subscription is not proven".to_owned(),
                state_age: wire(1_500_000),
                commands: 100,
                ..pb::RedisStats::default()
            }),
            self_audit: Some(pb::SelfAuditStats { checked: 7, staleness_max: wire(1_000), ..Default::default() }),
            latencies: vec![latency("get", pb::Tier::L1, 2), latency("set", pb::Tier::Unspecified, 500)],
            ..pb::StatsResponse::default()
        }
    }

    fn page(since: Option<Since<'_>>) -> String {
        report(&stats(), since, UNIX_EPOCH + NOW)
    }

    #[test]
    fn a_page_has_a_line_per_subject_and_two_tables() {
        let expected = "\
Replica    r1, twintier 0.1.0, up 1m
RPCs       3 in flight, 0 connections, 0 shed
Redis      degraded for 1.5 s: the subscription is not proven
           round trip -, 100 commands, 0 errors, 0 undecodable, 0 reconnects
Coherence  15 of 16 partitions proven, oldest proof -, bound -, lag p99 -
           messages: 0 applied, 0 own, 0 gaps, 0 undecodable, 0 lagged, 0 disconnects
           audits: 0 sent, 0 echoed, 0 failed; 0 bumps, 0 fills fenced, 0 failovers, 0 repaired
           self-audit: 7 checked, 0 violations, staleness p99 -, max 1 ms; 0 dropped, 0 gone, 0 failed
L1         1.0 MiB of 64.0 MiB (1.6 %), 1,000 entries
           evicted: 0 for size, 0 expired; 0 removed, 0 replaced, 0 too large

NAMESPACE    GETS    HITS  L1  L2  STALE  NEG  MISS  DEGR  COAL  SETS  COND  INVAL  ERR  ENTRIES     SIZE
default       100  90.0 %  90   0      0    0    10     0     0     0     0      0    0        0  2.0 KiB
users.by-id     0       -   0   0      0    0     0     0     0     0     0      0    0        0  2.0 KiB

LATENCY  TIER  COUNT     P50   P95     P99  P99.9     MAX
get        L1  1,234    2 µs  4 µs    6 µs   8 µs   10 µs
set         -  1,234  500 µs  1 ms  1.5 ms   2 ms  2.5 ms
";
        assert_eq!(page(None), expected);
    }

    #[test]
    fn what_redis_holds_is_shown_where_it_is_known() {
        let mut stats = stats();
        stats.namespaces[0].redis_keys = Some(1_200);
        stats.namespaces[0].redis_bytes = Some(3 << 20);
        let redis = stats.redis.as_mut().expect("given");
        (redis.namespace_sample_keys, redis.namespace_sample_age) = (Some(20_000), wire(5_000_000));
        redis.foreign_messages = 7;
        let page = report(&stats, None, UNIX_EPOCH + NOW);
        for expected in [
            "           7 messages of another deployment\n",
            "           namespaces: estimates from a sample of 20,000 keys, 5 s ago\n",
            "ENTRIES     SIZE  REDIS KEYS  REDIS SIZE\n",
            "        0  2.0 KiB       1,200     3.0 MiB\n",
            "        0  2.0 KiB           -           -\n",
        ] {
            assert!(page.contains(expected), "{expected}\n{page}");
        }
    }

    #[test]
    fn rates_are_since_the_earlier_report() {
        let mut earlier = stats();
        earlier.namespaces = vec![namespace("default", 50, 10)];
        earlier.redis = Some(pb::RedisStats { commands: 80, ..pb::RedisStats::default() });
        let page = page(Some(Since { stats: &earlier, interval: Duration::from_secs(4) }));
        assert!(page.contains("100 commands (5.0/s)"), "{page}");
        assert!(page.contains("\ndefault       10.0   100.0 %    0.0      0.0   100  90.0 %"), "{page}");
    }

    #[test]
    fn a_replica_that_started_anew_has_no_rates() {
        let mut earlier = stats();
        earlier.replica = Some(pb::ReplicaStats { id: "r0".to_owned(), ..pb::ReplicaStats::default() });
        assert!(!page(Some(Since { stats: &earlier, interval: Duration::from_secs(1) })).contains("/s"));
    }

    #[test]
    fn without_redis_the_report_omits_coherence() {
        let mut stats = stats();
        stats.replica = Some(pb::ReplicaStats { l1_only: true, cache_enabled: true, ..pb::ReplicaStats::default() });
        stats.redis = Some(pb::RedisStats { state: pb::RedisState::Disabled.into(), ..pb::RedisStats::default() });
        let page = report(&stats, None, UNIX_EPOCH + NOW);
        assert!(
            page.contains(", L1 only\n") && page.contains("\nRedis    disabled\n") && !page.contains("Coherence"),
            "{page}"
        );
    }

    #[test]
    fn an_empty_response_is_still_a_page() {
        assert_eq!(report(&pb::StatsResponse::default(), None, UNIX_EPOCH), "\nNo namespace was used yet.\n");
    }
}
