//! Invalidation in several namespaces, or in all, in one call.

use tonic_types::StatusExt;

use super::*;
use crate::harness::{WatchEvent, Watcher, with_short_heartbeats};

in_both_modes! {
    a_selector_applies_in_each_namespace_of_a_list,
    all_namespaces_are_those_configured_and_those_in_use,
    violations_of_several_namespaces_are_named,
    the_other_namespaces_are_invalidated_when_one_fails,
}

fn in_list(names: &[&str], request: pb::InvalidateRequest) -> pb::InvalidateRequest {
    pb::InvalidateRequest { namespaces: names.iter().map(|name| (*name).to_owned()).collect(), ..request }
}

fn in_all(request: pb::InvalidateRequest) -> pb::InvalidateRequest {
    pb::InvalidateRequest { all_namespaces: true, ..request }
}

fn key(name: &str) -> pb::InvalidateRequest {
    select(Selector::Key(name.to_owned()))
}

fn keys(names: &[&str]) -> pb::InvalidateRequest {
    select(Selector::Keys(pb::Keys { keys: names.iter().map(|name| (*name).to_owned()).collect() }))
}

/// Sets `user:7` with the tag `user:7`, and another entry without a tag.
async fn store(replica: &Replica, namespace: &str) {
    let request =
        pb::SetRequest { namespace: namespace.into(), tags: vec!["user:7".into()], ..set_request("user:7", "v") };
    assert_eq!(replica.store(request).await.unwrap().outcome(), pb::SetOutcome::Stored);
    replica.set_in(namespace, "other", "v").await;
}

async fn has(replica: &Replica, namespace: &str, key: &str) -> bool {
    replica.get_from(namespace, key).await.miss().is_none()
}

async fn assert_missing_in(replica: &Replica, namespace: &str) {
    eventually("the entry is gone", async || !has(replica, namespace, "user:7").await).await;
}

fn listed(answer: &pb::InvalidateResponse) -> Vec<&str> {
    answer.namespaces.iter().map(|done| done.namespace.as_str()).collect()
}

async fn a_selector_applies_in_each_namespace_of_a_list(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let requests = [prefix("user:7"), pattern("user:?"), tags(&["user:7"]), whole_namespace("")];
    for request in requests {
        for namespace in ["a", "b", "c"] {
            store(&replica, namespace).await;
        }
        let is_whole = matches!(request.selector, Some(Selector::WholeNamespace(_)));
        let answer = replica.remove(in_list(&["b", "a", "b"], request.clone())).await.unwrap();
        assert_eq!((answer.removed, listed(&answer)), (None, vec!["a", "b"]), "{request:?}");
        for namespace in ["a", "b"] {
            assert!(!has(&replica, namespace, "user:7").await, "{namespace}: {request:?}");
            assert_eq!(has(&replica, namespace, "other").await, !is_whole, "{namespace}: {request:?}");
        }
        assert!(has(&replica, "c", "user:7").await, "{request:?}");
    }
    store(&replica, "a").await;
    let answer = replica.remove(in_list(&["a", "b"], keys(&["user:7", "other", "user:7"]))).await.unwrap();
    let counts: Vec<_> = answer.namespaces.iter().map(|done| (done.namespace.as_str(), done.removed)).collect();
    assert_eq!((answer.removed, counts), (Some(2), vec![("a", Some(2)), ("b", Some(0))]));
    let seen = pb::GetRequest {
        namespace: "a".into(),
        key: "user:7".into(),
        tokens: vec![answer.token],
        ..Default::default()
    };
    assert_eq!(replica.try_get(seen).await.unwrap().miss(), Some(pb::MissReason::Absent));
    assert_eq!(replica.counts("a").await.invalidations, 5);
    assert_eq!(replica.counts("c").await.invalidations, 0);
}

