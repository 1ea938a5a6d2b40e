//! How long entries live, at every tier and replica.

use std::time::{Duration, SystemTime};

use twintier::pb;
use twintier::pb::set_request::{Condition, Expiry};

use crate::harness::{Answer as _, Fleet, Mode, PATIENCE, Refusal as _, eventually, in_both_modes, set_request};

in_both_modes! {
    an_entry_ends_with_its_time_to_live,
    an_entry_ends_at_its_absolute_time,
    reading_prolongs_nothing,
    a_later_set_prolongs,
    a_negative_entry_ends_too,
    an_expired_entry_counts_as_absent_for_a_condition,
    a_set_that_names_no_expiry_takes_the_namespaces_default,
    an_expiry_outside_of_the_limits_is_refused,
    the_longest_and_the_shortest_time_to_live_are_taken,
}

fn wire(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap()
}

fn lasting(key: &str, ttl: Duration) -> pb::SetRequest {
    pb::SetRequest { expiry: Some(Expiry::Ttl(wire(ttl))), ..set_request(key, "v") }
}

fn ending(key: &str, time: SystemTime) -> pb::SetRequest {
    pb::SetRequest { expiry: Some(Expiry::ExpireTime(time.into())), ..set_request(key, "v") }
}

const SHORT: Duration = Duration::from_millis(300);

async fn an_entry_ends_with_its_time_to_live(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let begun = tokio::time::Instant::now();
    replica.store(lasting("k", SHORT)).await.unwrap();
    let answer = replica.get("k").await;
    if begun.elapsed() < SHORT {
        assert!(answer.is("v"));
        assert!(answer.ttl() <= SHORT);
    }
    replica.lacks("k").await;
    assert!(begun.elapsed() >= SHORT - Duration::from_millis(1), "gone after {:?}", begun.elapsed());
    assert!(replica.strong("k").await.unwrap().miss().is_some());
}

async fn an_entry_ends_at_its_absolute_time(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let end = SystemTime::now() + 2 * SHORT;
    replica.store(ending("k", end)).await.unwrap();
    let answer = replica.get("k").await;
    assert!(answer.is("v"));
    assert!(answer.ttl() <= 2 * SHORT);
    replica.lacks("k").await;
    let early = end.duration_since(SystemTime::now()).unwrap_or_default();
    assert!(early < Duration::from_millis(5), "gone {early:?} before its time");
}

async fn reading_prolongs_nothing(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.store(lasting("k", SHORT)).await.unwrap();
    let begun = tokio::time::Instant::now();
    eventually("it ends although it is read all the time", async || replica.get("k").await.miss().is_some()).await;
    assert!(begun.elapsed() < PATIENCE / 2);
}

async fn a_later_set_prolongs(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.store(lasting("k", SHORT)).await.unwrap();
    replica.store(lasting("marker", 2 * SHORT)).await.unwrap();
    replica.store(lasting("k", Duration::from_secs(60))).await.unwrap();
    replica.lacks("marker").await;
    assert!(replica.get("k").await.is("v"));
    assert!(replica.strong("k").await.unwrap().is("v"));
    // And a shorter one shortens.
    replica.store(lasting("k", SHORT)).await.unwrap();
    replica.lacks("k").await;
}

async fn a_negative_entry_ends_too(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let content = Some(pb::set_request::Content::KnownAbsent(pb::KnownAbsent {}));
    replica.store(pb::SetRequest { content, ..lasting("k", SHORT) }).await.unwrap();
    replica.lacks("k").await;
}

async fn an_expired_entry_counts_as_absent_for_a_condition(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.store(lasting("k", Duration::from_millis(50))).await.unwrap();
    replica.lacks("k").await;
    let present = pb::SetRequest { condition: Some(Condition::IfPresent(pb::IfPresent {})), ..set_request("k", "2") };
    assert_eq!(replica.store(present).await.unwrap().outcome(), pb::SetOutcome::NotPresent);
    let absent = pb::SetRequest { condition: Some(Condition::IfAbsent(pb::IfAbsent {})), ..set_request("k", "2") };
    assert_eq!(replica.store(absent).await.unwrap().outcome(), pb::SetOutcome::Stored);
}

