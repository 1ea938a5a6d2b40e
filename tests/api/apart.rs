//! Tenants share a replica: none harms the memory, the rate, the places or the entries of another.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use twintier::pb;
use twintier::pb::invalidate_request::Selector;
use twintier::pb::{MissReason, SetOutcome};

use crate::harness::{
    Answer as _, Mode, Redis, Refusal as _, Replica, Watcher, eventually, in_both_modes, set_request, whole_namespace,
    with_short_heartbeats,
};

in_both_modes! {
    a_neighbour_that_writes_much_leaves_the_hot_entries,
    leases_of_a_namespace_are_limited,
    requests_in_flight_of_a_namespace_are_limited,
    bytes_per_second_of_a_namespace_are_limited,
    one_caller_leaves_namespaces_to_others,
    hostile_names_reach_nothing_of_another_namespace,
}

fn named(namespace: &str, key: &str, value: &str) -> pb::SetRequest {
    pb::SetRequest { namespace: namespace.into(), ..set_request(key, value) }
}

fn leased(namespace: &str, key: &str) -> pb::GetRequest {
    let lease = Some(pb::LeaseOptions::default());
    pb::GetRequest { namespace: namespace.into(), key: key.into(), lease, ..Default::default() }
}

/// Asserts that a quota was reached, and that the error says which and when to try again.
fn assert_quota(refused: &Status, setting: &str) {
    assert_eq!((refused.code(), refused.reason().as_str()), (Code::ResourceExhausted, "LIMIT_REACHED"), "{refused:?}");
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["setting"], setting);
    assert!(refused.message().ends_with(&format!("({setting})")), "{}", refused.message());
    assert!(refused.retry_delay().is_some_and(|wait| wait > Duration::ZERO), "{refused:?}");
}

async fn a_neighbour_that_writes_much_leaves_the_hot_entries(mode: Mode) {
    for eviction in ["lru", "tiny_lfu"] {
        let replica = mode.replica(&[("l1.size", "32MiB"), ("l1.eviction", eviction)]).await;
        for n in 0..1000 {
            replica.set_in("hot", &format!("k{n}"), "a small value").await;
        }
        let large = "x".repeat(500_000);
        for n in 0..200 {
            replica.set_in("neighbour", &format!("k{n}"), &large).await;
        }
        let before = replica.counts("hot").await;
        assert_eq!(before.entries, 1000, "{eviction}");
        for n in 0..1000 {
            assert!(replica.get_from("hot", &format!("k{n}")).await.is("a small value"));
        }
        let after = replica.counts("hot").await;
        assert!(after.l1_hits - before.l1_hits >= 950, "{eviction}: {after:?}");
        assert!(replica.counts("neighbour").await.bytes > 20 << 20, "{eviction}: the neighbour has the rest");
    }
}

async fn leases_of_a_namespace_are_limited(mode: Mode) {
    let replica = mode.replica(&[("namespaces.greedy.max_leases", "3")]).await;
    let mut held = Vec::new();
    for n in 0..3 {
        held.push(replica.try_get(leased("greedy", &format!("k{n}"))).await.unwrap().lease.expect("a lease"));
    }
    let refused = replica.try_get(leased("greedy", "k3")).await.unwrap_err();
    assert_quota(&refused, "namespaces.greedy.max_leases");
    assert!(replica.try_get(leased("other", "k3")).await.unwrap().lease.is_some(), "others have their own");
    assert_eq!(replica.get_from("greedy", "k3").await.miss(), Some(MissReason::Absent), "a Get without a lease");
    assert_eq!(replica.counts("greedy").await.over_leases, 1);
    // A lease that is used or returned makes room.
    let condition = Some(pb::set_request::Condition::Lease(held.remove(0).id));
    replica.store(pb::SetRequest { condition, ..named("greedy", "k0", "v") }).await.unwrap();
    assert!(replica.try_get(leased("greedy", "k3")).await.unwrap().lease.is_some());
    assert_quota(&replica.try_get(leased("greedy", "k4")).await.unwrap_err(), "namespaces.greedy.max_leases");
}

async fn requests_in_flight_of_a_namespace_are_limited(mode: Mode) {
    let replica = mode.replica(&[("namespaces.slow.max_in_flight", "2")]).await;
    replica.set_in("slow", "here", "v").await;
    let lease = replica.try_get(leased("slow", "k")).await.unwrap().lease.expect("a lease");
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let mut client = replica.client.clone();
            tokio::spawn(async move { client.get(leased("slow", "k")).await })
        })
        .collect();
    eventually("two wait for the lease", async || replica.stats().await.leases.unwrap().waiting == 2).await;
    for key in ["here", "k"] {
        let get = pb::GetRequest { namespace: "slow".into(), key: key.into(), ..Default::default() };
        assert_quota(&replica.try_get(get).await.unwrap_err(), "namespaces.slow.max_in_flight");
    }
    let refused = replica.store(named("slow", "other", "v")).await.unwrap_err();
    assert_quota(&refused, "namespaces.slow.max_in_flight");
    replica.set("k", "another namespace").await;
    let release =
        pb::ReleaseLeaseRequest { namespace: "slow".into(), key: "k".into(), lease: lease.id, ..Default::default() };
    replica.client.clone().release_lease(release).await.unwrap();
    for waits in waiting {
        waits.abort();
    }
    eventually("their places are free again", async || replica.store(named("slow", "k", "v")).await.is_ok()).await;
    assert!(replica.counts("slow").await.over_in_flight >= 3);
}

