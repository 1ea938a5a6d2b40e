//! Basic behaviour of Get, Set and Invalidate.

use std::time::Duration;

use tonic::Code;
use twintier::pb;

use crate::harness::{
    Answer as _, Fleet, Mode, Refusal as _, Replica, Seen, eventually, in_both_modes, invalidate_key, set_request,
    whole_namespace,
};

const ABSENT: Seen = Seen::Miss(pb::MissReason::Absent);
const DISABLED: Seen = Seen::Miss(pb::MissReason::Disabled);

in_both_modes! {
    a_get_after_a_set_is_answered_from_memory,
    a_later_set_replaces_an_earlier_one,
    an_empty_value_is_a_hit,
    a_value_comes_back_byte_for_byte,
    a_negative_entry_is_a_negative_hit,
    a_value_may_follow_a_negative_entry,
    a_metadata_only_get_omits_the_value,
    age_and_time_to_live_are_those_of_the_set,
    a_key_that_was_never_set_is_absent,
    an_invalidated_key_is_absent,
    invalidating_an_absent_key_removes_nothing,
    an_empty_namespace_means_default,
    a_key_has_separate_entries_in_two_namespaces,
    keys_with_unusual_characters_are_distinct,
    a_namespace_that_is_not_configured_is_unknown_when_strict,
    a_disabled_cache_stores_nothing_and_still_invalidates,
    one_namespace_can_be_disabled,
}

async fn a_get_after_a_set_is_answered_from_memory(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let set = replica
        .store(pb::SetRequest { content_type: "text/plain; charset=utf-8".into(), ..set_request("k", "v") })
        .await
        .unwrap();
    assert_eq!(set.outcome(), pb::SetOutcome::Stored);
    assert!(!set.version.is_empty() && !set.token.is_empty());

    let answer = replica.get("k").await;
    let Some(pb::get_response::Result::Hit(hit)) = &answer.result else { panic!("{answer:?}") };
    assert_eq!(hit.value, "v");
    assert_eq!(hit.content_type, "text/plain; charset=utf-8");
    assert_eq!(answer.entry().unwrap().version, set.version);
    assert_eq!(answer.stale(), None);
    assert!(!answer.token.is_empty());
    assert!(!answer.degraded);
    replica.wait_until_cached("k", "v").await;
}

async fn a_later_set_replaces_an_earlier_one(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let first = replica.set("k", "1").await;
    let second = replica.set("k", "2").await;
    assert_ne!(first.version, second.version);
    let answer = replica.get("k").await;
    assert!(answer.is("2"));
    assert_eq!(answer.entry().unwrap().version, second.version);
}

async fn an_empty_value_is_a_hit(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.set("k", "").await;
    assert_eq!(replica.get("k").await.seen(), Seen::Value(String::new()));
    assert_eq!(replica.get_strong("k").await.unwrap().seen(), Seen::Value(String::new()));
}

async fn a_value_comes_back_byte_for_byte(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(10_000).collect();
    let content = Some(pb::set_request::Content::Value(bytes.clone().into()));
    replica.store(pb::SetRequest { content, ..set_request("k", "") }).await.unwrap();
    for answer in [replica.get("k").await, replica.get_strong("k").await.unwrap()] {
        let Some(pb::get_response::Result::Hit(hit)) = answer.result else { panic!("{answer:?}") };
        assert_eq!(hit.value, bytes);
    }
}

fn known_absent(key: &str) -> pb::SetRequest {
    let content = Some(pb::set_request::Content::KnownAbsent(pb::KnownAbsent {}));
    pb::SetRequest { content, ..set_request(key, "") }
}

async fn a_negative_entry_is_a_negative_hit(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let set = replica.store(known_absent("k")).await.unwrap();
    for answer in [replica.get("k").await, replica.get_strong("k").await.unwrap()] {
        assert_eq!(answer.seen(), Seen::Negative);
        assert_eq!(answer.entry().unwrap().version, set.version);
        assert!(answer.ttl() > Duration::ZERO);
    }
}

async fn a_value_may_follow_a_negative_entry(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.store(known_absent("k")).await.unwrap();
    replica.set("k", "v").await;
    assert!(replica.get("k").await.is("v"));
    replica.store(known_absent("k")).await.unwrap();
    assert_eq!(replica.get("k").await.seen(), Seen::Negative);
}

