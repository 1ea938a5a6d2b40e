//! Leases on a miss: one caller fills the entry, the others wait.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tonic::Code;
use twintier::pb;
use twintier::pb::invalidate_request::Selector;
use twintier::pb::set_request::{Condition, Expiry};

use crate::harness::{
    Answer as _, Cluster, Fleet, Mode, Redis, Refusal as _, Replica, SHORT_BOUND, Seen, Wire, eventually,
    in_both_modes, invalidate_key, set_request, whole_namespace, within,
};

in_both_modes! {
    one_caller_gets_the_lease_and_waiters_get_its_value,
    a_waiter_without_a_value_times_out,
    a_lease_is_void_after_anything_that_changes_the_key,
    an_invalidation_by_selector_voids_the_lease_and_wakes_waiters,
    a_batch_set_stores_items_with_valid_leases,
    a_released_lease_passes_to_one_waiter,
    no_caller_gets_the_lease_for_a_while_after_a_failure,
    a_stale_value_is_answered_while_the_lease_is_held,
    one_caller_refreshes_while_the_others_get_the_old_value,
    a_caller_that_disconnects_does_not_block_waiters,
    every_broken_rule_of_a_lease_is_reported,
    waiters_are_answered_when_the_service_stops,
}

const LEASED: Seen = Seen::Miss(pb::MissReason::Leased);
const ABSENT: Seen = Seen::Miss(pb::MissReason::Absent);
const STALE: &[(&str, &str)] = &[("cache.stale_window", "1h")];

fn wire(duration: Duration) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: duration.as_secs() as i64, nanos: duration.subsec_nanos() as i32 })
}

fn wanting(key: &str) -> pb::GetRequest {
    pb::GetRequest { key: key.into(), lease: Some(pb::LeaseOptions::default()), ..Default::default() }
}

fn at_once(key: &str) -> pb::GetRequest {
    let lease = Some(pb::LeaseOptions { wait: pb::LeaseWait::None.into(), ..Default::default() });
    pb::GetRequest { lease, ..wanting(key) }
}

fn with_lease(key: &str, value: &str, lease: &pb::Lease) -> pb::SetRequest {
    pb::SetRequest { condition: Some(Condition::Lease(lease.id.clone())), ..set_request(key, value) }
}

/// Sets an entry that is about to expire.
fn brief(key: &str, value: &str) -> pb::SetRequest {
    pb::SetRequest { expiry: wire(Duration::from_millis(30)).map(Expiry::Ttl), ..set_request(key, value) }
}

impl Replica {
    async fn wants(&self, key: &str) -> pb::Lease {
        let answer = self.try_get(at_once(key)).await.expect("a Get never fails");
        answer.lease.clone().unwrap_or_else(|| panic!("no lease of {key}: {:?}", answer.seen()))
    }

    /// Begins a Get that waits.
    fn waits(&self, request: pb::GetRequest) -> JoinHandle<pb::GetResponse> {
        let mut client = self.client.clone();
        let mut request = tonic::Request::new(request);
        request.set_timeout(Duration::from_secs(30));
        tokio::spawn(async move { client.get(request).await.expect("a Get never fails").into_inner() })
    }

    /// The answer to a Get with this deadline, which only the service keeps: the clock of this
    /// caller ends nothing.
    async fn answers_before(&self, request: pb::GetRequest, deadline: Duration) -> pb::GetResponse {
        let mut request = tonic::Request::new(request);
        request.set_timeout(deadline);
        let mut client = Wire::connect(self.address).await.client();
        within(deadline, client.get(request)).await.expect("a Get never fails").into_inner()
    }

    async fn fills(&self, key: &str, value: &str, lease: &pb::Lease) -> pb::SetOutcome {
        self.store(with_lease(key, value, lease)).await.expect("answered").outcome()
    }

    async fn leases(&self) -> pb::LeaseStats {
        self.stats().await.leases.unwrap()
    }

    async fn waiting(&self, number: u64) {
        eventually("as many wait", async || self.leases().await.waiting == number).await;
    }

