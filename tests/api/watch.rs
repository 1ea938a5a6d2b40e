//! Watch streams.

use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Request};
use twintier::pb;
use twintier::pb::watch_request::Selector;
use twintier::pb::watch_response::Event;

use crate::harness::{
    Class, Cluster, Direction, Fleet, Mode, Proxy, Redis, Refusal as _, Replica, SHORT_BOUND, WatchEvent, Watcher,
    eventually, in_both_modes, invalidate_key, set_request, whole_namespace, with_short_heartbeats, within,
};

in_both_modes!(
    every_change_is_sent_in_order,
    a_watch_that_resumes_misses_nothing,
    a_watch_resumes_only_within_the_change_log,
    a_watch_by_prefix_receives_invalidations_that_may_cover_it,
    a_watcher_that_does_not_read_receives_a_discontinuity,
    watches_are_limited_and_take_no_request_slots,
    a_watch_lasts_as_long_as_its_caller_wants,
    a_watch_ends_with_its_connection,
    a_watch_ends_when_the_replica_stops,
    an_invalid_watch_is_refused_at_once,
    a_watch_by_tag_receives_changes_of_possibly_tagged_entries,
    heartbeats_carry_their_age,
);

fn set(key: &str) -> WatchEvent {
    WatchEvent::Keys(pb::ChangeKind::Set, vec![key.to_owned()])
}

fn removed(key: &str) -> WatchEvent {
    WatchEvent::Keys(pb::ChangeKind::Removed, vec![key.to_owned()])
}

async fn every_change_is_sent_in_order(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let mut watcher = Watcher::open_proven(&replica).await;
    replica.set("k", "1").await;
    replica.set_in("other", "k", "1").await;
    replica.invalidate("k").await;
    replica.set("k", "2").await;
    for sight in [set("k"), removed("k"), set("k")] {
        assert_eq!(watcher.next_change().await, sight);
    }
    replica.remove(whole_namespace("")).await.unwrap();
    for _ in 0..replica.coherence().await.partitions {
        assert_eq!(watcher.next_change().await, WatchEvent::Selected(pb::ChangeKind::Removed, "everything".to_owned()));
    }
    let watches = replica.stats().await.watches.unwrap();
    assert_eq!((watches.watchers, watches.changes), (1, 3 + u64::from(replica.coherence().await.partitions)));
    drop(watcher);
    eventually("the entry is gone", async || replica.stats().await.watches.unwrap().watchers == 0).await;
}

async fn a_watch_that_resumes_misses_nothing(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let mut watcher = Watcher::open_proven(&replica).await;
    replica.set("selected", "1").await;
    assert_eq!(watcher.next_change().await, set("selected"));
    let tokens = watcher.tokens.clone();
    drop(watcher);
    replica.set("missed", "1").await;
    let mut watcher = Watcher::open(&replica, with_short_heartbeats(pb::WatchRequest { tokens, ..Default::default() }))
        .await
        .unwrap();
    assert_eq!(watcher.next_change().await, set("missed"));
    replica.set("later", "1").await;
    assert_eq!(watcher.next_change().await, set("later"));
}

async fn a_watch_resumes_only_within_the_change_log(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let mut watcher = Watcher::open_proven(&replica).await;
    let tokens = watcher.tokens.clone();
    // All changes are in one partition, because each partition has its own log.
    let key = format!("k{}", "x".repeat(1000));
    for _ in 0..100 {
        replica.set(&key, "1").await;
    }
    assert_eq!(watcher.next_change().await, set(&key));
    let mut late = Watcher::open(&replica, pb::WatchRequest { tokens, ..Default::default() }).await.unwrap();
    assert_eq!(late.next_change().await, WatchEvent::Discontinuity(pb::DiscontinuityReason::TooOld));
    // A position in one partition does not cover the others.
    let tokens = vec![replica.set("k", "1").await.token];
    let mut partial = Watcher::open(&replica, pb::WatchRequest { tokens, ..Default::default() }).await.unwrap();
    assert_eq!(partial.next_change().await, WatchEvent::Discontinuity(pb::DiscontinuityReason::TooOld));
}

