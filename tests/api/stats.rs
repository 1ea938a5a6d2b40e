//! Stats: each counter after the operation that it counts.

use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use twintier::pb;
use twintier::pb::set_request::{Condition, Content};

use crate::harness::{
    Answer as _, Class, Direction, Fleet, Mode, Proxy, Redis, Replica, SHORT_BOUND, eventually, in_both_modes,
    set_request, whole_namespace,
};

in_both_modes! {
    gets_sets_and_invalidations_are_counted_by_outcome,
    namespaces_are_counted_separately,
    a_set_into_a_disabled_cache_counts_as_no_failed_condition,
    the_reported_memory_usage_is_updated_without_traffic,
    a_replica_describes_itself,
    memory_is_accounted_for,
    latencies_are_reported_by_operation,
}

async fn gets_sets_and_invalidations_are_counted_by_outcome(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.get("k").await;
    replica.get("other").await;
    assert_eq!(replica.counts("default").await, pb::NamespaceStats { misses: 2, ..named("default") });

    replica.set("k", "v").await;
    let if_absent = Some(Condition::IfAbsent(pb::IfAbsent {}));
    replica.store(pb::SetRequest { condition: if_absent, ..set_request("k", "w") }).await.unwrap();
    let known_absent = Some(Content::KnownAbsent(pb::KnownAbsent {}));
    replica.store(pb::SetRequest { content: known_absent, ..set_request("n", "") }).await.unwrap();
    let expected = pb::NamespaceStats { misses: 2, sets_stored: 2, sets_condition_failed: 1, ..named("default") };
    assert_eq!(without_memory(replica.counts("default").await), expected);

    for key in ["k", "k", "n"] {
        replica.get(key).await;
    }
    replica.get_strong("k").await.unwrap();
    let counts = replica.counts("default").await;
    // Redis answers a strong Get, if there is one. Memory answers the others, unless this machine
    // was too slow to prove it.
    assert_eq!(counts.l1_hits + counts.l2_hits, 4);
    assert_eq!(counts.l2_hits > 0, !mode.is_standalone());
    assert_eq!((counts.negative_hits, counts.misses, counts.stale_hits, counts.degraded), (1, 2, 0, 0));

    replica.invalidate("k").await;
    replica.remove(whole_namespace("")).await.unwrap();
    replica.store(pb::SetRequest { tokens: vec!["x".into()], ..set_request("k", "v") }).await.unwrap_err();
    let counts = replica.counts("default").await;
    assert_eq!((counts.invalidations, counts.sets_stored, counts.write_errors), (2, 2, 0));
}

fn named(namespace: &str) -> pb::NamespaceStats {
    pb::NamespaceStats { namespace: namespace.into(), ..Default::default() }
}

fn without_memory(counts: pb::NamespaceStats) -> pb::NamespaceStats {
    pb::NamespaceStats { entries: 0, bytes: 0, ..counts }
}