async fn all_namespaces_are_those_configured_and_those_in_use(mode: Mode) {
    let replica = mode.replica(&[("namespaces.known.stale_window", "1h")]).await;
    for namespace in ["used", "known", "default"] {
        store(&replica, namespace).await;
    }
    let stale = pb::InvalidateRequest { mode: pb::Mode::MarkStale.into(), ..in_all(tags(&["user:7"])) };
    let answer = replica.remove(stale).await.unwrap();
    assert_eq!(listed(&answer), ["default", "known", "used"]);
    for namespace in ["used", "known", "default"] {
        assert!(!has(&replica, namespace, "user:7").await && has(&replica, namespace, "other").await, "{namespace}");
    }
    let answer = replica.remove(in_all(key("other"))).await.unwrap();
    assert_eq!(answer.removed, Some(3));
}

async fn violations_of_several_namespaces_are_named(mode: Mode) {
    let replica = mode.replica(&[("limits.namespaces", "4"), ("limits.keys", "3")]).await;
    let refused = async |request: pb::InvalidateRequest| replica.remove(request).await.unwrap_err();
    let tag = || tags(&["user:7"]);
    refused(in_list(&["a", "b", "c", "d", "e"], tag()))
        .await
        .assert_violations(&[("namespaces", "must be at most 4 namespaces; was 5 namespaces")]);
    refused(in_list(&["a", "No!", ""], tag()))
        .await
        .assert_violations(&[("namespaces[1]", "was \"No!\""), ("namespaces[2]", "must not be empty")]);
    let named = |request| pb::InvalidateRequest { namespace: "a".into(), ..request };
    refused(named(in_list(&["b"], tag())))
        .await
        .assert_violations(&[("namespace", "must be empty with namespaces; was \"a\"")]);
    refused(named(in_all(tag())))
        .await
        .assert_violations(&[("namespace", "must be empty with all_namespaces; was \"a\"")]);
    refused(in_list(&["b"], in_all(tag())))
        .await
        .assert_violations(&[("namespaces", "must be empty with all_namespaces")]);
    let event = || select(Selector::Event(pb::Event { name: "logout".into(), ..Default::default() }));
    refused(in_all(event()))
        .await
        .assert_violations(&[("all_namespaces", "must be false with event"), ("event.name", "logout")]);
    refused(in_list(&["b"], event()))
        .await
        .assert_violations(&[("namespaces", "must be empty with event; was 1 namespaces"), ("event.name", "logout")]);
    let versioned = pb::InvalidateRequest { source_version: Some(1), ..in_list(&["a"], key("k")) };
    refused(versioned).await.assert_violations(&[("source_version", "must be absent with namespaces")]);
    refused(in_list(&["a", "b"], keys(&["1", "2"])))
        .await
        .assert_violations(&[("keys.keys", "must be at most 3 keys over all namespaces; was 2 in 2 namespaces")]);
    refused(in_list(&["a", "b", "c", "d"], key("k"))).await.assert_violations(&[("key", "was 1 in 4 namespaces")]);
    refused(in_list(&["a"], tags(&[]))).await.assert_violations(&[("tags.tags", "at least one tag")]);
    refused(in_all(prefix(""))).await.assert_violations(&[("prefix", "1 to 16 segments")]);
    // A refused request registers no namespace.
    assert_eq!(listed(&replica.remove(in_all(tag())).await.unwrap()), ["default"]);
    replica.remove(in_list(&["a", "b", "c", "d"], tag())).await.unwrap();
    let full = refused(in_list(&["e"], tag())).await;
    assert_eq!((full.code(), full.reason().as_str()), (Code::ResourceExhausted, "LIMIT_REACHED"));
    assert!(full.message().contains("namespaces limit of 4 reached"), "{full:?}");
}

