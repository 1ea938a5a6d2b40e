//! Shutdown of a replica: in time, and without losing a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use twintier::pb;

use crate::harness::{
    Answer as _, Class, Direction, Mode, Proxy, Redis, Replica, Wire, eventually, in_both_modes, set_request, within,
};

/// The harness's drain.timeout.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);

/// A drain.timeout that no machine reaches when there is nothing to wait for.
const LONG_DRAIN: &[(&str, &str)] = &[("drain.timeout", "2m")];
const PROMPT_STOP: Duration = Duration::from_secs(1);

in_both_modes! {
    an_idle_replica_stops_at_once,
    a_replica_under_load_finishes_its_calls_and_stops_in_time,
    a_connection_during_shutdown_is_served_or_refused,
    a_silent_client_delays_the_shutdown_until_the_limit,
}

async fn an_idle_replica_stops_at_once(mode: Mode) {
    let replica = mode.replica(LONG_DRAIN).await;
    replica.set("k", "v").await;
    let address = replica.address;
    assert!(within(PROMPT_STOP, replica.stop()).await);
    TcpStream::connect(address).await.unwrap_err();
}

async fn a_replica_under_load_finishes_its_calls_and_stops_in_time(mode: Mode) {
    let replica = mode.replica(LONG_DRAIN).await;
    // One connection sends nothing, the other one stops in the middle of its preface.
    let _silent = TcpStream::connect(replica.address).await.unwrap();
    let mut halting = TcpStream::connect(replica.address).await.unwrap();
    halting.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let mut load = JoinSet::new();
    for task in 0..8 {
        let (wire, calls) = (Wire::connect(replica.address).await, calls.clone());
        load.spawn(async move {
            let (mut client, key) = (wire.client(), format!("k{task}"));
            loop {
                // Runs until the connection is closed: every started call must finish.
                if !wire.is_open() {
                    return None;
                }
                let set = client.set(set_request(&key, "v")).await.err();
                let get = client.get(pb::GetRequest { key: key.clone(), ..Default::default() }).await.err();
                if let Some(refusal) = set.or(get) {
                    return Some(refusal);
                }
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    eventually("there is load", async || calls.load(Ordering::Relaxed) > 200).await;
    assert!(within(DRAIN_LIMIT, replica.stop()).await);
    for refusal in within(Duration::from_secs(5), load.join_all()).await.into_iter().flatten() {
        // The client returned these errors itself: the connection closed before it sent the call.
        let words = format!("{refusal:?}");
        assert!(words.contains("NO_ERROR") || words.contains("Canceled") || words.contains("not ready"), "{words}");
    }
}

/// A caller whose connection is cut cannot know if its call started.
async fn a_connection_during_shutdown_is_served_or_refused(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let (address, served) = (replica.address, Arc::new(AtomicUsize::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..32 {
        let served = served.clone();
        callers.spawn(async move {
            // Runs until the port is closed.
            while let Ok(wire) = Wire::try_connect(address).await {
                if let Err(refusal) = wire.client().get(pb::GetRequest { key: "k".into(), ..Default::default() }).await
                {
                    return Some(refusal);
                }
                served.fetch_add(1, Ordering::Relaxed);
            }
            None
        });
    }
    eventually("there is load", async || served.load(Ordering::Relaxed) > 200).await;
    assert!(replica.stop().await);
    for refusal in within(Duration::from_secs(5), callers.join_all()).await.into_iter().flatten() {
        let words = format!("{refusal:?}");
        assert!(words.contains("NO_ERROR") || words.contains("Canceled") || words.contains("not ready"), "{words}");
    }
}

async fn a_silent_client_delays_the_shutdown_until_the_limit(mode: Mode) {
    let replica = mode.replica(&[]).await;
    // Completes the HTTP/2 handshake and then sends nothing, not even an answer to GOAWAY.
    let mut mute = TcpStream::connect(replica.address).await.unwrap();
    mute.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await.unwrap();
    eventually("the connection is counted", async || replica.stats().await.replica.unwrap().connections == 2).await;
    within(DRAIN_LIMIT, replica.stop()).await;
}

fn strong(key: &str) -> pb::GetRequest {
    pb::GetRequest { key: key.into(), consistency: pb::Consistency::Strong.into(), ..Default::default() }
}

/// Long timeouts, so that only the drain ends a call to a Redis that does not answer.
const LONG_TIMEOUTS: &[(&str, &str)] =
    &[("redis.read_timeout", "30s"), ("redis.write_timeout", "30s"), ("redis.unresponsive_after", "30s")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_flight_are_finished() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let replica = Replica::connected_to(&proxy.url(), LONG_TIMEOUTS).await;
    replica.wait_until_proven().await;
    replica.set("k", "v").await;
    proxy.stall(Class::Commands, Direction::ToClient);
    let (mut reader, mut writer) = (replica.client.clone(), replica.client.clone());
    let get = tokio::spawn(async move { reader.get(strong("k")).await });
    let set = tokio::spawn(async move { writer.set(set_request("k", "last")).await });
    eventually("both calls are in flight", async || replica.stats().await.replica.unwrap().in_flight == 3).await;
    let address = replica.address;
    let stopping = tokio::spawn(replica.stop());
    eventually("new connections are refused", async || TcpStream::connect(address).await.is_err()).await;
    assert!(!get.is_finished() && !set.is_finished() && !stopping.is_finished());
    proxy.resume(Class::Commands, Direction::ToClient);
    get.await.unwrap().unwrap();
    assert_eq!(set.await.unwrap().unwrap().into_inner().outcome(), pb::SetOutcome::Stored);
    assert!(stopping.await.unwrap());
    let later = Replica::on(&redis, &[]).await;
    assert!(later.get("k").await.is("last"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_hang_do_not_delay_the_shutdown() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, LONG_TIMEOUTS).await;
    redis.freeze();
    let mut client = replica.client.clone();
    let stuck = tokio::spawn(async move { client.get(strong("k")).await });
    eventually("the call is in flight", async || replica.stats().await.replica.unwrap().in_flight == 2).await;
    assert!(!within(DRAIN_LIMIT, replica.stop()).await);
    within(Duration::from_secs(5), stuck).await.unwrap().unwrap_err();
    redis.thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_its_redis_stops_at_once() {
    let mut redis = Redis::start().await;
    let replica = Replica::on(&redis, LONG_DRAIN).await;
    let never = Replica::connected_to(&Redis::not_started(&[]).url(), LONG_DRAIN).await;
    redis.kill9();
    assert!(within(PROMPT_STOP, replica.stop()).await);
    assert!(within(PROMPT_STOP, never.stop()).await);
}
