//! Administration by gRPC: inspect, hot keys, drain, reset of statistics.

use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use twintier::pb;
use twintier::pb::admin_service_client::AdminServiceClient;

use crate::harness::{
    Answer as _, Cluster, Mode, Redis, Refusal as _, Replica, SHORT_BOUND, eventually, in_both_modes, set_request,
    whole_namespace,
};

impl Replica {
    pub fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    pub async fn inspect(&self, key: &str) -> pb::InspectResponse {
        let request = pb::InspectRequest { key: key.into(), ..Default::default() };
        self.admin().inspect(request).await.expect("looked at").into_inner()
    }

    async fn hot_keys(&self, request: pb::HotKeysRequest) -> Result<Vec<pb::HotKey>, Status> {
        Ok(self.admin().hot_keys(request).await?.into_inner().keys)
    }

    async fn status_of(&self, service: &str) -> ServingStatus {
        let request = HealthCheckRequest { service: service.into() };
        HealthClient::new(self.channel.clone()).check(request).await.unwrap().into_inner().status()
    }
}

in_both_modes! {
    inspect_of_an_unknown_key_is_a_miss,
    an_entry_is_described,
    hot_keys_are_listed,
    invalid_requests_are_refused_by_field,
    administration_can_be_switched_off,
    a_drain_changes_readiness_only,
    stats_count_from_zero_after_a_reset,
    the_log_level_is_unchanged_if_another_owns_the_log,
    inspect_changes_no_counter_and_no_entry,
    inspect_names_the_selector_that_invalidated_an_entry,
}

async fn inspect_of_an_unknown_key_is_a_miss(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let found = replica.inspect("nothing").await;
    assert!(found.verdict.starts_with("miss: memory holds nothing"), "{}", found.verdict);
    assert_eq!((found.l1, found.l2, found.lease), (None, None, None));
    assert!(found.l2_error.is_empty() && !found.watermark.is_empty() && found.proof_age.is_some());
}

async fn an_entry_is_described(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let stored = replica.store(pb::SetRequest { content_type: "text/plain".into(), ..set_request("k", "value") }).await;
    let version = stored.unwrap().version;
    replica.wait_until_cached("k", "value").await;
    let found = replica.inspect("k").await;
    assert_eq!(found.verdict, "hit: memory holds it, proven fresh");
    let entry = found.l1.unwrap();
    assert_eq!((entry.version.as_str(), entry.size, entry.content_type.as_str()), (version.as_str(), 5, "text/plain"));
    let seconds = |duration: Option<prost_types::Duration>| duration.unwrap().seconds;
    assert!(seconds(entry.age) < 60 && (240..=300).contains(&seconds(entry.ttl)), "{entry:?}");
    assert!(!entry.known_absent && entry.not_served.is_empty() && entry.tags.is_empty(), "{entry:?}");
    match found.l2 {
        None => assert!(mode.is_standalone()),
        Some(l2) => {
            assert_eq!((l2.version.as_str(), l2.size, l2.stored_size), (version.as_str(), 5, 5));
            assert_eq!((l2.content_type.as_str(), l2.not_served.as_str()), ("text/plain", ""));
        }
    }
    let content = Some(pb::set_request::Content::KnownAbsent(pb::KnownAbsent {}));
    replica.store(pb::SetRequest { content, ..set_request("absent", "") }).await.unwrap();
    assert!(replica.inspect("absent").await.l1.unwrap().known_absent);
}

async fn hot_keys_are_listed(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.set_in("other", "elsewhere", "v").await;
    for n in 0..200 {
        replica.get("hottest").await;
        if n % 4 == 0 {
            replica.get("warm").await;
        }
        replica.get_from("other", "elsewhere").await;
    }
    let all = replica.hot_keys(pb::HotKeysRequest::default()).await.unwrap();
    let names: Vec<_> = all.iter().map(|hot| (hot.namespace.as_str(), hot.key.as_str())).collect();
    assert!(names.contains(&("default", "hottest")) && names.contains(&("other", "elsewhere")), "{all:?}");
    assert!(all.is_sorted_by(|one, other| one.gets_per_second >= other.gets_per_second), "{all:?}");
    let mine = replica.hot_keys(pb::HotKeysRequest { namespace: "default".into(), limit: 1 }).await.unwrap();
    assert_eq!(mine.iter().map(|hot| hot.key.as_str()).collect::<Vec<_>>(), ["hottest"]);
    let never = replica.hot_keys(pb::HotKeysRequest { namespace: "never".into(), limit: 0 }).await.unwrap();
    assert_eq!(never, []);
}