async fn the_other_namespaces_are_invalidated_when_one_fails(mode: Mode) {
    // The Set uses the whole rate for a long time.
    let replica = mode.replica(&[("namespaces.slow.max_requests_per_second", "0.001")]).await;
    let tagged = |namespace: &str| pb::SetRequest {
        namespace: namespace.into(),
        tags: vec!["user:7".into()],
        ..set_request("user:7", "v")
    };
    for namespace in ["slow", "a", "b"] {
        replica.store(tagged(namespace)).await.unwrap();
    }
    for request in [in_list(&["a", "slow", "b"], tags(&["user:7"])), in_all(tags(&["user:7"]))] {
        let failed = replica.remove(request).await.unwrap_err();
        assert_eq!((failed.code(), failed.reason().as_str()), (Code::ResourceExhausted, "LIMIT_REACHED"));
        assert!(failed.retry_delay().is_some(), "{failed:?}");
        let details = failed.get_error_details();
        let metadata = &details.error_info().unwrap().metadata;
        assert_eq!((&*metadata["failed_namespaces"], &*metadata["limit"]), ("slow", "max_requests_per_second"));
        assert!(!metadata.contains_key("outcome_unknown_for_ms"), "{metadata:?}");
        assert!(failed.message().contains("namespaces: slow"), "{failed:?}");
        assert!(!has(&replica, "a", "user:7").await && !has(&replica, "b", "user:7").await);
        assert!(replica.counts("slow").await.throttled > 0);
        replica.store(tagged("a")).await.unwrap();
    }
}