async fn a_metadata_only_get_omits_the_value(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let set = replica.store(pb::SetRequest { content_type: "a/b".into(), ..set_request("k", "value") }).await.unwrap();
    let ask = pb::GetRequest { key: "k".into(), metadata_only: true, ..Default::default() };
    let answer = replica.try_get(ask).await.unwrap();
    let Some(pb::get_response::Result::Hit(hit)) = &answer.result else { panic!("{answer:?}") };
    assert_eq!((hit.value.len(), hit.content_type.as_str()), (0, "a/b"));
    assert_eq!(answer.entry().unwrap().version, set.version);
    assert!(answer.ttl() > Duration::ZERO);
}

async fn age_and_time_to_live_are_those_of_the_set(mode: Mode) {
    let replica = mode.replica(&[("cache.default_ttl", "1h")]).await;
    replica.set("k", "v").await;
    let hour = Duration::from_secs(3600);
    eventually("the entry grows older", async || {
        let answer = replica.get("k").await;
        let (age, ttl) = (answer.age(), answer.ttl());
        assert!(age < Duration::from_secs(20), "{age:?}");
        assert!(ttl <= hour && ttl > hour - Duration::from_secs(20), "{ttl:?}");
        let whole = age + ttl;
        assert!(whole.abs_diff(hour) < Duration::from_secs(1), "{whole:?}");
        age > Duration::from_millis(50)
    })
    .await;
    // Redis's clock may place the Set a little later.
    eventually("a read from Redis shows the age, too", async || {
        let strong = replica.get_strong("k").await.unwrap();
        assert!(strong.age() < Duration::from_secs(20), "{:?}", strong.age());
        assert!(strong.ttl() <= hour && strong.ttl() > hour - Duration::from_secs(20), "{:?}", strong.ttl());
        strong.age() > Duration::from_millis(50)
    })
    .await;
}

async fn a_key_that_was_never_set_is_absent(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let answer = replica.get("k").await;
    assert_eq!(answer.seen(), ABSENT);
    assert!(!answer.degraded);
    assert_eq!(replica.get_strong("k").await.unwrap().seen(), ABSENT);
}

async fn an_invalidated_key_is_absent(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.set("k", "v").await;
    let answer = replica.invalidate("k").await;
    assert_eq!(answer.removed, Some(1));
    assert!(!answer.token.is_empty());
    assert_eq!(replica.get("k").await.seen(), ABSENT);
    assert_eq!(replica.get_strong("k").await.unwrap().seen(), ABSENT);
    replica.set("k", "again").await;
    assert!(replica.get("k").await.is("again"));
}

async fn invalidating_an_absent_key_removes_nothing(mode: Mode) {
    let replica = mode.replica(&[]).await;
    assert_eq!(replica.invalidate("k").await.removed, Some(0));
}

async fn an_empty_namespace_means_default(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.set_in("", "k", "v").await;
    assert!(replica.get_from("default", "k").await.is("v"));
    replica.remove(pb::InvalidateRequest { namespace: "default".into(), ..invalidate_key("k") }).await.unwrap();
    assert_eq!(replica.get("k").await.seen(), ABSENT);
}

async fn a_key_has_separate_entries_in_two_namespaces(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.set_in("one", "k", "1").await;
    replica.set_in("two", "k", "2").await;
    assert!(replica.get_from("one", "k").await.is("1"));
    assert!(replica.get_from("two", "k").await.is("2"));
    assert_eq!(replica.get("k").await.seen(), ABSENT);
    replica.remove(pb::InvalidateRequest { namespace: "one".into(), ..invalidate_key("k") }).await.unwrap();
    assert_eq!(replica.get_from("one", "k").await.seen(), ABSENT);
    assert!(replica.get_from("two", "k").await.is("2"));
    replica.remove(whole_namespace("two")).await.unwrap();
    assert_eq!(replica.get_from("two", "k").await.seen(), ABSENT);
}