async fn bytes_per_second_of_a_namespace_are_limited(mode: Mode) {
    let replica = mode.replica(&[("namespaces.wide.max_bytes_per_second", "10KiB")]).await;
    replica.set_in("wide", "k", &"x".repeat(50_000)).await;
    let get = pb::GetRequest { namespace: "wide".into(), key: "k".into(), ..Default::default() };
    let refused = replica.try_get(get.clone()).await.unwrap_err();
    assert_quota(&refused, "namespaces.wide.max_bytes_per_second");
    assert!(refused.retry_delay().unwrap() <= Duration::from_secs(5));
    assert_quota(&replica.store(named("wide", "k", "v")).await.unwrap_err(), "namespaces.wide.max_bytes_per_second");
    let batch = pb::BatchGetRequest { namespace: "wide".into(), keys: vec!["k".into()], ..Default::default() };
    let refused = replica.client.clone().batch_get(batch).await.expect_err("refused");
    assert_quota(&refused, "namespaces.wide.max_bytes_per_second");
    replica.set("k", "another namespace").await;
    assert!(replica.counts("wide").await.over_byte_rate >= 3);
    eventually("what was sent is paid for", async || replica.try_get(get.clone()).await.is_ok()).await;
    // The answer counts, too.
    assert_quota(&replica.try_get(get).await.unwrap_err(), "namespaces.wide.max_bytes_per_second");
}