    async fn gives_back(
        &self,
        key: &str,
        lease: &pb::Lease,
        failed: bool,
        pause: Duration,
    ) -> pb::ReleaseLeaseResponse {
        let retry_after = failed.then(|| wire(pause)).flatten();
        let (key, lease) = (key.into(), lease.id.clone());
        let request = pb::ReleaseLeaseRequest { key, lease, failed, retry_after, ..Default::default() };
        self.client.clone().release_lease(request).await.expect("answered").into_inner()
    }
}

async fn answered(get: JoinHandle<pb::GetResponse>) -> pb::GetResponse {
    within(Duration::from_secs(10), get).await.expect("no panic")
}

async fn one_caller_gets_the_lease_and_waiters_get_its_value(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let winner = replica.try_get(wanting("k")).await.unwrap();
    let lease = winner.lease.clone().expect("the lease");
    let lasts = Duration::try_from(lease.duration.unwrap()).unwrap();
    assert!(lasts > Duration::from_secs(9) && lasts <= Duration::from_secs(10), "{lasts:?}");
    assert_eq!(winner.seen(), ABSENT);
    assert_eq!(replica.try_get(at_once("k")).await.unwrap().seen(), LEASED);
    let gets: Vec<_> = (0..20).map(|_| replica.waits(wanting("k"))).collect();
    replica.waiting(20).await;
    assert_eq!(replica.fills("k", "made", &lease).await, pb::SetOutcome::Stored);
    for get in gets {
        let answer = answered(get).await;
        assert!(answer.is("made") && answer.lease.is_none() && !answer.degraded, "{answer:?}");
    }
    assert!(replica.get("k").await.is("made"));
    let stats = replica.leases().await;
    assert_eq!((stats.granted, stats.filled, stats.waited, stats.served, stats.waiting), (1, 1, 20, 20, 0));
    // A hit is no occasion for a lease.
    assert_eq!(replica.try_get(wanting("k")).await.unwrap().lease, None);
}

async fn a_waiter_without_a_value_times_out(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let _lease = replica.wants("k").await;
    // In time for a caller whose own clock would end it with an error.
    let answer = replica.answers_before(wanting("k"), Duration::from_secs(1)).await;
    assert_eq!((answer.seen(), answer.lease), (LEASED, None));
    // The lease ends by time, and another caller gets it.
    let lease = Some(pb::LeaseOptions { duration: wire(Duration::from_millis(50)), ..Default::default() });
    assert!(replica.try_get(pb::GetRequest { lease, ..wanting("brief") }).await.unwrap().lease.is_some());
    assert!(answered(replica.waits(wanting("brief"))).await.lease.is_some());
}

async fn a_lease_is_void_after_anything_that_changes_the_key(mode: Mode) {
    let replica = mode.replica(&[]).await;
    for what in ["set", "invalidate", "namespace", "release"] {
        replica.invalidate("k").await;
        let lease = replica.wants("k").await;
        match what {
            "set" => _ = replica.set("k", "other").await,
            "invalidate" => _ = replica.invalidate("k").await,
            "namespace" => _ = replica.remove(whole_namespace("")).await.unwrap(),
            _ => assert!(replica.gives_back("k", &lease, false, Duration::ZERO).await.released),
        }
        let response = replica.store(with_lease("k", "old", &lease)).await.unwrap();
        assert_eq!((response.outcome(), response.version.as_str()), (pb::SetOutcome::LeaseVoid, ""), "{what}");
        assert_eq!(replica.get("k").await.seen(), if what == "set" { Seen::Value("other".into()) } else { ABSENT });
        assert!(!replica.gives_back("k", &lease, false, Duration::ZERO).await.released, "{what}");
    }
    assert_eq!(replica.leases().await.voided, 4);
    assert_eq!(replica.counts("default").await.sets_void, 4);
    // A write without a lease needs none.
    let lease = replica.wants("free").await;
    replica.set("free", "mine").await;
    assert_eq!(replica.fills("free", "theirs", &lease).await, pb::SetOutcome::LeaseVoid);
    assert!(replica.get("free").await.is("mine"));
}

