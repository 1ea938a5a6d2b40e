//! Gets that wait for another caller have their own limit, and do not block other calls.

use std::time::Duration;

use tokio::task::JoinHandle;
use tonic::{Code, Status};
use twintier::pb;
use twintier::pb::set_request::Condition;

use crate::harness::{
    Answer as _, Class, Direction, Proxy, Redis, Refusal as _, Replica, Wire, eventually, set_request, within,
};

type Waiting = JoinHandle<Result<pb::GetResponse, Status>>;

fn wanting(key: &str) -> pb::GetRequest {
    let duration = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let lease = Some(pb::LeaseOptions { duration, ..Default::default() });
    pb::GetRequest { key: key.into(), lease, ..Default::default() }
}

/// Sends a Get on the connection of `wire`.
fn get(wire: &Wire, request: pb::GetRequest) -> Waiting {
    let mut client = wire.client().max_decoding_message_size(usize::MAX);
    tokio::spawn(async move { client.get(request).await.map(tonic::Response::into_inner) })
}

async fn answered(get: Waiting) -> Result<pb::GetResponse, Status> {
    within(Duration::from_secs(30), get).await.expect("no panic")
}

async fn waiting(replica: &Replica, number: u64) {
    eventually("this many Gets wait", async || replica.stats().await.leases.unwrap().waiting == number).await;
}

async fn refused_requests(replica: &Replica) -> u64 {
    replica.stats().await.replica.unwrap().shed
}

/// Starts Gets that wait for `key`, on these connections in turn. Returns the lease that they wait
/// for, too.
async fn waiters(replica: &Replica, key: &str, number: usize, wires: &[Wire]) -> (pb::Lease, Vec<Waiting>) {
    let lease = replica.try_get(wanting(key)).await.unwrap().lease.expect("the lease");
    let before = replica.stats().await.leases.unwrap().waiting as usize;
    let mut gets = Vec::new();
    for index in 0..number {
        gets.push(get(&wires[index % wires.len()], wanting(key)));
        // In sequence: Gets that arrive together use request slots for a moment.
        waiting(replica, (before + index + 1) as u64).await;
    }
    (lease, gets)
}

async fn fill(replica: &Replica, key: &str, value: &str, lease: &pb::Lease) {
    let condition = Some(Condition::Lease(lease.id.clone()));
    let filled = replica.store(pb::SetRequest { condition, ..set_request(key, value) }).await.unwrap();
    assert_eq!(filled.outcome(), pb::SetOutcome::Stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_callers_take_no_request_slots() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[("server.max_in_flight", "2")]).await;
    let wires = [Wire::connect(replica.address).await, Wire::connect(replica.address).await];
    let before = refused_requests(&replica).await;
    let (lease, gets) = waiters(&replica, "slow", 20, &wires).await;
    for round in 0..20 {
        replica.set(&format!("other{round}"), "v").await;
        assert!(replica.get(&format!("other{round}")).await.is("v"));
    }
    fill(&replica, "slow", "made", &lease).await;
    for get in gets {
        assert!(answered(get).await.expect("a finished wait is not refused").is("made"));
    }
    assert_eq!(refused_requests(&replica).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_callers_leave_streams_of_their_connection_to_others() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[("server.max_streams_per_connection", "4")]).await;
    let wire = Wire::connect(replica.address).await;
    replica.set("k", "v").await;
    let (one, first) = waiters(&replica, "one", 10, std::slice::from_ref(&wire)).await;
    let (other, second) = waiters(&replica, "other", 10, std::slice::from_ref(&wire)).await;
    let plain = pb::GetRequest { key: "k".into(), ..Default::default() };
    assert!(answered(get(&wire, plain)).await.unwrap().is("v"));
    fill(&replica, "one", "made", &one).await;
    fill(&replica, "other", "made", &other).await;
    for get in first.into_iter().chain(second) {
        assert!(answered(get).await.unwrap().is("made"));
    }
}