async fn invalid_requests_are_refused_by_field(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let request = pb::InspectRequest { namespace: "No!".into(), key: "k".repeat(2000) };
    let refused = replica.admin().inspect(request).await.unwrap_err();
    refused.assert_violations(&[("namespace", "No!"), ("key", "at most 1024 bytes; was 2000 bytes")]);
    replica
        .admin()
        .inspect(pb::InspectRequest::default())
        .await
        .unwrap_err()
        .assert_violations(&[("key", "not be empty")]);
    let refused = replica.hot_keys(pb::HotKeysRequest { namespace: "-".into(), limit: 101 }).await.unwrap_err();
    refused.assert_violations(&[("namespace", "letter or digit"), ("limit", "at most 100; was 101")]);
}

async fn administration_can_be_switched_off(mode: Mode) {
    let replica = mode.replica(&[("server.admin", "false")]).await;
    let refused = replica.admin().inspect(pb::InspectRequest { key: "k".into(), ..Default::default() }).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
    let request = HealthCheckRequest { service: "twintier.v1.AdminService".into() };
    let unknown = HealthClient::new(replica.channel.clone()).check(request).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    replica.set("k", "v").await;
}

async fn a_drain_changes_readiness_only(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let is = async |service: &str, status| {
        eventually("health follows", async || replica.status_of(service).await == status).await;
    };
    is("readiness", ServingStatus::Serving).await;
    let states = [(true, ServingStatus::NotServing, "drained"), (false, ServingStatus::Serving, "serving")];
    for (draining, status, state) in states {
        let answer = replica.admin().drain(pb::DrainRequest { draining }).await.unwrap().into_inner();
        assert_eq!(answer.draining, draining);
        for service in ["", "readiness", "twintier.v1.CacheService"] {
            is(service, status).await;
        }
        assert_eq!(replica.stats().await.replica.unwrap().state, state);
        for service in ["liveness", "twintier.v1.AdminService"] {
            assert_eq!(replica.status_of(service).await, ServingStatus::Serving);
        }
        replica.set("k", "v").await;
        assert!(replica.get("k").await.is("v"));
    }
}

