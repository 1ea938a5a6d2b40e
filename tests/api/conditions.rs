//! Conditional Sets.

use tokio::task::JoinSet;
use twintier::pb;
use twintier::pb::SetOutcome;
use twintier::pb::set_request::Condition;

use crate::harness::{Answer as _, Fleet, Mode, Refusal as _, Replica, in_both_modes, set_request, whole_namespace};

in_both_modes! {
    if_absent_stores_only_without_an_entry,
    if_present_stores_only_over_an_entry,
    if_version_stores_only_over_that_version,
    a_negative_entry_is_present,
    an_entry_counts_as_absent_after_a_namespace_invalidation,
    one_of_many_concurrent_sets_if_absent_wins,
    one_of_many_concurrent_sets_if_version_wins,
    a_forged_version_is_refused,
    an_older_version_of_the_source_is_refused,
    a_repeated_request_is_answered_as_the_first_time,
    a_lease_that_was_not_granted_is_void,
    a_get_shows_the_metadata_of_the_set,
    tags_and_request_ids_beyond_their_limits_are_refused,
}

fn if_absent(key: &str, value: &str) -> pb::SetRequest {
    pb::SetRequest { condition: Some(Condition::IfAbsent(pb::IfAbsent {})), ..set_request(key, value) }
}

fn if_present(key: &str, value: &str) -> pb::SetRequest {
    pb::SetRequest { condition: Some(Condition::IfPresent(pb::IfPresent {})), ..set_request(key, value) }
}

fn if_version(key: &str, value: &str, version: &str) -> pb::SetRequest {
    pb::SetRequest { condition: Some(Condition::IfVersion(version.into())), ..set_request(key, value) }
}

async fn if_absent_stores_only_without_an_entry(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let first = replica.store(if_absent("k", "1")).await.unwrap();
    assert_eq!(first.outcome(), SetOutcome::Stored);
    let second = replica.store(if_absent("k", "2")).await.unwrap();
    assert_eq!(second.outcome(), SetOutcome::AlreadyPresent);
    assert_eq!(second.version, first.version);
    assert!(!second.token.is_empty());
    assert!(replica.get("k").await.is("1"));
    replica.invalidate("k").await;
    assert_eq!(replica.store(if_absent("k", "3")).await.unwrap().outcome(), SetOutcome::Stored);
    assert!(replica.get("k").await.is("3"));
}

async fn if_present_stores_only_over_an_entry(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let refused = replica.store(if_present("k", "1")).await.unwrap();
    assert_eq!(refused.outcome(), SetOutcome::NotPresent);
    assert_eq!(refused.version, "");
    assert!(replica.get("k").await.miss().is_some());
    let first = replica.set("k", "1").await;
    let second = replica.store(if_present("k", "2")).await.unwrap();
    assert_eq!(second.outcome(), SetOutcome::Stored);
    assert_ne!(second.version, first.version);
    assert!(replica.get("k").await.is("2"));
}

async fn if_version_stores_only_over_that_version(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let first = replica.set("k", "1").await;
    let second = replica.store(if_version("k", "2", &first.version)).await.unwrap();
    assert_eq!(second.outcome(), SetOutcome::Stored);
    let late = replica.store(if_version("k", "late", &first.version)).await.unwrap();
    assert_eq!(late.outcome(), SetOutcome::VersionMismatch);
    assert_eq!(late.version, second.version);
    assert!(replica.get("k").await.is("2"));
    assert!(replica.get_strong("k").await.unwrap().is("2"));
    let elsewhere = replica.store(if_version("other", "1", &first.version)).await.unwrap();
    assert_eq!(elsewhere.outcome(), SetOutcome::VersionMismatch);
    assert_eq!(elsewhere.version, "");
    // The version of a Get is valid in a condition.
    let shown = replica.get("k").await.entry().unwrap().version.clone();
    assert_eq!(replica.store(if_version("k", "3", &shown)).await.unwrap().outcome(), SetOutcome::Stored);
}

async fn a_negative_entry_is_present(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let content = Some(pb::set_request::Content::KnownAbsent(pb::KnownAbsent {}));
    let negative = replica.store(pb::SetRequest { content, ..set_request("k", "") }).await.unwrap();
    let refused = replica.store(if_absent("k", "v")).await.unwrap();
    assert_eq!(refused.outcome(), SetOutcome::AlreadyPresent);
    assert_eq!(refused.version, negative.version);
    assert_eq!(replica.store(if_present("k", "v")).await.unwrap().outcome(), SetOutcome::Stored);
}

