//! Refused requests, and their error texts.

use tonic::Code;
use tonic_types::StatusExt as _;
use twintier::pb;
use twintier::pb::invalidate_request::Selector;
use twintier::pb::set_request::{Condition, Content, Expiry};

use crate::harness::{
    Answer as _, Mode, Refusal as _, Replica, in_both_modes, invalidate_key, set_request, whole_namespace,
};

in_both_modes! {
    every_broken_rule_of_a_get_is_reported,
    every_broken_rule_of_a_set_is_reported,
    every_broken_rule_of_an_invalidate_is_reported,
    a_refused_request_changes_nothing,
    keys_end_at_their_limit,
    values_end_at_their_limit,
    values_far_beyond_their_limit_are_refused_with_the_documented_error,
    tokens_within_their_limits_are_accepted_regardless_of_other_limits,
    content_types_end_at_their_limit,
    invalid_namespace_names_are_refused,
    the_number_of_keys_ends_at_its_limit,
    the_number_of_namespaces_ends_at_its_limit,
    stats_of_an_invalid_namespace_are_refused,
}

async fn every_broken_rule_of_a_get_is_reported(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let request = pb::GetRequest {
        namespace: "No!".into(),
        key: String::new(),
        consistency: 9,
        max_staleness: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
        tokens: vec!["x".into()],
        metadata_only: false,
        ..Default::default()
    };
    replica.try_get(request).await.unwrap_err().assert_violations(&[
        ("namespace", "[a-z0-9._-]"),
        ("key", "empty"),
        ("max_staleness", "negative"),
        ("consistency", "was 9"),
        ("tokens[0]", "token"),
    ]);
}

async fn every_broken_rule_of_a_set_is_reported(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let request = pb::SetRequest {
        namespace: String::new(),
        key: String::new(),
        content: None,
        content_type: "\u{e9}".into(),
        expiry: Some(Expiry::Ttl(prost_types::Duration { seconds: 0, nanos: 0 })),
        condition: Some(Condition::IfVersion("x".into())),
        tokens: vec!["x".into()],
        barrier: 9,
        ..Default::default()
    };
    replica.store(request).await.unwrap_err().assert_violations(&[
        ("key", "empty"),
        ("content_type", "printable ASCII"),
        ("content", "value or known_absent"),
        ("if_version", "was \"x\""),
        ("ttl", "at least 1ms"),
        ("tokens[0]", "token"),
        ("barrier", "was 9"),
    ]);
    let content = Some(Content::KnownAbsent(pb::KnownAbsent {}));
    let request = pb::SetRequest { content, content_type: "a/b".into(), ..set_request("k", "") };
    replica.store(request).await.unwrap_err().assert_violations(&[("content_type", "empty with known_absent")]);
    let request = pb::SetRequest { namespace: "-".into(), ..set_request("", "v") };
    replica.store(request).await.unwrap_err().assert_violations(&[("namespace", "was \"-\""), ("key", "empty")]);
}

async fn every_broken_rule_of_an_invalidate_is_reported(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let request =
        pb::InvalidateRequest { namespace: "No!".into(), tokens: vec!["x".into()], barrier: 7, ..Default::default() };
    replica.remove(request).await.unwrap_err().assert_violations(&[
        ("tokens[0]", "token"),
        ("barrier", "was 7"),
        ("namespace", "[a-z0-9._-]"),
        ("selector", "key, keys, whole_namespace"),
    ]);
    replica.remove(invalidate_key("")).await.unwrap_err().assert_violations(&[("key", "empty")]);
    let request = keys(vec!["a".into(), String::new(), "b".into(), "x".repeat(1025)]);
    replica
        .remove(request)
        .await
        .unwrap_err()
        .assert_violations(&[("keys.keys[1]", "empty"), ("keys.keys[3]", "1024 bytes")]);
}