async fn a_set_that_names_no_expiry_takes_the_namespaces_default(mode: Mode) {
    let settings =
        [("cache.default_ttl", "1h"), ("namespaces.brief.default_ttl", "300ms"), ("namespaces.other.max_ttl", "2h")];
    let replica = mode.replica(&settings).await;
    for namespace in ["", "brief", "other"] {
        replica.set_in(namespace, "k", "v").await;
    }
    for namespace in ["", "other"] {
        let ttl = replica.get_from(namespace, "k").await.ttl();
        assert!(ttl > Duration::from_secs(3580) && ttl <= Duration::from_secs(3600), "{ttl:?}");
    }
    eventually("it ends", async || replica.get_from("brief", "k").await.miss().is_some()).await;
}

async fn an_expiry_outside_of_the_limits_is_refused(mode: Mode) {
    let replica = mode.replica(&[("cache.default_ttl", "30s"), ("cache.max_ttl", "60s")]).await;
    let refused = async |request| replica.store(request).await.unwrap_err();
    refused(lasting("k", Duration::from_millis(60_001))).await.names(&[("ttl", "at most 60s")]);
    refused(lasting("k", Duration::ZERO)).await.names(&[("ttl", "at least 1 ms")]);
    refused(lasting("k", Duration::from_micros(999))).await.names(&[("ttl", "at least 1 ms")]);
    let now = SystemTime::now();
    refused(ending("k", now + Duration::from_secs(90))).await.names(&[("expire_time", "at most 60s")]);
    refused(ending("k", now - Duration::from_secs(1))).await.names(&[("expire_time", "in the future")]);
    let odd = |seconds, nanos| pb::SetRequest {
        expiry: Some(Expiry::Ttl(prost_types::Duration { seconds, nanos })),
        ..set_request("k", "v")
    };
    refused(odd(-1, 0)).await.names(&[("ttl", "negative")]);
    refused(odd(1, -1)).await.names(&[("ttl", "negative")]);
    refused(odd(1, 1_000_000_000)).await.names(&[("ttl", "valid duration")]);
    refused(odd(i64::MAX, 0)).await.names(&[("ttl", "valid duration")]);
    let odd_time = |seconds, nanos| pb::SetRequest {
        expiry: Some(Expiry::ExpireTime(prost_types::Timestamp { seconds, nanos })),
        ..set_request("k", "v")
    };
    refused(odd_time(i64::MAX, 0)).await.names(&[("expire_time", "")]);
    refused(odd_time(i64::MIN, 0)).await.names(&[("expire_time", "")]);
    refused(odd_time(4_000_000_000, -1)).await.names(&[("expire_time", "valid timestamp")]);
    assert!(replica.get("k").await.miss().is_some());
}

async fn the_longest_and_the_shortest_time_to_live_are_taken(mode: Mode) {
    let replica = mode.replica(&[("cache.max_ttl", "365d")]).await;
    let year = Duration::from_secs(365 * 24 * 3600);
    replica.store(lasting("long", year)).await.unwrap();
    assert!(replica.get("long").await.ttl() > year - Duration::from_secs(60));
    assert!(replica.strong("long").await.unwrap().ttl() > year - Duration::from_secs(60));
    replica.store(lasting("short", Duration::from_millis(1))).await.unwrap();
    replica.lacks("short").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_ends_at_every_replica_and_in_redis() {
    let fleet = Fleet::of(3, &[]).await;
    let ttl = Duration::from_secs(1);
    let begun = tokio::time::Instant::now();
    fleet[0].store(lasting("k", ttl)).await.unwrap();
    for replica in &fleet.replicas {
        let answer = replica.get("k").await;
        assert!(answer.is("v"));
        assert!(answer.ttl() <= ttl, "{:?}", answer.ttl());
    }
    let acknowledged = tokio::time::Instant::now();
    for replica in &fleet.replicas {
        eventually("the entry ends", async || {
            let asked = tokio::time::Instant::now();
            let answer = replica.get("k").await;
            // No later than its time after the Set was acknowledged, whichever tier answers.
            assert!(answer.miss().is_some() || asked < acknowledged + ttl, "{answer:?}");
            answer.miss().is_some()
        })
        .await;
    }
    assert!(begun.elapsed() >= ttl - Duration::from_millis(1));
    assert!(fleet[0].strong("k").await.unwrap().miss().is_some());
}