/// Uses the size of a real stampede and the default settings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_waiters_on_one_connection_leave_room_for_others() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[]).await;
    let wire = Wire::connect(replica.address).await;
    let mut leases = Vec::new();
    for key in ["one", "other"] {
        leases.push(replica.try_get(wanting(key)).await.unwrap().lease.expect("the lease"));
    }
    let gets: Vec<_> = (0..300).map(|index| get(&wire, wanting(["one", "other"][index % 2]))).collect();
    waiting(&replica, 300).await;
    let plain = pb::GetRequest { key: "k".into(), ..Default::default() };
    assert_eq!(answered(get(&wire, plain)).await.unwrap().miss(), Some(pb::MissReason::Absent));
    for (key, lease) in ["one", "other"].iter().zip(&leases) {
        fill(&replica, key, "made", lease).await;
    }
    for get in gets {
        assert!(answered(get).await.unwrap().is("made"));
    }
    assert_eq!(refused_requests(&replica).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_the_streams_of_a_connection_are_not_refused() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let settings = &[
        ("server.max_streams_per_connection", "2"),
        ("redis.read_timeout", "20s"),
        ("redis.unresponsive_after", "20s"),
    ];
    let replica = Replica::connected_to(&proxy.url(), settings).await;
    replica.wait_until_proven().await;
    replica.set("k", "v").await;
    let wire = Wire::connect(replica.address).await;
    proxy.stall(Class::Commands, Direction::ToClient);
    let strong =
        || pb::GetRequest { key: "k".into(), consistency: pb::Consistency::Strong.into(), ..Default::default() };
    let gets: Vec<_> = (0..6).map(|_| get(&wire, strong())).collect();
    let in_flight = async || replica.stats().await.replica.unwrap().in_flight;
    // This Stats request is the third.
    eventually("two Gets are in flight", async || in_flight().await == 3).await;
    proxy.resume(Class::Commands, Direction::ToClient);
    for get in gets {
        assert!(answered(get).await.unwrap().is("v"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_beyond_the_limit_are_refused_with_the_limit() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[("server.max_waiting", "3"), ("cache.stale_window", "1h")]).await;
    let brief = Some(pb::set_request::Expiry::Ttl(prost_types::Duration { seconds: 0, nanos: 30_000_000 }));
    replica.store(pb::SetRequest { expiry: brief, ..set_request("k", "old") }).await.unwrap();
    eventually("it expires", async || replica.get("k").await.miss().is_some()).await;
    let wires = [Wire::connect(replica.address).await, Wire::connect(replica.address).await];
    let (lease, mut gets) = waiters(&replica, "k", 2, &wires[..1]).await;
    let of_the_connection = answered(get(&wires[0], wanting("k"))).await.unwrap_err();
    gets.push(get(&wires[1], wanting("k")));
    waiting(&replica, 3).await;
    let of_all = answered(get(&wires[1], wanting("k"))).await.unwrap_err();
    for (refusal, words) in [
        (of_the_connection, "waiting Gets of one connection limit of 2 reached (half of server.max_waiting)"),
        (of_all, "waiting Gets limit of 3 reached (server.max_waiting)"),
    ] {
        assert_eq!((refusal.code(), refusal.message()), (Code::ResourceExhausted, words));
        assert!(refusal.reason() == "LIMIT_REACHED" && refusal.retry_delay().is_some(), "{refusal:?}");
    }
    assert_eq!(refused_requests(&replica).await, 2);
    // Gets that do not wait, or have a stale value, are not affected.
    let stale = answered(get(&wires[1], pb::GetRequest { stale_if_error: true, ..wanting("k") })).await.unwrap();
    assert!(stale.is("old") && stale.stale().is_some(), "{stale:?}");
    let at_once = Some(pb::LeaseOptions { wait: pb::LeaseWait::None.into(), ..Default::default() });
    let leased = answered(get(&wires[1], pb::GetRequest { lease: at_once, ..wanting("k") })).await.unwrap();
    assert_eq!(leased.miss(), Some(pb::MissReason::Leased));
    assert!(answered(get(&wires[1], wanting("free"))).await.unwrap().lease.is_some(), "the lease of another key");
    fill(&replica, "k", "made", &lease).await;
    for get in gets {
        assert!(answered(get).await.unwrap().is("made"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_reach_all_waiters_within_the_byte_limit() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[("server.max_bytes_in_flight", "4MiB")]).await;
    let wires = [Wire::connect(replica.address).await, Wire::connect(replica.address).await];
    let (lease, gets) = waiters(&replica, "large", 16, &wires).await;
    let value = "v".repeat(1 << 20);
    fill(&replica, "large", &value, &lease).await;
    for get in gets {
        assert!(answered(get).await.expect("a finished wait is not refused").is(&value));
    }
    assert_eq!(refused_requests(&replica).await, 0);
}