async fn an_entry_counts_as_absent_after_a_namespace_invalidation(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let first = replica.set("k", "1").await;
    replica.remove(whole_namespace("")).await.unwrap();
    let present = replica.store(if_present("k", "2")).await.unwrap();
    assert_eq!((present.outcome(), present.version.as_str()), (SetOutcome::NotPresent, ""));
    let version = replica.store(if_version("k", "2", &first.version)).await.unwrap();
    assert_eq!((version.outcome(), version.version.as_str()), (SetOutcome::VersionMismatch, ""));
    assert_eq!(replica.store(if_absent("k", "2")).await.unwrap().outcome(), SetOutcome::Stored);
    assert!(replica.get("k").await.is("2"));
}

/// Sends `requests` concurrently, over the replicas in turn. Returns the responses.
async fn race(replicas: &[Replica], requests: Vec<pb::SetRequest>) -> Vec<pb::SetResponse> {
    let mut racing = JoinSet::new();
    for (index, request) in requests.into_iter().enumerate() {
        let mut client = replicas[index % replicas.len()].client.clone();
        racing.spawn(async move { client.set(request).await.unwrap().into_inner() });
    }
    racing.join_all().await
}

async fn contenders(mode: &Mode) -> Vec<Replica> {
    let mut replicas = vec![mode.replica(&[]).await];
    if !mode.is_standalone() {
        replicas.push(mode.replica(&[]).await);
    }
    replicas
}

async fn one_of_many_concurrent_sets_if_absent_wins(mode: Mode) {
    let replicas = contenders(&mode).await;
    let requests = (0..50).map(|n| if_absent("k", &n.to_string())).collect();
    let responses = race(&replicas, requests).await;
    let (stored, refused): (Vec<_>, Vec<_>) =
        responses.into_iter().partition(|response| response.outcome() == SetOutcome::Stored);
    assert_eq!(stored.len(), 1);
    for response in refused {
        assert_eq!(response.outcome(), SetOutcome::AlreadyPresent);
        assert_eq!(response.version, stored[0].version);
    }
    for replica in &replicas {
        assert_eq!(replica.get("k").await.entry().unwrap().version, stored[0].version);
    }
}

async fn one_of_many_concurrent_sets_if_version_wins(mode: Mode) {
    let replicas = contenders(&mode).await;
    let mut version = replicas[0].set("k", "0").await.version;
    for round in 0..5 {
        let requests = (0..20).map(|n| if_version("k", &format!("{round}-{n}"), &version)).collect();
        let responses = race(&replicas, requests).await;
        let stored: Vec<_> = responses.iter().filter(|response| response.outcome() == SetOutcome::Stored).collect();
        assert_eq!(stored.len(), 1);
        version.clone_from(&stored[0].version);
    }
}