async fn a_watch_by_prefix_receives_invalidations_that_may_cover_it(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let selector = Some(Selector::Prefix("user:1:".into()));
    let mut watcher = Watcher::open(&replica, pb::WatchRequest { selector, ..Default::default() }).await.unwrap();
    watcher.heartbeat().await;
    replica.set("user:12", "1").await;
    replica.set("user", "1").await;
    replica.set("user:1:name", "1").await;
    assert_eq!(watcher.next_change().await, set("user:1:name"));
    replica.invalidate("user:1").await;
    assert_eq!(watcher.next_change().await, removed("user:1"));
    replica.remove(whole_namespace("")).await.unwrap();
    assert_eq!(watcher.next_change().await, WatchEvent::Selected(pb::ChangeKind::Removed, "everything".to_owned()));
}

async fn a_watch_by_tag_receives_changes_of_possibly_tagged_entries(mode: Mode) {
    let replica = mode.replica(&[("coherence.partitions", "1")]).await;
    let selector = Some(Selector::Tag("red".into()));
    let mut watcher = Watcher::open(&replica, pb::WatchRequest { selector, ..Default::default() }).await.unwrap();
    watcher.heartbeat().await;
    let tagged = async |key: &str, tags: &[&str]| {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        replica.store(pb::SetRequest { tags, ..set_request(key, "1") }).await.unwrap();
    };
    tagged("plain before any tag", &[]).await;
    tagged("a", &["red", "round"]).await;
    tagged("a", &["blue"]).await;
    tagged("a", &[]).await;
    assert_eq!(
        [watcher.next_change().await, watcher.next_change().await],
        [set("a"), set("a")],
        "the entry has the tag or had it"
    );
    tagged("gone", &[]).await;
    assert_eq!(watcher.next_change().await, set("gone"), "the earlier tags are unknown");
    tagged("gone", &["blue"]).await;
    tagged("red", &["red"]).await;
    assert_eq!(watcher.next_change().await, set("red"));
    let touch = pb::TouchRequest {
        key: "red".into(),
        expiry: Some(pb::touch_request::Expiry::Ttl(prost_types::Duration { seconds: 1, nanos: 0 })),
        ..Default::default()
    };
    replica.client.clone().touch(touch).await.unwrap();
    assert_eq!(watcher.next_change().await, WatchEvent::Keys(pb::ChangeKind::Shortened, vec!["red".to_owned()]));
    for selector in [
        pb::invalidate_request::Selector::Tags(pb::Tags { tags: vec!["blue".into(), "red".into()] }),
        pb::invalidate_request::Selector::Prefix("user:1".into()),
        pb::invalidate_request::Selector::Pattern("x*".into()),
    ] {
        replica.remove(pb::InvalidateRequest { selector: Some(selector), ..Default::default() }).await.unwrap();
    }
    let selected = |what: &str| WatchEvent::Selected(pb::ChangeKind::Removed, what.to_owned());
    for what in ["tag blue", "tag red", "prefix user:1", "pattern x*"] {
        assert_eq!(watcher.next_change().await, selected(what), "an entry with the tag may be covered");
    }
}

async fn a_watcher_that_does_not_read_receives_a_discontinuity(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let mut slow = Watcher::open_proven(&replica).await;
    // More than the connection (2 MiB) and the queue (1 MiB) can hold.
    let names: Vec<String> = (0..8000).map(|n| format!("{n:01000}")).collect();
    for some in names.chunks(1000) {
        let selector = pb::invalidate_request::Selector::Keys(pb::Keys { keys: some.to_vec() });
        replica.remove(pb::InvalidateRequest { selector: Some(selector), ..Default::default() }).await.unwrap();
    }
    let missed = async {
        while slow.next_change().await != WatchEvent::Discontinuity(pb::DiscontinuityReason::SlowWatcher) {}
        replica.set("later", "1").await;
        while slow.next_change().await != set("later") {}
    };
    within(Duration::from_secs(20), missed).await;
    assert!(replica.stats().await.watches.unwrap().discontinuities >= 1);
}

async fn watches_are_limited_and_take_no_request_slots(mode: Mode) {
    let replica = mode.replica(&[("limits.watches", "2"), ("server.max_in_flight", "1")]).await;
    let (_one, two) = (Watcher::open_proven(&replica).await, Watcher::open_proven(&replica).await);
    let refused = Watcher::open(&replica, pb::WatchRequest::default()).await.err().unwrap();
    assert_eq!((refused.code(), refused.reason().as_str()), (Code::ResourceExhausted, "LIMIT_REACHED"));
    assert!(refused.message().contains("limits.watches"), "{refused:?}");
    replica.set("k", "1").await;
    assert_eq!(replica.stats().await.replica.unwrap().in_flight, 1);
    drop(two);
    eventually("a watch is accepted", async || Watcher::open(&replica, pb::WatchRequest::default()).await.is_ok())
        .await;
}