async fn one_caller_leaves_namespaces_to_others(mode: Mode) {
    let replica = mode.replica(&[("limits.namespaces", "10"), ("namespaces.configured.max_leases", "7")]).await;
    let mut made = 0;
    let refused = loop {
        match replica.store(named(&format!("made{made}"), "k", "v")).await {
            Ok(_) => made += 1,
            Err(refused) => break refused,
        }
    };
    assert!((5..10).contains(&made), "{made}");
    assert_eq!((refused.code(), refused.reason().as_str()), (Code::ResourceExhausted, "LIMIT_REACHED"));
    assert_eq!(refused.message(), "share of this caller in the namespaces limit of 10 reached (limits.namespaces)");
    for known in ["configured", "default", "made0"] {
        replica.set_in(known, "k", "v").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_is_limited_in_redis() {
    let redis = Redis::start().await;
    let settings = [("namespaces.wide.max_l2_bytes", "100KiB"), ("redis.namespace_sampling", "1s")];
    let replica = Replica::on(&redis, &settings).await;
    let value = "x".repeat(5000);
    let mut stored = 0;
    let refused = loop {
        match replica.store(named("wide", &format!("k{stored}"), &value)).await {
            Ok(_) => stored += 1,
            Err(refused) => break refused,
        }
    };
    assert_quota(&refused, "namespaces.wide.max_l2_bytes");
    assert!((5..=20).contains(&stored), "{stored}");
    assert!(replica.get_from("wide", "k0").await.is(&value), "reads go on");
    replica.set("k", &value).await;
    assert!(replica.counts("wide").await.over_redis_bytes >= 1);
    replica.remove(whole_namespace("wide")).await.unwrap();
    // An invalidated entry may stay in Redis for a while; a deleted one does not.
    for n in 0..stored {
        replica.set_in("other", &format!("k{n}"), "v").await;
    }
    redis.cli(&["FLUSHALL"]).await;
    eventually("the next sample shows the room", async || replica.store(named("wide", "k", "v")).await.is_ok()).await;
}

/// Keys that look like names of other things, or like patterns.
fn hostile_keys() -> Vec<String> {
    let mut keys: Vec<String> = [
        "*",
        "?",
        "[a-z]*",
        "\\",
        "\\*",
        "{",
        "}",
        "{0}",
        "}:v:shop:",
        ":",
        "::",
        "shop",
        "shop:k",
        "shop/k",
        "twintier:{0}:v:shop:k",
        "twintier:{0}:c",
        "}:v:shop:k",
        "}:l:shop:k",
        "k",
        "k:",
        "k/",
        "n:shop",
        "\0",
        "k\0",
        "\0k",
        "ｋ",
        "к",
        "K",
        "k\u{200b}",
        "é",
        "e\u{301}",
        "\u{202e}k",
        "\r\nDEL k\r\n",
        "%s%n",
        "../k",
        " ",
        "default",
        "4:shop",
        "q:shop:1:a",
        "🔑",
    ]
    .map(str::to_owned)
    .into();
    keys.push("k".repeat(1024));
    keys.push(format!("shop:{}", ":".repeat(1000)));
    keys
}

async fn hostile_names_reach_nothing_of_another_namespace(mode: Mode) {
    let replica = mode.replica(&[("limits.tags", "64")]).await;
    let tag = |tag: &str| vec![tag.to_owned(), "*".to_owned(), "shop".to_owned()];
    let victims: Vec<String> = hostile_keys().into_iter().chain((0..20).map(|n| format!("k{n}"))).collect();
    for key in &victims {
        let request = pb::SetRequest { tags: tag("t"), ..named("shop", key, "mine") };
        assert_eq!(replica.store(request).await.unwrap().outcome(), SetOutcome::Stored, "{key:?}");
    }
    // It outlives the attacks.
    let duration = Some(prost_types::Duration { seconds: 300, nanos: 0 });
    let long = pb::LeaseOptions { duration, ..Default::default() };
    let request = pb::GetRequest { lease: Some(long), ..leased("shop", "absent") };
    let lease = replica.try_get(request).await.unwrap().lease.expect("a lease");
    let watch = with_short_heartbeats(pb::WatchRequest { namespace: "shop".into(), ..Default::default() });
    let mut watcher = Watcher::open(&replica, watch).await.unwrap();
    watcher.heartbeat().await;
    let before = replica.counts("shop").await;
    for hostile in ["shop.b", "sho", "v", "0"] {
        attack(&replica, hostile, &lease.id).await;
    }
    let odd = ["shop:v", "*", "sh*p", "shop\0", "Shop", "ѕhop", "shop ", "{0}", "shop/", "", "../shop"];
    for hostile in odd.iter().filter(|name| !name.is_empty()) {
        let refused = replica.store(named(hostile, "k", "theirs")).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{hostile:?}");
    }
    let too_long = replica.store(named(&"s".repeat(65), "k", "theirs")).await.unwrap_err();
    assert_eq!(too_long.code(), Code::InvalidArgument);
    for key in &victims {
        assert!(replica.get_from("shop", key).await.is("mine"), "{key:?}");
    }
    let after = replica.counts("shop").await;
    assert_eq!((after.entries, after.bytes), (before.entries, before.bytes));
    assert_eq!((after.invalidations, after.sets_stored), (before.invalidations, before.sets_stored));
    assert_eq!((after.l1_hits, after.misses), (before.l1_hits + victims.len() as u64, before.misses));
    // Fails at a change.
    watcher.heartbeat().await;
    let condition = Some(pb::set_request::Condition::Lease(lease.id));
    let filled = replica.store(pb::SetRequest { condition, ..named("shop", "absent", "v") }).await.unwrap();
    assert_eq!(filled.outcome(), SetOutcome::Stored, "the lease still holds");
}

/// Writes, touches, releases and invalidates as much as one namespace can.
async fn attack(replica: &Replica, namespace: &str, lease: &str) {
    let mut client = replica.client.clone();
    let own = || namespace.to_owned();
    for key in hostile_keys() {
        let written =
            replica.store(pb::SetRequest { tags: vec!["t".into()], ..named(namespace, &key, "theirs") }).await;
        assert_eq!(written.unwrap().outcome(), SetOutcome::Stored, "{key:?}");
        let got = replica.get_from(namespace, &key).await;
        assert!(got.is("theirs"), "{key:?}");
        let ttl = prost_types::Duration { seconds: 1, nanos: 0 };
        let expiry = Some(pb::touch_request::Expiry::Ttl(ttl));
        let touch = pb::TouchRequest { namespace: own(), key: key.clone(), expiry, ..Default::default() };
        client.touch(touch).await.unwrap();
        let release =
            pb::ReleaseLeaseRequest { namespace: own(), key: key.clone(), lease: lease.into(), ..Default::default() };
        assert!(!client.release_lease(release).await.unwrap().into_inner().released, "{key:?}");
        let selectors = [
            Selector::Keys(pb::Keys { keys: vec![key.clone()] }),
            Selector::Prefix(key.clone()),
            Selector::Pattern(key.clone()),
            Selector::Tags(pb::Tags { tags: vec![key.clone()] }),
        ];
        for selector in selectors {
            // Some are no prefix, pattern or tag.
            let request = pb::InvalidateRequest { namespace: own(), selector: Some(selector), ..Default::default() };
            if let Err(refused) = replica.remove(request).await {
                let codes = [Code::InvalidArgument, Code::ResourceExhausted];
                assert!(codes.contains(&refused.code()), "{key:?}: {refused:?}");
            }
        }
    }
    let all = ["*", "?*", "*k*", "*shop*"].map(|pattern| Selector::Pattern(pattern.into()));
    let tags = ["t", "*", "shop"].map(|tag| Selector::Tags(pb::Tags { tags: vec![tag.into()] }));
    for selector in all.into_iter().chain(tags).chain([Selector::WholeNamespace(pb::WholeNamespace {})]) {
        let request = pb::InvalidateRequest { namespace: own(), selector: Some(selector), ..Default::default() };
        replica.remove(request).await.unwrap();
    }
    let items = hostile_keys().into_iter().map(|key| pb::BatchInvalidateItem { key, ..Default::default() }).collect();
    let removals = pb::BatchInvalidateRequest { namespace: own(), items, ..Default::default() };
    client.batch_invalidate(removals).await.unwrap();
}