async fn an_invalidation_by_selector_voids_the_lease_and_wakes_waiters(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let tags = || vec!["goals".to_owned()];
    for selector in [
        Selector::WholeNamespace(pb::WholeNamespace {}),
        Selector::Prefix("user:1".into()),
        Selector::Pattern("user:?:g*".into()),
        Selector::Tags(pb::Tags { tags: tags() }),
    ] {
        replica.invalidate("user:1:goals").await;
        let lease = replica.wants("user:1:goals").await;
        let get = replica.waits(wanting("user:1:goals"));
        replica.waiting(1).await;
        let request = pb::InvalidateRequest { selector: Some(selector.clone()), ..Default::default() };
        replica.remove(request).await.unwrap();
        let set = pb::SetRequest { tags: tags(), ..with_lease("user:1:goals", "old", &lease) };
        assert_eq!(replica.store(set).await.unwrap().outcome(), pb::SetOutcome::LeaseVoid, "{selector:?}");
        let next = answered(get).await.lease.unwrap_or_else(|| panic!("{selector:?}: the lease"));
        let set = pb::SetRequest { tags: tags(), ..with_lease("user:1:goals", "new", &next) };
        assert_eq!(replica.store(set).await.unwrap().outcome(), pb::SetOutcome::Stored, "{selector:?}");
    }
}

async fn a_batch_set_stores_items_with_valid_leases(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let (good, void) = (replica.wants("good").await, replica.wants("void").await);
    replica.invalidate("void").await;
    let get = replica.waits(wanting("good"));
    replica.waiting(1).await;
    let items = vec![with_lease("good", "made", &good), with_lease("void", "old", &void)];
    let batch = pb::BatchSetRequest { items, ..Default::default() };
    let answer = replica.client.clone().batch_set(batch).await.unwrap().into_inner();
    let outcomes: Vec<_> = answer.results.iter().map(pb::BatchSetResult::outcome).collect();
    assert_eq!(outcomes, [pb::SetOutcome::Stored, pb::SetOutcome::LeaseVoid]);
    assert!(answered(get).await.is("made"));
    let stats = replica.leases().await;
    assert_eq!((stats.filled, stats.voided), (1, 1));
}

async fn a_released_lease_passes_to_one_waiter(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let lease = replica.wants("k").await;
    let mut gets: Vec<_> = (0..5).map(|_| replica.waits(wanting("k"))).collect();
    replica.waiting(5).await;
    assert_eq!(replica.gives_back("k", &lease, false, Duration::ZERO).await.stale, None);
    eventually("one of them has it", async || gets.iter().any(JoinHandle::is_finished)).await;
    let index = gets.iter().position(JoinHandle::is_finished).unwrap();
    let next = answered(gets.swap_remove(index)).await.lease.expect("the lease");
    replica.waiting(4).await;
    assert_eq!(replica.fills("k", "made", &next).await, pb::SetOutcome::Stored);
    for get in gets {
        assert!(answered(get).await.is("made"));
    }
}

async fn no_caller_gets_the_lease_for_a_while_after_a_failure(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let lease = replica.wants("k").await;
    let get = replica.waits(wanting("k"));
    replica.waiting(1).await;
    let begun = Instant::now();
    let pause = Duration::from_millis(300);
    assert!(replica.gives_back("k", &lease, true, pause).await.released);
    assert_eq!(replica.try_get(at_once("k")).await.unwrap().seen(), LEASED);
    let next = answered(get).await;
    assert!(next.lease.is_some() && begun.elapsed() >= pause, "{:?} {:?}", next, begun.elapsed());
}