async fn keys_with_unusual_characters_are_distinct(mode: Mode) {
    const KEYS: [&str; 14] =
        ["*", "?", "[a]", "\\", "{", "}", "{0}", ":", "a:b", "\0", "\r\n", " ", "k\u{e9}", "twintier:{0}:c"];
    let replica = mode.replica(&[]).await;
    for key in KEYS {
        replica.set_in("n", key, key).await;
    }
    for key in KEYS {
        assert!(replica.get_from("n", key).await.is(key), "{key:?}");
    }
    replica.remove(pb::InvalidateRequest { namespace: "n".into(), ..invalidate_key("*") }).await.unwrap();
    for key in KEYS.into_iter().skip(1) {
        assert!(replica.get_from("n", key).await.is(key), "{key:?}");
    }
}

async fn a_namespace_that_is_not_configured_is_unknown_when_strict(mode: Mode) {
    let settings = [("cache.strict_namespaces", "true"), ("namespaces.known.enabled", "true")];
    let replica = mode.replica(&settings).await;
    replica.set_in("known", "k", "v").await;
    assert!(replica.get_from("known", "k").await.is("v"));
    let ask = pb::GetRequest { namespace: "other".into(), key: "k".into(), ..Default::default() };
    let refusals = [
        replica.try_get(ask).await.unwrap_err(),
        replica.store(pb::SetRequest { namespace: "other".into(), ..set_request("k", "v") }).await.unwrap_err(),
        replica.remove(whole_namespace("other")).await.unwrap_err(),
        // A request without a namespace means `default`, which is not configured here either.
        replica.store(set_request("k", "v")).await.unwrap_err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.code(), Code::NotFound);
        assert_eq!(refusal.reason(), "UNKNOWN_NAMESPACE");
    }
}

async fn a_disabled_cache_stores_nothing_and_still_invalidates(mode: Mode) {
    let off = mode.replica(&[("cache.enabled", "false")]).await;
    assert_eq!(off.store(set_request("k", "v")).await.unwrap().outcome(), pb::SetOutcome::Disabled);
    assert_eq!(off.get("k").await.seen(), DISABLED);
    assert!(!off.stats().await.replica.unwrap().cache_enabled);
    if mode.is_standalone() {
        assert_eq!(off.invalidate("k").await.removed, Some(0));
        return;
    }
    let on = mode.replica(&[]).await;
    on.set("k", "v").await;
    assert_eq!(off.get("k").await.seen(), DISABLED);
    assert_eq!(off.invalidate("k").await.removed, Some(1));
    on.assert_missing("k").await;
}

async fn one_namespace_can_be_disabled(mode: Mode) {
    let replica = mode.replica(&[("namespaces.off.enabled", "false")]).await;
    let request = pb::SetRequest { namespace: "off".into(), ..set_request("k", "v") };
    assert_eq!(replica.store(request).await.unwrap().outcome(), pb::SetOutcome::Disabled);
    assert_eq!(replica.get_from("off", "k").await.seen(), DISABLED);
    replica.set("k", "v").await;
    assert!(replica.get("k").await.is("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_answers_from_redis_first_and_then_from_memory() {
    let fleet = Fleet::start(2, &[]).await;
    let set = fleet[0].set("k", "v").await;
    let first = fleet[1].get("k").await;
    assert!(first.is("v"));
    assert_eq!(first.tier(), pb::Tier::L2);
    assert_eq!(first.entry().unwrap().version, set.version);
    fleet[1].wait_until_cached("k", "v").await;
    let second = fleet[1].get("k").await;
    assert_eq!(second.entry().unwrap().version, set.version);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standalone_replica_answers_strong_reads_itself() {
    let replica = Replica::start(&[]).await;
    let stats = replica.stats().await;
    assert!(stats.replica.unwrap().l1_only);
    assert_eq!(stats.redis.unwrap().state(), pb::RedisState::Disabled);
    replica.set("k", "v").await;
    assert_eq!(replica.get_strong("k").await.unwrap().tier(), pb::Tier::L1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_outlives_the_replica_that_set_it() {
    let mut fleet = Fleet::start(2, &[]).await;
    fleet[0].set("k", "v").await;
    assert!(fleet.replicas.remove(0).stop().await);
    assert!(fleet[0].get("k").await.is("v"));
    let later = Replica::on(&fleet.redis, &[]).await;
    assert!(later.get("k").await.is("v"));
}
