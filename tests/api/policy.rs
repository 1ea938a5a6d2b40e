//! Policies of namespaces, except expiry.

use std::time::Duration;

use tonic::Code;
use twintier::pb;
use twintier::pb::set_request::Condition;
use twintier::pb::{MissReason, SetOutcome};

use crate::harness::{
    Answer as _, Fleet, Mode, Redis, Refusal as _, Replica, eventually, in_both_modes, invalidate_key, set_request,
    whole_namespace,
};

in_both_modes! {
    a_disabled_namespace_stores_nothing,
    nothing_is_cached_without_any_tier,
    a_value_may_be_as_large_as_its_namespace_allows,
    an_immutable_entry_is_never_overwritten,
    requests_beyond_the_rate_are_refused,
    the_memory_quota_of_a_namespace_is_enforced,
    an_invalidated_entry_frees_its_quota,
}

fn named(namespace: &str, key: &str, value: &str) -> pb::SetRequest {
    pb::SetRequest { namespace: namespace.into(), ..set_request(key, value) }
}

async fn a_disabled_namespace_stores_nothing(mode: Mode) {
    let replica = mode.replica(&[("namespaces.off.enabled", "false")]).await;
    assert_eq!(replica.store(named("off", "k", "v")).await.unwrap().outcome(), SetOutcome::Disabled);
    assert_eq!(replica.get_from("off", "k").await.miss(), Some(MissReason::Disabled));
    replica.remove(whole_namespace("off")).await.unwrap();
    replica.set("k", "v").await;
    assert!(replica.get("k").await.is("v"));
}

async fn nothing_is_cached_without_any_tier(mode: Mode) {
    let replica = mode.replica(&[("namespaces.off.l1", "false"), ("namespaces.off.l2", "false")]).await;
    assert_eq!(replica.store(named("off", "k", "v")).await.unwrap().outcome(), SetOutcome::Disabled);
    assert_eq!(replica.get_from("off", "k").await.miss(), Some(MissReason::Disabled));
}

async fn a_value_may_be_as_large_as_its_namespace_allows(mode: Mode) {
    let settings = [("namespaces.small.max_value_size", "10B"), ("limits.value_size", "1KiB")];
    let replica = mode.replica(&settings).await;
    replica.set_in("small", "k", &"x".repeat(10)).await;
    let refused = replica.store(named("small", "k", &"x".repeat(11))).await.unwrap_err();
    refused.assert_violations(&[("value", "at most 10 bytes; was 11 bytes")]);
    replica.set("k", &"x".repeat(1024)).await;
    let refused = replica.store(set_request("k", &"x".repeat(1025))).await.unwrap_err();
    refused.assert_violations(&[("value", "at most 1024 bytes")]);
}

async fn an_immutable_entry_is_never_overwritten(mode: Mode) {
    let replica = mode.replica(&[("namespaces.fixed.immutable", "true")]).await;
    let first = replica.set_in("fixed", "k", "1").await;
    let conditions = [
        None,
        Some(Condition::IfAbsent(pb::IfAbsent {})),
        Some(Condition::IfPresent(pb::IfPresent {})),
        Some(Condition::IfVersion(first.version.clone())),
    ];
    for condition in conditions {
        let refused = replica.store(pb::SetRequest { condition, ..named("fixed", "k", "2") }).await.unwrap();
        assert_eq!((refused.outcome(), &refused.version), (SetOutcome::AlreadyPresent, &first.version));
    }
    assert!(replica.get_from("fixed", "k").await.is("1"));
    let selector = pb::InvalidateRequest { namespace: "fixed".into(), ..invalidate_key("k") };
    assert_eq!(replica.remove(selector).await.unwrap().removed, Some(1));
    assert_eq!(replica.get_from("fixed", "k").await.miss(), Some(MissReason::Absent));
    let barrier = pb::Barrier::Fleet.into();
    let again = replica.store(pb::SetRequest { barrier, ..named("fixed", "k", "3") }).await.unwrap();
    assert_eq!(again.outcome(), SetOutcome::Stored);
    assert!(replica.get_from("fixed", "k").await.is("3"));
}

async fn requests_beyond_the_rate_are_refused(mode: Mode) {
    let replica = mode.replica(&[("namespaces.slow.max_requests_per_second", "2")]).await;
    let mut refused = None;
    for _ in 0..100 {
        if let Err(status) = replica.store(named("slow", "k", "v")).await {
            refused = Some(status);
            break;
        }
    }
    let refused = refused.expect("100 requests took longer than 49 s");
    assert_eq!((refused.code(), refused.reason()), (Code::ResourceExhausted, "LIMIT_REACHED".to_owned()));
    let wait = refused.retry_delay().expect("the error has a retry delay");
    assert!(wait > Duration::ZERO && wait <= Duration::from_millis(500), "{wait:?}");
    let throttled = replica.counts("slow").await.throttled;
    assert!(throttled >= 1);
    // A later request is allowed. Other namespaces are not affected.
    replica.set("k", "v").await;
    let request = pb::GetRequest { namespace: "slow".into(), key: "k".into(), ..Default::default() };
    eventually("a later request passes", async || replica.try_get(request.clone()).await.is_ok()).await;
}