async fn the_log_level_is_unchanged_if_another_owns_the_log(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let request = pb::SetLogLevelRequest { level: "debug".into(), lasts: None };
    let refused = replica.admin().set_log_level(request).await.expect_err("refused");
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

async fn stats_count_from_zero_after_a_reset(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.set("k", "v").await;
    replica.wait_until_cached("k", "v").await;
    replica.get("missing").await;
    assert_eq!(replica.stats().await.reset_time, None);
    replica.admin().reset_stats(pb::ResetStatsRequest {}).await.unwrap();
    let stats = replica.stats().await;
    assert!(stats.reset_time.is_some());
    let counts = &stats.namespaces[0];
    assert_eq!((counts.misses, counts.sets_stored, counts.l1_hits), (0, 0, 0));
    assert_eq!(counts.entries, 1, "a reset keeps gauges");
    assert!(stats.latencies.is_empty(), "{:?}", stats.latencies);
    replica.get("missing").await;
    let stats = replica.stats().await;
    assert_eq!(stats.namespaces[0].misses, 1);
    assert_eq!(stats.latencies.iter().filter(|row| row.operation == "get").map(|row| row.count).sum::<u64>(), 1);
    let first = stats.reset_time.unwrap();
    replica.admin().reset_stats(pb::ResetStatsRequest {}).await.unwrap();
    let stats = replica.stats().await;
    assert_eq!(stats.namespaces[0].misses, 0);
    let second = stats.reset_time.unwrap();
    assert!((second.seconds, second.nanos) > (first.seconds, first.nanos));
}

async fn inspect_changes_no_counter_and_no_entry(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.set("k", "v").await;
    let before = replica.counts("default").await;
    for key in ["k", "nothing"] {
        replica.inspect(key).await;
    }
    let after = replica.counts("default").await;
    assert_eq!(
        pb::NamespaceStats { entries: 0, bytes: 0, ..before },
        pb::NamespaceStats { entries: 0, bytes: 0, ..after }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inspect_says_why_an_entry_is_not_served() {
    let redis = Redis::start().await;
    let settings = [SHORT_BOUND, &[("cache.stale_window", "1h")]].concat();
    let (one, other) = (Replica::on(&redis, &settings).await, Replica::on(&redis, &settings).await);
    one.set("k", "v").await;
    let found = other.inspect("k").await;
    assert_eq!(found.verdict, "hit: Redis holds it; memory holds nothing");
    other.wait_until_cached("k", "v").await;

    one.remove(whole_namespace("")).await.unwrap();
    other.assert_missing("k").await;
    let found = other.inspect("k").await;
    assert!(found.verdict.starts_with("miss"), "{}", found.verdict);
    assert_eq!(found.l2.unwrap().not_served, "invalidated with its whole namespace");

    let expiry = Some(pb::set_request::Expiry::Ttl(Duration::from_millis(50).try_into().unwrap()));
    one.store(pb::SetRequest { expiry, ..set_request("short", "v") }).await.unwrap();
    one.assert_missing("short").await;
    let found = one.inspect("short").await;
    assert!(found.l1.unwrap().not_served.starts_with("expired "));
    assert!(found.l2.unwrap().not_served.starts_with("expired "));
}

/// Inspect names the selector for memory and for Redis.
async fn inspect_names_the_selector_that_invalidated_an_entry(mode: Mode) {
    use twintier::pb::invalidate_request::Selector;
    let replica = mode.replica(&[("cache.stale_window", "1h")]).await;
    let key = "user:42/posts";
    let cases = [
        (
            Selector::Prefix("user:42".into()),
            "invalidated with prefix \"user:42\"",
            "invalidated with a prefix of its key",
        ),
        (
            Selector::Tags(pb::Tags { tags: vec!["b".into()] }),
            "invalidated with tag \"b\"",
            "invalidated with tag \"b\"",
        ),
    ];
    for (selector, in_memory, in_redis) in cases {
        // The background sweep may remove the entry from memory first.
        let mut attempts = 0..200;
        let found = loop {
            assert!(attempts.next().is_some(), "the sweep removed the entry before each attempt");
            let tags = vec!["a".into(), "b".into()];
            replica.store(pb::SetRequest { tags, ..set_request(key, "v") }).await.unwrap();
            replica.wait_until_cached(key, "v").await;
            let selector = Some(selector.clone());
            replica.remove(pb::InvalidateRequest { selector, ..Default::default() }).await.unwrap();
            let found = replica.inspect(key).await;
            assert!(found.verdict.starts_with("miss: "), "{}", found.verdict);
            if found.l1.is_some() {
                break found;
            }
        };
        assert_eq!(found.l1.unwrap().not_served, in_memory);
        if !mode.is_standalone() {
            assert_eq!(found.l2.unwrap().not_served, in_redis);
        }
    }
    replica.store(pb::SetRequest { ..set_request(key, "v") }).await.unwrap();
    let selector = Some(Selector::Prefix("user".into()));
    let mark = pb::InvalidateRequest { selector, mode: pb::Mode::MarkStale.into(), ..Default::default() };
    replica.remove(mark).await.unwrap();
    let found = replica.inspect(key).await;
    assert!(found.l1.is_none_or(|entry| entry.not_served.starts_with("marked stale ")));
    assert!(mode.is_standalone() || found.l2.unwrap().not_served.starts_with("marked stale "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inspect_shows_the_entry_in_memory_while_redis_is_down() {
    let mut redis = Redis::start().await;
    let settings = [SHORT_BOUND, &[("cache.stale_window", "1h")]].concat();
    let replica = Replica::on(&redis, &settings).await;
    replica.set("k", "v").await;
    redis.kill9();
    eventually("memory is not proven any more", async || {
        replica.inspect("k").await.verdict.starts_with("hit from memory, flagged stale: Redis is not available: ")
    })
    .await;
    let found = replica.inspect("k").await;
    assert!(found.l1.unwrap().not_served.starts_with("suspect: last proven current "));
    assert!(!found.l2_error.is_empty() && found.l2.is_none());
    let verdict = replica.inspect("nothing").await.verdict;
    assert!(verdict.starts_with("miss, flagged degraded: Redis is not available"), "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inspect_names_a_disabled_namespace() {
    let replica = Replica::start(&[("namespaces.quiet.enabled", "false")]).await;
    let request = pb::InspectRequest { namespace: "quiet".into(), key: "k".into() };
    let found = replica.admin().inspect(request).await.unwrap().into_inner();
    assert_eq!(found.verdict, "miss: the cache is switched off for the namespace (namespace \"quiet\")");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inspect_reads_a_key_in_a_cluster() {
    let cluster = Cluster::start(&[]).await;
    let replica = Replica::connected_to(&cluster.url(), &[]).await;
    replica.wait_until_proven().await;
    for n in 0..20 {
        let key = format!("k{n}");
        replica.set(&key, "v").await;
        let found = replica.inspect(&key).await;
        assert_eq!(found.l2.unwrap().size, 1);
    }
}
