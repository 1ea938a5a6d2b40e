//! Redis' clock is set back: entries and leases still expire on time.

#[path = "../faults/clock.rs"]
mod wall_clock;

use std::time::Duration;

use prost_types::Duration as Wire;
use tokio::time::{Instant, sleep_until};
use twintier::pb;
use twintier::pb::invalidate_request::Selector;
use twintier::pb::set_request::Expiry;

use crate::harness::{Answer as _, Redis, Replica, Reply, SHORT_BOUND, eventually, set_request};
use wall_clock::WallClock;

const LIFE: Duration = Duration::from_secs(3);

fn brief(key: &str) -> pb::SetRequest {
    let ttl = Wire { seconds: LIFE.as_secs() as i64, nanos: 0 };
    pb::SetRequest { expiry: Some(Expiry::Ttl(ttl)), ..set_request(key, "v") }
}

async fn time_to_live(redis: &Redis, key: &str) -> i64 {
    redis.cli(&["PTTL", &format!("twintier:{{0}}:v:default:{key}")]).await.number()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_expires_on_time_although_redis_keeps_it() {
    let clock = WallClock::new();
    let redis = Redis::with_environment(&clock.environment()).await;
    let settings = [SHORT_BOUND, &[("coherence.partitions", "1")]].concat();
    let (one, other) = (Replica::on(&redis, &settings).await, Replica::on(&redis, &settings).await);
    one.store(brief("before")).await.unwrap();
    let written = Instant::now();
    assert!(one.get("before").await.is("v"));
    clock.set_offset(-3600);
    eventually("redis keeps the entry", async || time_to_live(&redis, "before").await > 3_000_000).await;
    // An entry written after the step has its full time to live.
    for replica in [&one, &other] {
        eventually("an entry set after the step lives", async || {
            one.store(brief("after")).await.unwrap();
            replica.get("after").await.is("v") && replica.get_strong("after").await.unwrap().is("v")
        })
        .await;
    }
    sleep_until(written + LIFE).await;
    assert!(time_to_live(&redis, "before").await > 3_000_000);
    for replica in [&one, &other] {
        assert_eq!(replica.get("before").await.miss(), Some(pb::MissReason::Absent));
        assert_eq!(replica.get_strong("before").await.unwrap().miss(), Some(pb::MissReason::Absent));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_expires_although_the_clock_was_set_back() {
    let clock = WallClock::new();
    let redis = Redis::with_environment(&clock.environment()).await;
    let replica = Replica::on(&redis, &[("coherence.partitions", "1")]).await;
    let lease = Some(pb::LeaseOptions { wait: pb::LeaseWait::None.into(), ..Default::default() });
    let wanting = pb::GetRequest { key: "k".into(), lease, ..Default::default() };
    assert!(replica.try_get(wanting.clone()).await.unwrap().lease.is_some());
    let refused = replica.try_get(wanting.clone()).await.unwrap();
    assert!(refused.lease.is_none(), "{refused:?}");
    clock.set_offset(-3600);
    let other = Replica::on(&redis, &[("coherence.partitions", "1")]).await;
    eventually("another caller gets the lease", async || other.try_get(wanting.clone()).await.unwrap().lease.is_some())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_by_days_leaves_the_service_working() {
    let clock = WallClock::new();
    let redis = Redis::with_environment(&clock.environment()).await;
    let settings = [SHORT_BOUND, &[("coherence.partitions", "4")]].concat();
    let (one, other) = (Replica::on(&redis, &settings).await, Replica::on(&redis, &settings).await);
    one.set("k", "before").await;
    assert!(other.get("k").await.is("before"));
    clock.set_offset(-3 * 24 * 3600);
    for replica in [&one, &other] {
        eventually("writes are accepted", async || replica.store(set_request("k", "after")).await.is_ok()).await;
        replica.wait_until_proven().await;
    }
    // Until a replica has followed the new epoch it does not acknowledge. What was written before
    // it knew that the clock was set back counts as kept for too long.
    for replica in [&one, &other] {
        eventually("an entry set after the step is cached", async || {
            let stored = one.store(set_request("k", "last")).await.is_ok();
            let answer = replica.get("k").await;
            stored && answer.is("last") && answer.stale().is_none()
        })
        .await;
        replica.wait_until_cached("k", "last").await;
    }
    // Until its next look at the clock a replica may take the new epoch for older data.
    eventually("a STRONG Get is answered", async || other.get_strong("k").await.is_ok_and(|answer| answer.is("last")))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_invalidated_by_a_clock_that_was_behind_does_not_return() {
    let clock = WallClock::new();
    let redis = Redis::with_environment(&clock.environment()).await;
    let settings = [SHORT_BOUND, &[("coherence.partitions", "1")]].concat();
    let replica = Replica::on(&redis, &settings).await;
    replica.set("user:1", "before").await;
    let first = epoch(&redis).await;
    clock.set_offset(-3 * 24 * 3600);
    let selector = Some(Selector::Prefix("user:".into()));
    let users = pb::InvalidateRequest { selector, ..Default::default() };
    eventually("the prefix is invalidated", async || replica.remove(users.clone()).await.is_ok()).await;
    let behind = epoch(&redis).await;
    assert!((1..first).contains(&behind), "{behind}, after {first}");
    clock.set_offset(0);
    // A takeover: the counter is as another server left it.
    redis.cli(&["HSET", "twintier:{0}:c", "i", "of another server"]).await;
    eventually("a later epoch begins", async || {
        let _ = replica.store(set_request("other", "v")).await;
        epoch(&redis).await > first
    })
    .await;
    eventually("there is no entry", async || {
        let answer = replica.get_strong("user:1").await;
        assert!(!answer.as_ref().is_ok_and(|answer| answer.is("before")), "{answer:?}");
        answer.is_ok_and(|answer| answer.miss() == Some(pb::MissReason::Absent))
    })
    .await;
    eventually("writes are accepted", async || replica.store(set_request("user:1", "after")).await.is_ok()).await;
    eventually("the new value", async || replica.get("user:1").await.is("after")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_epoch_does_not_outlive_an_audit() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[("coherence.partitions", "1")]).await;
    replica.set("k", "v").await;
    let honest = epoch(&redis).await;
    for ahead in [2, 365 * 50] {
        let forged = honest + ahead * 24 * 3600 * 1_000_000;
        redis.cli(&["HSET", "twintier:{0}:c", "e", &forged.to_string()]).await;
        eventually("the epoch is refused", async || epoch(&redis).await < forged).await;
        eventually("writes are accepted", async || replica.store(set_request("k", "again")).await.is_ok()).await;
        eventually("the value is answered", async || {
            replica.get_strong("k").await.is_ok_and(|answer| answer.is("again"))
        })
        .await;
        assert!(epoch(&redis).await < honest + 24 * 3600 * 1_000_000);
    }
    replica.wait_until_proven().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_a_forged_epoch_is_counted_and_has_no_effect() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[("coherence.partitions", "1")]).await;
    replica.set("k", "v").await;
    eventually("its own message arrives", async || replica.coherence().await.messages_applied == 1).await;
    let before = replica.coherence().await;
    let forged = epoch(&redis).await + 2 * 24 * 3600 * 1_000_000;
    // Format 1: kind, partition, origin, ticket, epoch, sequence, time, effect, namespace and key.
    let mut message = vec![1, 1, 0, 0];
    for number in [7, 0, forged, 1, forged] {
        message.extend(number.to_be_bytes());
    }
    message.extend(b"\x02\x07default\0\x01k\0\0");
    for _ in 0..10 {
        redis.cli(&[b"PUBLISH", &b"twintier:{0}:b"[..], &message]).await;
    }
    let counted = async || replica.coherence().await.undecodable >= before.undecodable + 10;
    eventually("the messages are counted", counted).await;
    assert_eq!(replica.coherence().await.messages_applied, before.messages_applied, "none of them took effect");
    replica.wait_until_proven().await;
    replica.wait_until_cached("k", "v").await;
}

/// The epoch of the one partition; 0 without a counter.
async fn epoch(redis: &Redis) -> u64 {
    match redis.cli(&["HGET", "twintier:{0}:c", "e"]).await {
        Reply::Text(text) => String::from_utf8_lossy(&text).parse().unwrap_or_default(),
        _ => 0,
    }
}