async fn a_watch_lasts_as_long_as_its_caller_wants(mode: Mode) {
    let replica = mode.replica(&[("server.max_deadline", "200ms")]).await;
    let mut watcher = Watcher::open_proven(&replica).await;
    for _ in 0..10 {
        watcher.heartbeat().await;
    }
    let mut request = Request::new(with_short_heartbeats(pb::WatchRequest::default()));
    request.set_timeout(Duration::from_millis(500));
    let begun = Instant::now();
    // The client's own timer may end the call first.
    let ended = Watcher::open(&replica, request).await.unwrap().end().await;
    assert!(matches!(ended.code(), Code::DeadlineExceeded | Code::Cancelled), "{ended:?}");
    assert!(begun.elapsed() >= Duration::from_millis(490), "{:?}", begun.elapsed());
}

async fn a_watch_ends_with_its_connection(mode: Mode) {
    let replica = mode.replica(&[("server.max_connection_age", "1s")]).await;
    let mut watcher = Watcher::open_proven(&replica).await;
    let ended = within(Duration::from_secs(3), watcher.end()).await;
    assert_eq!((ended.code(), ended.reason().as_str()), (Code::Unavailable, "LEAVING"));
    assert_eq!(ended.retry_delay(), Some(Duration::ZERO));
    // The client may not have noticed yet that its connection ended.
    eventually("a new connection", async || replica.store(set_request("missed", "1")).await.is_ok()).await;
    let request = with_short_heartbeats(pb::WatchRequest { tokens: watcher.tokens, ..Default::default() });
    assert_eq!(Watcher::open(&replica, request).await.unwrap().next_change().await, set("missed"));
}

async fn a_watch_ends_when_the_replica_stops(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let mut watcher = Watcher::open_proven(&replica).await;
    let stopping = tokio::spawn(replica.stop());
    let ended = watcher.end().await;
    assert_eq!((ended.code(), ended.reason().as_str()), (Code::Unavailable, "LEAVING"));
    assert!(stopping.await.unwrap(), "no event was truncated");
}

async fn an_invalid_watch_is_refused_at_once(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let request = pb::WatchRequest {
        namespace: "Not a name".into(),
        selector: Some(Selector::Prefix(["a"; 17].join(":"))),
        tokens: vec!["nonsense".into()],
        heartbeat_interval: Some(prost_types::Duration { seconds: 61, nanos: 0 }),
    };
    let refused = Watcher::open(&replica, request).await.err().unwrap();
    refused.assert_violations(&[
        ("namespace", "[a-z0-9._-]"),
        ("prefix", "16 segments"),
        ("tokens[0]", "token"),
        ("heartbeat_interval", "from 100ms to 1m"),
    ]);
    let request = pb::WatchRequest { selector: Some(Selector::Tag(String::new())), ..Default::default() };
    Watcher::open(&replica, request).await.err().unwrap().assert_violations(&[("tag", "empty")]);
    let request = pb::WatchRequest { selector: Some(Selector::Prefix(":".into())), ..Default::default() };
    Watcher::open(&replica, request).await.err().unwrap().assert_violations(&[("prefix", "1 to 16 segments")]);
}