/// Asserts that entries in the memory of two replicas are gone in both. The second replica has not
/// used some of the namespaces.
async fn assert_all_gone_everywhere(fleet: &[Replica; 2]) {
    for (round, request) in [
        in_list(&["a", "b", "never-used"], tags(&["user:7"])),
        in_list(&["a", "b"], prefix("user")),
        in_all(tags(&["user:7"])),
        in_all(prefix("user:7")),
    ]
    .into_iter()
    .enumerate()
    {
        for namespace in ["a", "b"] {
            store(&fleet[0], namespace).await;
            for replica in fleet {
                eventually("memory holds the entry", async || {
                    let answer = replica.get_from(namespace, "user:7").await;
                    answer.is("v") && answer.tier() == pb::Tier::L1
                })
                .await;
            }
        }
        let unseen = format!("unseen{round}");
        store(&fleet[0], &unseen).await;
        let barrier = if round % 2 == 0 { pb::Barrier::Fleet } else { pb::Barrier::None };
        let answer =
            fleet[1].remove(pb::InvalidateRequest { barrier: barrier.into(), ..request.clone() }).await.unwrap();
        assert!(!answer.token.is_empty());
        for replica in fleet {
            for namespace in ["a", "b"] {
                if round % 2 == 1 {
                    assert_missing_in(replica, namespace).await;
                }
                assert!(!has(replica, namespace, "user:7").await, "{namespace}: {request:?}");
            }
        }
        if request.all_namespaces {
            assert_missing_in(&fleet[0], &unseen).await;
            assert!(!has(&fleet[1], &unseen, "user:7").await && has(&fleet[1], &unseen, "other").await, "{request:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_namespaces_are_invalidated_on_every_replica() {
    let redis = Redis::start().await;
    assert_all_gone_everywhere(&two(&redis.url()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_namespaces_are_invalidated_on_every_replica_in_a_cluster() {
    let cluster = Cluster::start(&[]).await;
    assert_all_gone_everywhere(&two(&cluster.url()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_knows_all_namespaces_used_before() {
    let redis = Redis::start().await;
    let one = Replica::on(&redis, &[]).await;
    store(&one, "of-before").await;
    one.stop().await;
    let two = Replica::on(&redis, &[]).await;
    let answer = two.remove(in_all(tags(&["user:7"]))).await.unwrap();
    assert_eq!(listed(&answer), ["default", "of-before"]);
    assert!(!has(&two, "of-before", "user:7").await && has(&two, "of-before", "other").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_in_a_namespace_without_entries_is_void_after_all_namespaces() {
    let redis = Redis::start().await;
    let fleet = two(&redis.url()).await;
    let lease = Some(pb::LeaseOptions::default());
    let get = pb::GetRequest { namespace: "leased".into(), key: "user:7".into(), lease, ..Default::default() };
    let lease = fleet[0].try_get(get).await.unwrap().lease.expect("granted").id;
    let answer = fleet[1].remove(in_all(prefix("user:7"))).await.unwrap();
    assert_eq!(listed(&answer), ["default", "leased"]);
    let condition = Some(pb::set_request::Condition::Lease(lease));
    let late = pb::SetRequest { namespace: "leased".into(), condition, ..set_request("user:7", "old") };
    assert_eq!(fleet[0].store(late).await.unwrap().outcome(), pb::SetOutcome::LeaseVoid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_disabled_on_this_replica_is_still_invalidated() {
    let redis = Redis::start().await;
    let one = Replica::on(&redis, &[]).await;
    let off =
        [("namespaces.off.enabled", "false"), ("namespaces.no-memory.l1", "false"), ("namespaces.no-l2.l2", "false")];
    let two = Replica::on(&redis, &off).await;
    let names = ["off", "no-memory", "no-l2"];
    for request in [in_list(&names, tags(&["user:7"])), in_all(tags(&["user:7"]))] {
        for namespace in names {
            store(&one, namespace).await;
        }
        two.remove(request).await.unwrap();
        for namespace in names {
            assert_missing_in(&one, namespace).await;
            assert!(has(&one, namespace, "other").await, "{namespace}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_not_allowed_here_is_covered_by_all_only() {
    let redis = Redis::start().await;
    let one = Replica::on(&redis, &[]).await;
    store(&one, "foreign").await;
    store(&one, "known").await;
    let strict = [("cache.strict_namespaces", "true"), ("namespaces.known.enabled", "true")];
    let two = Replica::on(&redis, &strict).await;
    let refused = two.remove(in_list(&["known", "foreign"], tags(&["user:7"]))).await.unwrap_err();
    assert_eq!((refused.code(), refused.reason().as_str()), (Code::NotFound, "UNKNOWN_NAMESPACE"));
    assert!(has(&one, "known", "user:7").await && has(&one, "foreign", "user:7").await);
    let answer = two.remove(in_all(tags(&["user:7"]))).await.unwrap();
    assert_eq!(listed(&answer), ["foreign", "known"]);
    assert_missing_in(&one, "known").await;
    assert_missing_in(&one, "foreign").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_namespaces_than_a_replica_may_know_are_not_invalidated_in_part() {
    let redis = Redis::start().await;
    let one = Replica::on(&redis, &[]).await;
    for namespace in ["a", "b", "c"] {
        store(&one, namespace).await;
    }
    let two = Replica::on(&redis, &[("limits.namespaces", "2")]).await;
    let refused = two.remove(in_all(tags(&["user:7"]))).await.unwrap_err();
    assert_eq!((refused.code(), refused.reason().as_str()), (Code::ResourceExhausted, "LIMIT_REACHED"));
    assert!(refused.message().contains("namespaces limit of 2 reached"), "{refused:?}");
    for namespace in ["a", "b", "c"] {
        assert!(has(&one, namespace, "user:7").await, "{namespace}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_one_namespace_receives_invalidations_of_several() {
    let redis = Redis::start().await;
    let fleet = two(&redis.url()).await;
    let watch = pb::WatchRequest { namespace: "a".into(), ..Default::default() };
    let mut watcher = Watcher::open(&fleet[0], with_short_heartbeats(watch)).await.unwrap();
    while watcher.heartbeat().await.proof_age.is_none() {}
    fleet[1].remove(in_list(&["a", "b"], tags(&["user:7"]))).await.unwrap();
    let sight = watcher.next_change().await;
    let WatchEvent::Selected(kind, text) = &sight else { panic!("{sight:?}") };
    assert!(*kind == pb::ChangeKind::Removed && text.contains("user:7"), "{sight:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_namespace_of_the_list_fails_without_redis() {
    let absent = Redis::not_started(&[]);
    let replica = Replica::connected_to(&absent.url(), &[("redis.write_timeout", "200ms")]).await;
    let failed = replica.remove(in_list(&["b", "a"], tags(&["user:7"]))).await.unwrap_err();
    assert_eq!((failed.code(), failed.reason().as_str()), (Code::Unavailable, "L2_UNAVAILABLE"));
    let details = failed.get_error_details();
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!(metadata["failed_namespaces"], "a,b");
    assert!(!metadata.contains_key("outcome_unknown_for_ms"), "nothing was sent: {metadata:?}");
    let failed = replica.remove(in_all(tags(&["user:7"]))).await.unwrap_err();
    assert_eq!((failed.code(), failed.reason().as_str()), (Code::Unavailable, "L2_UNAVAILABLE"));
}