fn keys(keys: Vec<String>) -> pb::InvalidateRequest {
    pb::InvalidateRequest { selector: Some(Selector::Keys(pb::Keys { keys })), ..Default::default() }
}

async fn a_refused_request_changes_nothing(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.set("k", "v").await;
    let tokens = vec!["x".to_owned()];
    replica.store(pb::SetRequest { tokens: tokens.clone(), ..set_request("k", "new") }).await.unwrap_err();
    replica.remove(pb::InvalidateRequest { tokens, ..whole_namespace("") }).await.unwrap_err();
    replica.remove(keys(vec!["k".into(), String::new()])).await.unwrap_err();
    assert!(replica.get("k").await.is("v"));
    assert!(replica.get_strong("k").await.unwrap().is("v"));
}

async fn keys_end_at_their_limit(mode: Mode) {
    let replica = mode.replica(&[("limits.key_size", "64")]).await;
    // 64 bytes in 32 characters.
    let longest = "\u{e9}".repeat(32);
    replica.set(&longest, "v").await;
    assert!(replica.get(&longest).await.is("v"));
    assert_eq!(replica.invalidate(&longest).await.removed, Some(1));
    let longer = format!("{longest}x");
    let expected = [("key", "at most 64 bytes; was 65 bytes")];
    replica
        .try_get(pb::GetRequest { key: longer.clone(), ..Default::default() })
        .await
        .unwrap_err()
        .assert_violations(&expected);
    replica.store(set_request(&longer, "v")).await.unwrap_err().assert_violations(&expected);
    replica.remove(invalidate_key(&longer)).await.unwrap_err().assert_violations(&expected);
}

async fn values_end_at_their_limit(mode: Mode) {
    const LIMIT: usize = 64 * 1024;
    let replica = mode.replica(&[("limits.value_size", "64KiB")]).await;
    for size in [LIMIT - 1, LIMIT] {
        let value = "x".repeat(size);
        replica.set("k", &value).await;
        assert!(replica.get("k").await.is(&value));
        assert!(replica.get_strong("k").await.unwrap().is(&value));
    }
    let refusal = replica.store(set_request("k", &"x".repeat(LIMIT + 1))).await.unwrap_err();
    refusal.assert_violations(&[("value", "at most 65536 bytes; was 65537 bytes")]);
    assert!(replica.get("k").await.is(&"x".repeat(LIMIT)));
}

async fn values_far_beyond_their_limit_are_refused_with_the_documented_error(mode: Mode) {
    let replica = mode.replica(&[("limits.value_size", "64KiB")]).await;
    let refusal = replica.store(set_request("k", &"x".repeat(100 * 64 * 1024))).await.unwrap_err();
    assert!(matches!(refusal.code(), Code::InvalidArgument | Code::ResourceExhausted), "{refusal:?}");
    refusal.reason();
    replica.set("k", "v").await;
}

async fn tokens_within_their_limits_are_accepted_regardless_of_other_limits(mode: Mode) {
    let limits = [("coherence.partitions", "1024"), ("limits.value_size", "1KiB"), ("limits.keys", "10")];
    // A thousand steps take time on a loaded machine.
    let patience = [("redis.write_timeout", "10s"), ("redis.unresponsive_after", "10s")];
    let settings: Vec<_> = limits.into_iter().chain(patience.into_iter().filter(|_| !mode.is_standalone())).collect();
    let replica = mode.replica(&settings).await;
    // The largest token that the service issues: a position in each partition.
    let token = replica.remove(whole_namespace("")).await.unwrap().token;
    let tokens = vec![token; 16];
    let get = pb::GetRequest { key: "k".into(), tokens, ..Default::default() };
    assert_eq!(replica.try_get(get).await.unwrap().miss(), Some(pb::MissReason::Absent));
}