async fn heartbeats_carry_their_age(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let called = Instant::now();
    let mut watcher = Watcher::open(&replica, with_short_heartbeats(pb::WatchRequest::default())).await.unwrap();
    let mut last = Duration::ZERO;
    for n in 0..5 {
        let elapsed = Duration::try_from(watcher.heartbeat().await.elapsed.unwrap()).unwrap();
        assert!(elapsed <= called.elapsed(), "the age is that of sending");
        assert!(n == 0 || elapsed >= last + Duration::from_millis(90), "{elapsed:?} after {last:?}");
        last = elapsed;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_resumes_at_another_replica() {
    let fleet = Fleet::start(2, &[]).await;
    let mut watcher = Watcher::open_proven(&fleet[0]).await;
    fleet[1].set("selected", "1").await;
    assert_eq!(watcher.next_change().await, set("selected"));
    let tokens = watcher.tokens.clone();
    drop(watcher);
    for n in 0..20 {
        fleet[n % 2].set(&format!("missed {n}"), "1").await;
    }
    let mut watcher =
        Watcher::open(&fleet[1], with_short_heartbeats(pb::WatchRequest { tokens, ..Default::default() }))
            .await
            .unwrap();
    let mut missed = Vec::new();
    for _ in 0..20 {
        missed.push(watcher.next_change().await);
    }
    // Changes of different partitions may arrive in any order.
    assert!((0..20).all(|n| missed.contains(&set(&format!("missed {n}")))), "{missed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_message_is_a_discontinuity_and_the_proof_ends() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let (deaf, other) =
        (Replica::connected_to(&proxy.url(), SHORT_BOUND).await, Replica::on(&redis, SHORT_BOUND).await);
    deaf.wait_until_proven().await;
    let called = Instant::now();
    let mut watcher = Watcher::open_proven(&deaf).await;
    proxy.stall(Class::Subscription, Direction::ToClient);
    other.set("k", "1").await;
    let written = Instant::now();
    // Until the change is delivered, no heartbeat may cover its time.
    while written.elapsed() < Duration::from_millis(400) {
        let heartbeat = watcher.heartbeat().await;
        let [sent, proof_age] =
            [heartbeat.elapsed, heartbeat.proof_age].map(|it| Duration::try_from(it.unwrap()).unwrap());
        assert!(called + sent <= written + proof_age, "proven {proof_age:?} before {sent:?}, and written in between");
    }
    // The reset drops the message that was held back.
    let before = deaf.coherence().await.disconnects;
    proxy.reset(Class::Subscription);
    eventually("the subscription is lost", async || deaf.coherence().await.disconnects > before).await;
    proxy.resume(Class::Subscription, Direction::ToClient);
    assert_eq!(watcher.next_change().await, WatchEvent::Discontinuity(pb::DiscontinuityReason::Gap));
    other.set("k", "2").await;
    while watcher.next_change().await != set("k") {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_can_be_opened_before_redis_is_up() {
    let mut redis = Redis::not_started(&[]);
    let replica = Replica::connected_to(&redis.url(), SHORT_BOUND).await;
    let mut watcher = Watcher::open(&replica, with_short_heartbeats(pb::WatchRequest::default())).await.unwrap();
    assert_eq!(watcher.heartbeat().await.proof_age, None);
    redis.restart().await;
    assert_eq!(watcher.next_change().await, WatchEvent::Discontinuity(pb::DiscontinuityReason::Gap));
    replica.wait_until_proven().await;
    replica.set("k", "1").await;
    while watcher.next_change().await != set("k") {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_spans_the_shards_of_a_cluster() {
    let cluster = Cluster::start(&[]).await;
    let (replica, other) =
        (Replica::connected_to(&cluster.url(), &[]).await, Replica::connected_to(&cluster.url(), &[]).await);
    replica.wait_until_proven().await;
    other.wait_until_proven().await;
    let mut watcher = Watcher::open_proven(&replica).await;
    let mut expected: Vec<WatchEvent> = Vec::new();
    for n in 0..50 {
        let key = format!("key {n}");
        other.set(&key, "1").await;
        expected.push(set(&key));
    }
    for _ in 0..50 {
        let seen = watcher.next_change().await;
        let index = expected.iter().position(|sight| *sight == seen).unwrap_or_else(|| panic!("{seen:?}"));
        expected.swap_remove(index);
    }
    let Event::Heartbeat(heartbeat) = watcher.event().await.unwrap() else { panic!("the request has no effect") };
    assert_eq!(heartbeat.token.split('.').count() as u32 - 2, replica.coherence().await.partitions);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_effect_sends_no_event() {
    let replica = Replica::start(&[]).await;
    let mut watcher = Watcher::open_proven(&replica).await;
    let refused = pb::SetRequest {
        condition: Some(pb::set_request::Condition::IfPresent(pb::IfPresent {})),
        ..set_request("absent", "1")
    };
    assert_eq!(replica.store(refused).await.unwrap().outcome(), pb::SetOutcome::NotPresent);
    replica.remove(invalidate_key("also absent")).await.unwrap();
    assert_eq!(watcher.next_change().await, removed("also absent"), "a removal is sent with or without an entry");
}
