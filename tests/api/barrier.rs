//! Barriers: a change is acknowledged after the whole fleet has applied it (P7).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tonic::Code;
use twintier::pb;

use crate::harness::{
    Answer as _, Class, Direction, Fleet, Mode, Proxy, Redis, Replica, Wire, eventually, in_both_modes, invalidate_key,
    set_request, whole_namespace, within,
};

in_both_modes! { a_barrier_succeeds_on_a_standalone_replica }

/// A bound that only a barrier which waits for a replica exceeds.
const LONG_BOUND: &[(&str, &str)] = &[("coherence.max_staleness", "3s")];

fn set(key: &str, value: &str) -> pb::SetRequest {
    pb::SetRequest { barrier: pb::Barrier::Fleet.into(), ..set_request(key, value) }
}

fn invalidate(key: &str) -> pb::InvalidateRequest {
    pb::InvalidateRequest { barrier: pb::Barrier::Fleet.into(), ..invalidate_key(key) }
}

async fn a_barrier_succeeds_on_a_standalone_replica(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let passed = async {
        replica.store(set("k", "v")).await.unwrap();
        replica.remove(invalidate("k")).await.unwrap();
        let barrier = pb::Barrier::Fleet.into();
        replica.remove(pb::InvalidateRequest { barrier, ..whole_namespace("") }).await.unwrap();
    };
    within(Duration::from_secs(5), passed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_replica_answers_the_old_value_after_a_barrier() {
    let fleet = Fleet::start(3, LONG_BOUND).await;
    for round in 0..100 {
        let value = round.to_string();
        let writer = round % 3;
        fleet[writer].store(set("k", &value)).await.unwrap();
        for replica in &fleet.replicas {
            assert!(replica.get("k").await.is(&value), "round {round}");
        }
        match round % 10 {
            3 => _ = fleet[writer].remove(invalidate("k")).await.unwrap(),
            7 => {
                let barrier = pb::Barrier::Fleet.into();
                fleet[writer].remove(pb::InvalidateRequest { barrier, ..whole_namespace("") }).await.unwrap();
            }
            _ => continue,
        }
        for replica in &fleet.replicas {
            assert_eq!(replica.get("k").await.miss(), Some(pb::MissReason::Absent), "round {round}");
        }
    }
}

/// Two replicas on one Redis. The second one is behind a proxy and has `k` in memory.
async fn two(redis: &Redis) -> (Replica, Replica, Proxy) {
    let proxy = Proxy::to(redis.port()).await;
    let writer = Replica::on(redis, LONG_BOUND).await;
    let reader = Replica::connected_to(&proxy.url(), LONG_BOUND).await;
    reader.wait_until_proven().await;
    writer.store(set("k", "old")).await.unwrap();
    reader.wait_until_cached("k", "old").await;
    (writer, reader, proxy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_waits_for_a_deaf_replica_until_its_proof_ends() {
    let redis = Redis::start().await;
    let (writer, reader, proxy) = two(&redis).await;
    proxy.stall(Class::Subscription, Direction::ToClient);
    let over = AtomicBool::new(false);
    let acknowledged = async {
        let acknowledged = within(Duration::from_secs(3), writer.store(set("k", "new"))).await.map(|_| Instant::now());
        tokio::time::sleep(Duration::from_secs(1)).await;
        over.store(true, Ordering::Relaxed);
        acknowledged
    };
    let (acknowledged, stale) = tokio::join!(acknowledged, async {
        let mut last = None;
        while !over.load(Ordering::Relaxed) {
            let answer = reader.get("k").await;
            if answer.is("old") && answer.stale().is_none() {
                last = Some(Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        last
    });
    let acknowledged = acknowledged.unwrap();
    let last = stale.expect("the old value was in memory");
    assert!(last <= acknowledged, "the old value was answered {:?} after the barrier", last - acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_does_not_wait_for_a_stopped_replica() {
    // With this bound, waiting for the stopped replica would take longer than any slow machine.
    let fleet = Fleet::start(2, &[("coherence.max_staleness", "15s")]).await;
    let Fleet { mut replicas, redis: _redis } = fleet;
    let (gone, left) = (replicas.pop().unwrap(), replicas.pop().unwrap());
    // The first barrier waits until the new registry is old enough to be complete.
    left.store(set("k", "v")).await.unwrap();
    gone.stop().await;
    within(Duration::from_secs(1), left.store(set("k", "v"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_timeout_is_reported_and_the_write_is_kept() {
    let redis = Redis::start().await;
    let (writer, reader, proxy) = two(&redis).await;
    proxy.stall(Class::Subscription, Direction::ToClient);
    let mut request = tonic::Request::new(set("k", "new"));
    request.set_timeout(Duration::from_millis(500));
    let refused = Wire::connect(writer.address).await.client().set(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
    assert!(writer.get("k").await.is("new"));
    proxy.resume(Class::Subscription, Direction::ToClient);
    eventually("the write is seen", async || reader.get("k").await.is("new")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_fails_at_once_without_redis() {
    let mut redis = Redis::start().await;
    let (writer, _reader, _proxy) = two(&redis).await;
    redis.kill9();
    let refused = within(Duration::from_secs(2), writer.store(set("k", "new"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
}