async fn content_types_end_at_their_limit(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let typed = |content_type: &str| pb::SetRequest { content_type: content_type.into(), ..set_request("k", "v") };
    let longest = "x".repeat(255);
    replica.store(typed(&longest)).await.unwrap();
    for answer in [replica.get("k").await, replica.get_strong("k").await.unwrap()] {
        let Some(pb::get_response::Result::Hit(hit)) = answer.result else { panic!("{answer:?}") };
        assert_eq!(hit.content_type, longest);
    }
    let longer = replica.store(typed(&"x".repeat(256))).await.unwrap_err();
    longer.assert_violations(&[("content_type", "at most 255 bytes; was 256 bytes")]);
    for odd in ["a\nb", "a\0b", "\u{e9}", "\u{7f}"] {
        replica.store(typed(odd)).await.unwrap_err().assert_violations(&[("content_type", "printable ASCII")]);
    }
}

async fn invalid_namespace_names_are_refused(mode: Mode) {
    let replica = mode.replica(&[]).await;
    for good in ["a", "0", "user.profiles", "a-b_c.9", &"x".repeat(64)] {
        replica.set_in(good, "k", "v").await;
        assert!(replica.get_from(good, "k").await.is("v"));
    }
    let long = "x".repeat(65);
    let get = pb::GetRequest { namespace: long, key: "k".into(), ..Default::default() };
    replica.try_get(get).await.unwrap_err().assert_violations(&[("namespace", "at most 64 bytes; was 65 bytes")]);
    for bad in ["-a", "a-", ".a", "A", "a b", "a:b", "a{b}", "a*", "\u{e9}", "\0"] {
        let get = pb::GetRequest { namespace: bad.into(), key: "k".into(), ..Default::default() };
        replica.try_get(get).await.unwrap_err().assert_violations(&[("namespace", "[a-z0-9._-]")]);
        replica.remove(whole_namespace(bad)).await.unwrap_err().assert_violations(&[("namespace", "[a-z0-9._-]")]);
    }
}

async fn the_number_of_keys_ends_at_its_limit(mode: Mode) {
    let replica = mode.replica(&[("limits.keys", "10")]).await;
    let names = |count| (0..count).map(|n: u32| n.to_string()).collect();
    assert_eq!(replica.remove(keys(names(10))).await.unwrap().removed, Some(0));
    replica
        .remove(keys(names(11)))
        .await
        .unwrap_err()
        .assert_violations(&[("keys.keys", "at most 10 keys; was 11 keys")]);
    replica.remove(keys(names(0))).await.unwrap_err().assert_violations(&[("keys.keys", "at least one key")]);
}

async fn the_number_of_namespaces_ends_at_its_limit(mode: Mode) {
    let replica = mode.replica(&[("limits.namespaces", "3")]).await;
    for namespace in ["a", "b", "c"] {
        replica.set_in(namespace, "k", "v").await;
    }
    let refusal = replica.store(pb::SetRequest { namespace: "d".into(), ..set_request("k", "v") }).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    assert_eq!(refusal.reason(), "LIMIT_REACHED");
    assert_eq!(refusal.get_error_details().error_info().unwrap().metadata["limit"], "namespaces");
    // A retry cannot succeed.
    assert_eq!(refusal.retry_delay(), None);
    assert!(replica.get_from("c", "k").await.is("v"));
}

async fn stats_of_an_invalid_namespace_are_refused(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let refusal = replica
        .client
        .clone()
        .stats(pb::StatsRequest { namespace: "No!".into(), ..Default::default() })
        .await
        .unwrap_err();
    refusal.assert_violations(&[("namespace", "[a-z0-9._-]")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_value_that_is_allowed_is_kept_in_memory() {
    let redis = crate::harness::Redis::start().await;
    let settings = [("l1.size", "1MiB"), ("limits.value_size", "128KiB")];
    let replica = Replica::on(&redis, &settings).await;
    let value = "x".repeat(128 * 1024);
    replica.set("k", &value).await;
    replica.wait_until_cached("k", &value).await;
    assert_eq!(replica.stats().await.l1.unwrap().rejected, 0);
}