async fn the_memory_quota_of_a_namespace_is_enforced(mode: Mode) {
    let replica = mode.replica(&[("namespaces.small.max_bytes", "10KiB")]).await;
    let value = "x".repeat(1000);
    for n in 0..20 {
        let stored = replica.store(named("small", &n.to_string(), &value)).await.unwrap();
        assert_eq!(stored.outcome(), SetOutcome::Stored, "the least used entry leaves for it");
        assert!(replica.get_from("small", &n.to_string()).await.is(&value), "the newest is there");
    }
    let counts = replica.counts("small").await;
    assert!(counts.bytes > 5000 && counts.bytes <= 10 * 1024, "{} bytes", counts.bytes);
    assert!(counts.entries < 15, "{} entries", counts.entries);
    assert_eq!(counts.over_quota, 0);
    let large = replica.store(named("small", "large", &"x".repeat(20_000))).await;
    if mode.is_standalone() {
        let refused = large.unwrap_err();
        assert_eq!((refused.code(), refused.reason()), (Code::ResourceExhausted, "LIMIT_REACHED".to_owned()));
        assert_eq!(refused.message(), "max_bytes limit of 10240 reached (namespaces.small.max_bytes)");
    } else {
        assert_eq!(large.unwrap().outcome(), SetOutcome::Stored, "an entry refused by memory is in Redis");
        for n in 0..20 {
            assert!(replica.get_from("small", &n.to_string()).await.is(&value));
        }
    }
    assert_eq!(replica.counts("small").await.over_quota, 1);
    // Other namespaces have their own room.
    replica.set("k", &value).await;
    assert!(replica.get("k").await.is(&value));
}