async fn a_stale_value_is_answered_while_the_lease_is_held(mode: Mode) {
    let replica = mode.replica(STALE).await;
    replica.store(brief("k", "old")).await.unwrap();
    eventually("it expires", async || replica.get("k").await.miss().is_some()).await;
    // A caller that accepts a stale entry gets it immediately, one of them with the lease.
    let hour = wire(Duration::from_secs(3600));
    let welcoming = || pb::GetRequest { max_staleness: hour, ..wanting("k") };
    let first = replica.try_get(welcoming()).await.unwrap();
    assert!(first.is("old") && first.stale().is_some(), "{first:?}");
    let lease = first.lease.expect("the lease");
    let second = replica.try_get(welcoming()).await.unwrap();
    assert!(second.is("old") && second.lease.is_none());
    // A caller that prefers to wait gets it when the fill fails or at its deadline.
    let or_stale = || pb::GetRequest { stale_if_error: true, ..wanting("k") };
    let late = replica.answers_before(or_stale(), Duration::from_secs(1)).await;
    assert!(late.is("old") && late.stale().is_some());
    let (modest, strict) = (replica.waits(or_stale()), replica.waits(wanting("k")));
    replica.waiting(2).await;
    let released = replica.gives_back("k", &lease, true, Duration::from_secs(60)).await;
    let kept = released.stale.expect("the stale value");
    assert_eq!((&*kept.value, kept.entry.unwrap().stale.is_some()), (&b"old"[..], true));
    assert!(answered(modest).await.is("old"));
    assert!(answered(replica.waits(or_stale())).await.is("old"), "nobody will make it for a while");
    assert!(!strict.is_finished());
    replica.set("k", "new").await;
    assert!(answered(strict).await.is("new"));
}

async fn one_caller_refreshes_while_the_others_get_the_old_value(mode: Mode) {
    let replica = mode.replica(&[("cache.early_refresh", "100")]).await;
    let lease = replica.wants("k").await;
    // The cost of the fill is drawn from, many times over.
    tokio::time::sleep(Duration::from_millis(30)).await;
    let ttl = wire(Duration::from_secs(3)).map(Expiry::Ttl);
    let filled = pb::SetRequest { expiry: ttl, ..with_lease("k", "1", &lease) };
    assert_eq!(replica.store(filled).await.unwrap().outcome(), pb::SetOutcome::Stored);
    let mut lease = None;
    eventually("somebody is to refresh it", async || {
        let answer = replica.try_get(wanting("k")).await.unwrap();
        assert!(answer.is("1"), "{answer:?}");
        lease = answer.lease;
        lease.is_some()
    })
    .await;
    for _ in 0..100 {
        let answer = replica.try_get(wanting("k")).await.unwrap();
        assert!(answer.is("1") && answer.lease.is_none(), "{answer:?}");
    }
    assert_eq!(replica.fills("k", "2", &lease.unwrap()).await, pb::SetOutcome::Stored);
    assert!(replica.try_get(wanting("k")).await.unwrap().is("2"));
}

async fn a_caller_that_disconnects_does_not_block_waiters(mode: Mode) {
    let replica = mode.replica(&[]).await;
    for round in 0..20 {
        let key = format!("k{round}");
        let gets: Vec<_> = (0..10).map(|_| replica.waits(wanting(&key))).collect();
        for (index, get) in gets.iter().enumerate() {
            tokio::time::sleep(Duration::from_micros(50 * (round + index as u64))).await;
            get.abort();
        }
    }
    replica.waiting(0).await;
    let in_flight = async || replica.stats().await.replica.unwrap().in_flight;
    eventually("nothing is left", async || in_flight().await == 1).await;
}

async fn every_broken_rule_of_a_lease_is_reported(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let lease = Some(pb::LeaseOptions { duration: wire(Duration::from_millis(9)), wait: 7 });
    let request =
        pb::GetRequest { consistency: pb::Consistency::Strong.into(), metadata_only: true, lease, ..wanting("k") };
    replica.try_get(request).await.unwrap_err().assert_violations(&[
        ("lease", "CONSISTENCY_STRONG"),
        ("lease", "metadata_only"),
        ("lease.duration", "10ms to 5m; was 9ms"),
        ("lease.wait", "was 7"),
    ]);
    let lease = Some(pb::LeaseOptions { duration: wire(Duration::from_secs(301)), ..Default::default() });
    let refusal = replica.try_get(pb::GetRequest { lease, ..wanting("k") }).await.unwrap_err();
    refusal.assert_violations(&[("lease.duration", "10ms to 5m; was 5m1s")]);
    for bad in ["", "x", "00000000000000000000000000000000", "+0000000000000000000000000000001"] {
        let bad = pb::Lease { id: bad.into(), duration: None };
        let refusal = replica.store(with_lease("k", "v", &bad)).await.unwrap_err();
        refusal.assert_violations(&[("lease", "must be a lease id from a response")]);
    }
    let retry_after = wire(Duration::from_secs(61));
    let request = pb::ReleaseLeaseRequest { lease: "x".into(), retry_after, ..Default::default() };
    replica.client.clone().release_lease(request).await.unwrap_err().assert_violations(&[
        ("key", "empty"),
        ("lease", "lease id from a response"),
        ("retry_after", "without failed"),
        ("retry_after", "at most 1m; was 1m1s"),
    ]);
    let unknown = pb::Lease { id: format!("{:032x}", 5), duration: None };
    assert_eq!(replica.fills("k", "v", &unknown).await, pb::SetOutcome::LeaseVoid);
    assert!(!replica.gives_back("k", &unknown, true, Duration::ZERO).await.released);
}

