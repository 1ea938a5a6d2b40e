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
        coherence: Some(pb::CoherenceStats { partitions: 16, partitions_proven: 15, ..pb::CoherenceStats::default() }),
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
           audits: 0 sent, 0 echoed, 0 failed; 0 bumps, 0 fills and 0 sets fenced, 0 failovers, 0 repaired
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
