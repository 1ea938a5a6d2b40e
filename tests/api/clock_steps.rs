//! Redis' clock is set back: entries and leases still expire on time.

#[path = "../faults/clock.rs"]
mod wall_clock;

use std::time::Duration;

use prost_types::Duration as Wire;
use tokio::time::{Instant, sleep_until};
use twintier::pb;
use twintier::pb::set_request::Expiry;

use crate::harness::{Answer as _, Redis, Replica, SHORT_BOUND, eventually, set_request};
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
    // Until a replica has followed the new epoch it does not acknowledge.
    eventually("a write is accepted", async || one.store(set_request("k", "last")).await.is_ok()).await;
    other.wait_until_visible("k", "last").await;
    one.wait_until_cached("k", "last").await;
    other.wait_until_cached("k", "last").await;
    assert!(other.get_strong("k").await.unwrap().is("last"));
}
