//! Conditional Sets.

use tokio::task::JoinSet;
use twintier::pb;
use twintier::pb::SetOutcome;
use twintier::pb::set_request::Condition;

use crate::harness::{Answer as _, Fleet, Mode, Refusal as _, Replica, in_both_modes, set_request, whole_namespace};

in_both_modes! {
    if_absent_stores_only_what_is_not_there,
    if_present_stores_only_what_is_there,
    if_version_stores_only_over_that_version,
    a_negative_entry_is_present,
    what_a_namespace_invalidation_removed_is_absent,
    of_many_racing_for_an_absent_key_one_wins,
    of_many_racing_for_a_version_one_wins,
    a_version_that_no_response_gave_is_refused,
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

async fn if_absent_stores_only_what_is_not_there(mode: Mode) {
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

async fn if_present_stores_only_what_is_there(mode: Mode) {
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
    assert!(replica.strong("k").await.unwrap().is("2"));
    let elsewhere = replica.store(if_version("other", "1", &first.version)).await.unwrap();
    assert_eq!(elsewhere.outcome(), SetOutcome::VersionMismatch);
    assert_eq!(elsewhere.version, "");
    // The version that a Get shows is the one to name.
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

async fn what_a_namespace_invalidation_removed_is_absent(mode: Mode) {
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

/// How many of `requests`, sent at once over the replicas in turn, were stored.
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
    if !mode.is_alone() {
        replicas.push(mode.replica(&[]).await);
    }
    replicas
}

async fn of_many_racing_for_an_absent_key_one_wins(mode: Mode) {
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

async fn of_many_racing_for_a_version_one_wins(mode: Mode) {
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

async fn a_version_that_no_response_gave_is_refused(mode: Mode) {
    let replica = mode.replica(&[]).await;
    for bad in ["", "x", "1", "1-", "01-1", "-1-1", "99999999999999999999-1", "1-1 "] {
        let refusal = replica.store(if_version("k", "v", bad)).await.unwrap_err();
        refusal.names(&[("if_version", "version")]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_is_judged_by_redis_and_not_by_the_replicas_memory() {
    let fleet = Fleet::of(2, &[]).await;
    let first = fleet[0].set("k", "1").await;
    fleet[1].holds("k", "1").await;
    let second = fleet[0].set("k", "2").await;
    let refused = fleet[1].store(if_version("k", "3", &first.version)).await.unwrap();
    assert_eq!(refused.outcome(), SetOutcome::VersionMismatch);
    assert_eq!(refused.version, second.version);
    // The token of a refusal has seen what made it fail.
    assert!(fleet[1].get_with("k", &[&refused.token]).await.is("2"));
}