async fn an_invalidated_entry_frees_its_quota(mode: Mode) {
    let replica = mode.replica(&[("namespaces.n.max_bytes", "300KiB"), ("namespaces.n.default_ttl", "1h")]).await;
    let value = "x".repeat(2000);
    let tagged = |n: usize| pb::SetRequest { tags: vec!["t".into()], ..named("n", &format!("a/{n}"), &value) };
    for (round, selector) in [
        pb::invalidate_request::Selector::WholeNamespace(pb::WholeNamespace {}),
        pb::invalidate_request::Selector::Tags(pb::Tags { tags: vec!["t".into()] }),
        pb::invalidate_request::Selector::Prefix("a".into()),
        pb::invalidate_request::Selector::Pattern("a/*".into()),
    ]
    .into_iter()
    .enumerate()
    {
        for n in 0..100 {
            assert_eq!(replica.store(tagged(n)).await.unwrap().outcome(), SetOutcome::Stored, "round {round}");
        }
        let selector = Some(selector);
        replica.remove(pb::InvalidateRequest { namespace: "n".into(), selector, ..Default::default() }).await.unwrap();
        // Invalidated entries leave first or soon; no Set is refused.
        for n in 0..100 {
            let fresh = named("n", &format!("b{round}/{n}"), &value);
            assert_eq!(replica.store(fresh).await.unwrap().outcome(), SetOutcome::Stored, "round {round}");
        }
        assert_eq!(replica.counts("n").await.over_quota, 0, "round {round}");
        replica.remove(whole_namespace("n")).await.unwrap();
        eventually("invalidated entries are removed from memory", async || replica.counts("n").await.entries == 0)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_get_reads_redis_without_l1() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[("namespaces.shared.l1", "false")]).await;
    replica.set_in("shared", "k", "1").await;
    for _ in 0..3 {
        let answer = replica.get_from("shared", "k").await;
        assert!(answer.is("1") && answer.tier() == pb::Tier::L2);
    }
    replica.set_in("shared", "k", "2").await;
    assert!(replica.get_from("shared", "k").await.is("2"));
    let counts = replica.counts("shared").await;
    assert_eq!((counts.entries, counts.l1_hits, counts.l2_hits), (0, 0, 4));
    replica.set("k", "1").await;
    assert_eq!(replica.get("k").await.tier(), pb::Tier::L1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_live_in_one_replica_without_l2() {
    let fleet = Fleet::start(2, &[("namespaces.own.l2", "false")]).await;
    let first = fleet[0].store(named("own", "k", "1")).await.unwrap();
    assert_eq!((first.outcome(), first.token.as_str()), (SetOutcome::Stored, ""));
    let answer = fleet[0].get_from("own", "k").await;
    assert!(answer.is("1") && answer.tier() == pb::Tier::L1 && answer.stale().is_none());
    assert_eq!(fleet[1].get_from("own", "k").await.miss(), Some(MissReason::Absent));
    assert_eq!(fleet.redis.cli(&["KEYS", "*:v:*"]).await, crate::harness::Reply::List(Vec::new()));
    // Conditions are checked against the memory of this replica.
    let absent =
        |value| pb::SetRequest { condition: Some(Condition::IfAbsent(pb::IfAbsent {})), ..named("own", "k", value) };
    assert_eq!(fleet[0].store(absent("2")).await.unwrap().outcome(), SetOutcome::AlreadyPresent);
    assert_eq!(fleet[1].store(absent("2")).await.unwrap().outcome(), SetOutcome::Stored);
    let touch = pb::TouchRequest {
        namespace: "own".into(),
        key: "k".into(),
        expiry: Some(pb::touch_request::Expiry::Ttl(prost_types::Duration { seconds: 10, nanos: 0 })),
        ..Default::default()
    };
    let touched = fleet[0].client.clone().touch(touch).await.unwrap().into_inner();
    assert_eq!(touched.outcome(), pb::TouchOutcome::Touched);
    assert!(fleet[0].get_from("own", "k").await.ttl() <= Duration::from_secs(10));
    // An Invalidate still reaches the memory of every replica.
    let key = pb::InvalidateRequest { namespace: "own".into(), ..invalidate_key("k") };
    fleet[0].remove(key).await.unwrap();
    assert_eq!(fleet[0].get_from("own", "k").await.miss(), Some(MissReason::Absent));
    let gone = async || fleet[1].get_from("own", "k").await.miss() == Some(MissReason::Absent);
    eventually("the entry is gone at the other replica", gone).await;
    fleet[0].set_in("own", "k", "3").await;
    fleet[1].remove(whole_namespace("own")).await.unwrap();
    let gone = async || fleet[0].get_from("own", "k").await.miss() == Some(MissReason::Absent);
    eventually("the entry is gone with its namespace", gone).await;
    // A strong Get does not read the primary.
    let consistency = pb::Consistency::Strong.into();
    let strong = pb::GetRequest { namespace: "own".into(), key: "k".into(), consistency, ..Default::default() };
    assert_eq!(fleet[0].try_get(strong).await.unwrap().miss(), Some(MissReason::Disabled));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_without_l2_survive_an_outage_of_redis() {
    let mut redis = Redis::start().await;
    let replica = Replica::on(&redis, &[("cache.l2", "false")]).await;
    replica.set("k", "1").await;
    redis.kill9();
    eventually("the outage is noticed", async || replica.redis().await.state() == pb::RedisState::Unavailable).await;
    replica.set("other", "2").await;
    let answer = replica.get("k").await;
    assert!(answer.is("1") && !answer.degraded);
    assert!(replica.get("other").await.is("2"));
    assert_eq!(replica.remove(invalidate_key("k")).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_can_read_strongly_by_default() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[("namespaces.exact.consistency", "strong")]).await;
    replica.set_in("exact", "k", "1").await;
    assert_eq!(replica.get_from("exact", "k").await.tier(), pb::Tier::L2);
    let ask = async |consistency: pb::Consistency, max_staleness| {
        let request = pb::GetRequest {
            namespace: "exact".into(),
            key: "k".into(),
            consistency: consistency.into(),
            max_staleness,
            ..Default::default()
        };
        replica.try_get(request).await.unwrap().tier()
    };
    assert_eq!(ask(pb::Consistency::Bounded, None).await, pb::Tier::L1);
    let bound = Some(prost_types::Duration { seconds: 2, nanos: 0 });
    assert_eq!(ask(pb::Consistency::Unspecified, bound).await, pb::Tier::L1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_immutable_entry_is_visible_everywhere_without_a_message() {
    let fleet = Fleet::start(2, &[("namespaces.fixed.immutable", "true")]).await;
    let before = fleet[1].coherence().await.messages_applied;
    for n in 0..20 {
        let stored = fleet[0].set_in("fixed", &n.to_string(), "v").await;
        let tokens = vec![stored.token];
        let request = pb::GetRequest { namespace: "fixed".into(), key: n.to_string(), tokens, ..Default::default() };
        assert!(fleet[1].try_get(request).await.unwrap().is("v"));
    }
    assert_eq!(fleet[1].coherence().await.messages_applied, before);
    fleet[0].remove(whole_namespace("fixed")).await.unwrap();
    for n in 0..20 {
        let gone = async || fleet[1].get_from("fixed", &n.to_string()).await.miss().is_some();
        eventually("the entry is gone", gone).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_an_entry_up_to_its_limit() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[("namespaces.brief.l1_ttl", "200ms")]).await;
    replica.set_in("brief", "k", "v").await;
    let from_redis = async || {
        let answer = replica.get_from("brief", "k").await;
        assert!(answer.is("v") && answer.stale().is_none());
        assert!(answer.ttl() > Duration::from_secs(200), "the time to live is not shortened");
        answer.tier() == pb::Tier::L2
    };
    eventually("redis is read again", from_redis).await;
}