async fn waiters_are_answered_when_the_service_stops(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let _lease = replica.wants("k").await;
    let get = replica.waits(wanting("k"));
    replica.waiting(1).await;
    assert!(within(Duration::from_secs(2), replica.stop()).await, "every RPC was finished");
    assert_eq!(answered(get).await.seen(), LEASED);
}

/// Settings under which a waiter polls so late that only a notification ends its wait in time.
const ONLY_TOLD: &[(&str, &str)] = &[("coherence.max_staleness", "1m"), ("cache.lease_duration", "2m")];

/// Many callers at every replica want a cold key: one of them fills it.
async fn one_loader_in(replicas: &[Replica], key: &str) {
    let mut gets: Vec<_> = replicas.iter().flat_map(|replica| (0..30).map(|_| replica.waits(wanting(key)))).collect();
    eventually("one has the lease", async || gets.iter().any(JoinHandle::is_finished)).await;
    let index = gets.iter().position(JoinHandle::is_finished).unwrap();
    let winner = answered(gets.swap_remove(index)).await;
    let lease = winner.lease.expect("the lease");
    let waiting = async || {
        let mut sum = 0;
        for replica in replicas {
            sum += replica.leases().await.waiting;
        }
        sum
    };
    eventually("the others wait", async || waiting().await == gets.len() as u64).await;
    // Filled at whichever replica.
    assert_eq!(replicas.last().unwrap().fills(key, "made", &lease).await, pb::SetOutcome::Stored);
    for get in gets {
        let answer = answered(get).await;
        assert!(answer.is("made") && answer.lease.is_none(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_caller_gets_the_lease_in_a_fleet() {
    let fleet = Fleet::start(3, ONLY_TOLD).await;
    for round in 0..5 {
        one_loader_in(&fleet.replicas, &format!("k{round}")).await;
    }
    // A failure is known to all, and a stale value kept in Redis helps out anywhere.
    let lease = fleet[0].wants("failing").await;
    let get = fleet[1].waits(wanting("failing"));
    fleet[1].waiting(1).await;
    assert!(fleet[2].gives_back("failing", &lease, true, Duration::ZERO).await.released);
    let next = answered(get).await.lease.expect("the lease");
    fleet[0].invalidate("failing").await;
    assert_eq!(fleet[1].fills("failing", "old", &next).await, pb::SetOutcome::LeaseVoid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_releases_stale_values_in_every_replica() {
    let fleet = Fleet::start(3, STALE).await;
    fleet[0].store(brief("k", "old")).await.unwrap();
    eventually("it expires", async || fleet[2].get("k").await.miss().is_some()).await;
    let lease = fleet[0].wants("k").await;
    let or_stale = || pb::GetRequest { stale_if_error: true, ..wanting("k") };
    let gets: Vec<_> = fleet.replicas.iter().map(|replica| replica.waits(or_stale())).collect();
    for replica in &fleet.replicas {
        replica.waiting(1).await;
    }
    let released = fleet[0].gives_back("k", &lease, true, Duration::from_secs(60)).await;
    assert!(released.stale.is_some());
    for get in gets {
        let answer = answered(get).await;
        assert!(answer.is("old") && answer.stale().is_some(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_caller_gets_the_lease_in_a_cluster() {
    let cluster = Cluster::start(&[]).await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Replica::connected_to(&cluster.url(), ONLY_TOLD).await);
    }
    for replica in &replicas {
        replica.wait_until_proven().await;
    }
    for round in 0..5 {
        one_loader_in(&replicas, &format!("k{round}")).await;
    }
    let lease = replicas[0].wants("void").await;
    replicas[1].invalidate("void").await;
    assert_eq!(replicas[2].fills("void", "old", &lease).await, pb::SetOutcome::LeaseVoid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_caller_at_a_time_gets_the_lease_without_redis() {
    let settings = &[SHORT_BOUND[0], ("redis.write_timeout", "500ms")];
    let mut fleet = Fleet::start(1, settings).await;
    let replica = &fleet.replicas[0];
    let lease = replica.wants("k").await;
    let mut gets: Vec<_> = (0..5).map(|_| replica.waits(wanting("k"))).collect();
    replica.waiting(5).await;
    fleet.redis.kill9();
    let replica = &fleet.replicas[0];
    // The earlier holder continues. When its Set has failed, it blocks no other caller.
    let refusal = replica.store(with_lease("k", "made", &lease)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable, "{refusal:?}");
    for left in (1..5).rev() {
        eventually("one may try", async || gets.iter().any(JoinHandle::is_finished)).await;
        let index = gets.iter().position(JoinHandle::is_finished).unwrap();
        let answer = answered(gets.swap_remove(index)).await;
        let lease = answer.lease.clone().unwrap_or_else(|| panic!("the lease: {answer:?}"));
        assert!(answer.degraded);
        assert!(gets.iter().all(|get| !get.is_finished()), "one at a time");
        assert_eq!(gets.len(), left);
        match left {
            // Given back, or used in vain.
            2 => assert!(replica.gives_back("k", &lease, false, Duration::ZERO).await.released),
            _ => assert_eq!(replica.store(with_lease("k", "v", &lease)).await.unwrap_err().code(), Code::Unavailable),
        }
    }
    let stats = replica.leases().await;
    assert!(stats.granted_alone >= 4, "{stats:?}");
    // With Redis back, what was granted without it is void, and the next lease is a good one.
    let last = answered(gets.remove(0)).await.lease.expect("the lease");
    fleet.redis.restart().await;
    let replica = &fleet.replicas[0];
    replica.wait_until_proven().await;
    let get = replica.waits(wanting("k"));
    replica.waiting(1).await;
    assert_eq!(replica.fills("k", "v", &last).await, pb::SetOutcome::LeaseVoid);
    let good = answered(get).await.lease.expect("the lease");
    assert_eq!(replica.fills("k", "v", &good).await, pb::SetOutcome::Stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_does_not_storm_the_source() {
    let redis = Redis::with(&["--maxmemory", "100mb"]).await;
    let replica = Replica::on(&redis, &[]).await;
    let lease = replica.wants("k").await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
    let get = replica.waits(wanting("k"));
    replica.waiting(1).await;
    let refusal = replica.store(with_lease("k", "v", &lease)).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.reason().as_str()), (Code::ResourceExhausted, "L2_FULL"));
    let next = answered(get).await;
    assert!(next.lease.is_some() && next.degraded, "{next:?}");
    assert_eq!(replica.try_get(at_once("k")).await.unwrap().seen(), LEASED, "one at a time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_are_delayed_but_not_stranded_by_a_lost_subscription() {
    use crate::harness::{Class, Direction, Proxy};
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let (near, far) = (Replica::on(&redis, SHORT_BOUND).await, Replica::connected_to(&proxy.url(), SHORT_BOUND).await);
    far.wait_until_proven().await;
    let lease = near.wants("k").await;
    let get = far.waits(wanting("k"));
    far.waiting(1).await;
    proxy.lose(Class::Subscription, Direction::ToClient);
    assert_eq!(near.fills("k", "made", &lease).await, pb::SetOutcome::Stored);
    assert!(answered(get).await.is("made"));
    near.remove(invalidate_key("k")).await.unwrap();
}