async fn a_forged_version_is_refused(mode: Mode) {
    let replica = mode.replica(&[]).await;
    for bad in ["", "x", "1", "1-", "01-1", "-1-1", "99999999999999999999-1", "1-1 "] {
        let refusal = replica.store(if_version("k", "v", bad)).await.unwrap_err();
        refusal.assert_violations(&[("if_version", "version")]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_is_checked_in_redis_and_not_in_memory() {
    let fleet = Fleet::start(2, &[]).await;
    let first = fleet[0].set("k", "1").await;
    fleet[1].wait_until_cached("k", "1").await;
    let second = fleet[0].set("k", "2").await;
    let refused = fleet[1].store(if_version("k", "3", &first.version)).await.unwrap();
    assert_eq!(refused.outcome(), SetOutcome::VersionMismatch);
    assert_eq!(refused.version, second.version);
    // The token of a refusal covers the change that caused it.
    assert!(fleet[1].get_with("k", &[&refused.token]).await.is("2"));
}

fn of_source(key: &str, value: &str, source: u64) -> pb::SetRequest {
    pb::SetRequest { source_version: Some(source), ..set_request(key, value) }
}

async fn an_older_version_of_the_source_is_refused(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let outcome = async |value, source| replica.store(of_source("k", value, source)).await.unwrap().outcome();
    assert_eq!(outcome("7", 7).await, SetOutcome::Stored);
    assert_eq!(outcome("6", 6).await, SetOutcome::SourceVersionOlder);
    assert!(replica.get("k").await.is("7"));
    assert_eq!(outcome("7 again", 7).await, SetOutcome::Stored);
    replica.invalidate("k").await;
    assert_eq!(outcome("6", 6).await, SetOutcome::SourceVersionOlder);
    assert!(replica.get("k").await.miss().is_some());
    assert_eq!(outcome("8", 8).await, SetOutcome::Stored);
    let counts = replica.counts("default").await;
    assert_eq!((counts.sets_void, counts.sets_condition_failed), (2, 2));
}

async fn a_repeated_request_is_answered_as_the_first_time(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let request = |id: &str, request| pb::SetRequest { request_id: id.into(), ..request };
    let first = replica.store(request("a", if_absent("k", "1"))).await.unwrap();
    let again = replica.store(request("a", if_absent("k", "1"))).await.unwrap();
    assert_eq!((again.outcome(), &again.version), (SetOutcome::Stored, &first.version));
    replica.set("k", "2").await;
    let late = replica.store(request("a", if_absent("k", "1"))).await.unwrap();
    assert_eq!((late.outcome(), &late.version), (SetOutcome::Stored, &first.version));
    assert!(replica.get("k").await.is("2"), "the repetition changes nothing");
    assert!(replica.get_strong("k").await.unwrap().is("2"));
    assert_eq!(replica.store(request("b", if_absent("k", "3"))).await.unwrap().outcome(), SetOutcome::AlreadyPresent);
    replica.invalidate("k").await;
    assert_eq!(replica.store(request("b", if_absent("k", "3"))).await.unwrap().outcome(), SetOutcome::AlreadyPresent);
    assert_eq!(replica.store(request("c", if_absent("k", "3"))).await.unwrap().outcome(), SetOutcome::Stored);
}

async fn a_lease_that_was_not_granted_is_void(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let with =
        |lease: &str| pb::SetRequest { condition: Some(Condition::Lease(lease.into())), ..set_request("k", "v") };
    let void = replica.store(with(&"0f".repeat(16))).await.unwrap();
    assert_eq!((void.outcome(), void.version.as_str()), (SetOutcome::LeaseVoid, ""));
    replica.store(with("mine")).await.unwrap_err().assert_violations(&[("lease", "a lease id from a response")]);
    assert!(replica.get("k").await.miss().is_some());
}

async fn a_get_shows_the_metadata_of_the_set(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let tags = ["user:42", "goals", "user:42"].map(str::to_owned).to_vec();
    replica.store(pb::SetRequest { tags, ..of_source("k", "v", u64::MAX) }).await.unwrap();
    let mut request = pb::GetRequest { key: "k".into(), ..Default::default() };
    for consistency in [pb::Consistency::Bounded, pb::Consistency::Strong] {
        request = pb::GetRequest { consistency: consistency.into(), metadata_only: false, ..request };
        let answer = replica.try_get(request.clone()).await.unwrap();
        assert_eq!(answer.entry().unwrap().source_version, Some(u64::MAX));
        assert!(answer.entry().unwrap().tags.is_empty());
        request.metadata_only = true;
        let answer = replica.try_get(request.clone()).await.unwrap();
        assert_eq!(answer.entry().unwrap().tags, ["user:42", "goals"]);
    }
}

async fn tags_and_request_ids_beyond_their_limits_are_refused(mode: Mode) {
    let replica = mode.replica(&[("limits.tags", "2"), ("limits.tag_size", "5B")]).await;
    let refused = async |request| replica.store(request).await.unwrap_err();
    let tagged = |tags: &[&str]| pb::SetRequest {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..set_request("k", "v")
    };
    refused(tagged(&["a", "b", "c"])).await.assert_violations(&[("tags", "at most 2 tags; was 3 tags")]);
    refused(tagged(&["", "abcdef"]))
        .await
        .assert_violations(&[("tags[0]", "not be empty"), ("tags[1]", "at most 5 bytes")]);
    let request = |id: String| pb::SetRequest { request_id: id, ..set_request("k", "v") };
    refused(request("x".repeat(65))).await.assert_violations(&[("request_id", "at most 64 bytes")]);
    assert_eq!(replica.store(request("x".repeat(64))).await.unwrap().outcome(), SetOutcome::Stored);
}