async fn namespaces_are_counted_separately(mode: Mode) {
    let replica = mode.replica(&[]).await;
    for namespace in ["b", "a", "c"] {
        replica.set_in(namespace, "k", "v").await;
    }
    replica.get_from("a", "nothing").await;
    let all = replica.stats().await.namespaces;
    assert_eq!(all.iter().map(|stats| stats.namespace.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(all.iter().map(|stats| stats.misses).collect::<Vec<_>>(), [1, 0, 0]);
    let ask = async |namespace: &str| {
        let request = pb::StatsRequest { namespace: namespace.into(), ..Default::default() };
        replica.client.clone().stats(request).await.unwrap().into_inner().namespaces
    };
    assert_eq!(ask("b").await.len(), 1);
    assert_eq!(ask("b").await[0].sets_stored, 1);
    // A request for its counters does not register the namespace.
    assert_eq!(ask("never").await, []);
    assert_eq!(replica.stats().await.namespaces.len(), 3);
}

async fn a_set_into_a_disabled_cache_counts_as_no_failed_condition(mode: Mode) {
    let replica = mode.replica(&[("cache.enabled", "false")]).await;
    replica.store(set_request("k", "v")).await.unwrap();
    let counts = replica.counts("default").await;
    assert_eq!((counts.sets_stored, counts.sets_condition_failed, counts.write_errors), (0, 0, 0));
}

async fn the_reported_memory_usage_is_updated_without_traffic(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let expiry = Some(pb::set_request::Expiry::Ttl(Duration::from_millis(500).try_into().unwrap()));
    for n in 0..20 {
        let request = pb::SetRequest { expiry, ..set_request(&n.to_string(), "v") };
        replica.store(request).await.unwrap();
    }
    eventually("expired entries are counted and freed", async || {
        let l1 = replica.stats().await.l1.unwrap();
        l1.evicted_expired == 20 && l1.entries == 0 && replica.counts("default").await.bytes == 0
    })
    .await;
}

async fn a_replica_describes_itself(mode: Mode) {
    let before = SystemTime::now();
    let (one, two) = (mode.replica(SHORT_BOUND).await, mode.replica(SHORT_BOUND).await);
    let mut stats = one.stats().await;
    eventually("redis is healthy", async || {
        stats = one.stats().await;
        let (coherence, redis) = (stats.coherence.unwrap(), stats.redis.clone().unwrap());
        mode.is_standalone() || (redis.state() == pb::RedisState::Healthy && coherence.audit_age.is_some())
    })
    .await;
    let (replica, coherence, redis) = (stats.replica.unwrap(), stats.coherence.unwrap(), stats.redis.unwrap());
    assert!(!replica.id.is_empty());
    assert_ne!(replica.id, two.stats().await.replica.unwrap().id);
    assert_eq!(replica.version, env!("CARGO_PKG_VERSION"));
    let started = SystemTime::try_from(replica.start_time.unwrap()).unwrap();
    assert!((before..=SystemTime::now()).contains(&started), "{started:?}");
    assert_eq!((replica.l1_only, replica.cache_enabled), (mode.is_standalone(), true));
    assert_eq!((replica.in_flight, replica.connections, replica.shed), (1, 1, 0));
    assert_eq!(coherence.partitions, 64);
    assert_eq!(coherence.max_staleness.unwrap().nanos, 500_000_000);
    if mode.is_standalone() {
        assert_eq!(redis.state(), pb::RedisState::Disabled);
        assert_eq!(coherence.partitions_proven, 64);
        return;
    }
    let version = redis.server_version.trim_start_matches("Valkey ").split('.').next().unwrap();
    assert!(version.parse::<u32>().unwrap() >= 7, "{}", redis.server_version);
    assert!(coherence.audits_echoed > 0 && coherence.audits_sent >= coherence.audits_echoed);
    eventually("INFO of Redis is known", async || {
        let redis = one.redis().await;
        redis.used_memory > 0 && redis.round_trip.is_some() && redis.keys > 0 && redis.commands_processed > 0
    })
    .await;
}

async fn memory_is_accounted_for(mode: Mode) {
    let replica = mode.replica(&[("l1.size", "1MiB"), ("limits.value_size", "16KiB")]).await;
    let value = "x".repeat(1000);
    for n in 0..50 {
        replica.set_in("n", &n.to_string(), &value).await;
    }
    eventually("entries are counted", async || replica.counts("n").await.entries == 50).await;
    assert!(replica.counts("n").await.bytes >= 50_000);
    eventually("memory is counted", async || {
        // Use of the cache triggers its housekeeping.
        replica.get_from("n", "0").await;
        let l1 = replica.stats().await.l1.unwrap();
        l1.entries == 50 && l1.bytes >= 50_000 && l1.max_bytes == 1 << 20
    })
    .await;
    for n in 0..10 {
        replica.set_in("n", &n.to_string(), &value).await;
        let key = Some(pb::invalidate_request::Selector::Key((n + 10).to_string()));
        replica
            .remove(pb::InvalidateRequest { namespace: "n".into(), selector: key, ..Default::default() })
            .await
            .unwrap();
    }
    eventually("replaced and removed entries are counted", async || {
        replica.get_from("n", "0").await;
        let l1 = replica.stats().await.l1.unwrap();
        l1.replaced + l1.removed >= 20 && replica.counts("n").await.entries == 40
    })
    .await;
    // Memory stays within its limit.
    for n in 0..2000 {
        replica.set_in("n", &n.to_string(), &value).await;
    }
    eventually("the limit is kept", async || {
        replica.get_from("n", "0").await;
        let l1 = replica.stats().await.l1.unwrap();
        l1.evicted_size > 0 && l1.bytes <= l1.max_bytes
    })
    .await;
}

async fn latencies_are_reported_by_operation(mode: Mode) {
    let replica = mode.replica(&[]).await;
    assert!(replica.stats().await.latencies.is_empty());
    replica.get("k").await;
    replica.set("k", "v").await;
    replica.wait_until_cached("k", "v").await;
    replica.invalidate("k").await;
    let rows = replica.stats().await.latencies;
    let count = |operation: &str, tier| {
        let row = rows.iter().find(|row| row.operation == operation && row.tier() == tier);
        row.map_or(0, |row| {
            let [p50, p99, max] = [row.p50, row.p99, row.max].map(|d| Duration::try_from(d.unwrap()).unwrap());
            assert!(p50 <= p99 && p99 <= max && max < Duration::from_secs(10), "{row:?}");
            row.count
        })
    };
    assert!(count("get", pb::Tier::L1) >= 1);
    assert_eq!(count("get", pb::Tier::Unspecified), 1);
    assert_eq!(count("set", pb::Tier::Unspecified), 1);
    assert_eq!(count("invalidate", pb::Tier::Unspecified), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_redis_and_without_it_are_counted() {
    let mut fleet = Fleet::start(2, &[SHORT_BOUND[0], ("cache.stale_window", "1h")]).await;
    fleet[0].set("k", "v").await;
    fleet[1].get("k").await;
    assert_eq!(fleet[1].counts("default").await.l2_hits, 1);
    fleet[1].wait_until_cached("k", "v").await;
    fleet.redis.kill9();
    eventually("stale hits are counted", async || {
        fleet[1].get("k").await;
        fleet[1].counts("default").await.stale_hits > 0
    })
    .await;
    let before = fleet[1].counts("default").await;
    fleet[1].get("other").await;
    fleet[1].store(set_request("k", "v")).await.unwrap_err();
    fleet[1].remove(whole_namespace("")).await.unwrap_err();
    let after = fleet[1].counts("default").await;
    assert_eq!(after.misses, before.misses + 1);
    assert_eq!(after.degraded, before.degraded + 1);
    assert_eq!(after.write_errors, before.write_errors + 2);
    assert_eq!(after.sets_stored, before.sets_stored);
    assert!(fleet[1].coherence().await.disconnects > 0);
    let redis = fleet[1].redis().await;
    assert_eq!(redis.state(), pb::RedisState::Unavailable);
    let last_known = (redis.used_memory, redis.keys, redis.commands_processed, redis.round_trip);
    assert_eq!(last_known, (0, 0, 0, None), "a frozen server has no values");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_counted_where_they_are_received() {
    let fleet = Fleet::start(2, &[]).await;
    for n in 0..10 {
        fleet[0].set(&n.to_string(), "v").await;
    }
    fleet[0].invalidate("0").await;
    fleet[0].remove(whole_namespace("")).await.unwrap();
    let expected = 10 + 1 + 64;
    for (replica, own) in [(&fleet[0], expected), (&fleet[1], 0)] {
        eventually("every message is applied", async || {
            let counts = replica.coherence().await;
            counts.messages_applied == expected && counts.messages_own == own
        })
        .await;
        let counts = replica.coherence().await;
        assert_eq!((counts.gaps, counts.undecodable, counts.lagged, counts.audits_failed), (0, 0, 0, 0));
        assert!(counts.lag_p99.is_some());
    }
}

/// Long timeouts, so that one fetch serves every Get on any machine.
const LONG_TIMEOUTS: &[(&str, &str)] =
    &[("redis.read_timeout", "20s"), ("redis.unresponsive_after", "20s"), ("coherence.max_staleness", "20s")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_gets_of_one_cold_key_cost_one_read() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let writer = Replica::on(&redis, &[]).await;
    let reader = Replica::connected_to(&proxy.url(), LONG_TIMEOUTS).await;
    reader.wait_until_proven().await;
    writer.set("k", "v").await;
    // If the message were applied during the fetch, later Gets could not join it.
    eventually("the message is applied", async || reader.coherence().await.messages_applied == 1).await;
    proxy.delay(Class::Commands, Direction::ToClient, Duration::from_millis(300));
    let mut gets = JoinSet::new();
    for _ in 0..200 {
        let mut client = reader.client.clone();
        gets.spawn(async move { client.get(pb::GetRequest { key: "k".into(), ..Default::default() }).await });
    }
    for answer in gets.join_all().await {
        assert!(answer.unwrap().into_inner().is("v"));
    }
    let stats = reader.stats().await;
    let reads = stats.latencies.iter().find(|row| row.operation == "l2_read").map_or(0, |row| row.count);
    let counts = &stats.namespaces[0];
    assert_eq!(reads, 1, "{counts:?}");
    assert_eq!(counts.coalesced + counts.l1_hits, 199, "{counts:?}");
    assert!(counts.coalesced > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnected_caller_does_not_cancel_the_shared_read() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let writer = Replica::on(&redis, &[]).await;
    let reader = Replica::connected_to(&proxy.url(), LONG_TIMEOUTS).await;
    reader.wait_until_proven().await;
    writer.set("k", "v").await;
    eventually("the message is applied", async || reader.coherence().await.messages_applied == 1).await;
    proxy.stall(Class::Commands, Direction::ToClient);
    let get = |mut client: pb::cache_service_client::CacheServiceClient<_>| {
        tokio::spawn(async move { client.get(pb::GetRequest { key: "k".into(), ..Default::default() }).await })
    };
    let first = get(reader.client.clone());
    eventually("the first Get is in flight", async || reader.stats().await.replica.unwrap().in_flight == 2).await;
    let second = get(reader.client.clone());
    eventually("the second Get waits for the fetch", async || reader.counts("default").await.coalesced == 1).await;
    first.abort();
    eventually("the first caller has disconnected", async || reader.stats().await.replica.unwrap().in_flight == 2)
        .await;
    proxy.resume(Class::Commands, Direction::ToClient);
    assert!(second.await.unwrap().unwrap().into_inner().is("v"));
    let rows = reader.stats().await.latencies;
    assert_eq!(rows.iter().find(|row| row.operation == "l2_read").map(|row| row.count), Some(1));
}
