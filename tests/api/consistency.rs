//! Consistency levels and staleness bounds of a Get.

use std::time::Duration;

use tonic::Code;
use twintier::pb;

use crate::harness::{
    Answer as _, Class, Direction, Mode, Proxy, Redis, Refusal as _, Replica, SHORT_BOUND, eventually, in_both_modes,
    set_request, within,
};

in_both_modes! {
    a_strong_get_with_a_staleness_bound_is_refused,
    a_bound_that_is_no_duration_is_refused,
    a_consistency_that_does_not_exist_is_refused,
    an_expired_entry_is_answered_flagged_if_the_caller_accepts_it,
    no_expired_entry_is_kept_without_a_stale_window,
    a_bound_of_zero_is_answered,
}

fn bounded(key: &str, bound: Duration) -> pb::GetRequest {
    pb::GetRequest { key: key.into(), max_staleness: Some(bound.try_into().unwrap()), ..Default::default() }
}

const HOUR: Duration = Duration::from_secs(3600);

async fn a_strong_get_with_a_staleness_bound_is_refused(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let consistency = pb::Consistency::Strong.into();
    let refusal = replica.try_get(pb::GetRequest { consistency, ..bounded("k", HOUR) }).await.unwrap_err();
    refusal.assert_violations(&[("max_staleness", "CONSISTENCY_STRONG")]);
}

async fn a_bound_that_is_no_duration_is_refused(mode: Mode) {
    let replica = mode.replica(&[]).await;
    for (seconds, nanos) in [(-1, 0), (0, -1), (1, 1_000_000_000), (i64::MAX, 0)] {
        let max_staleness = Some(prost_types::Duration { seconds, nanos });
        let refusal = replica.try_get(pb::GetRequest { key: "k".into(), max_staleness, ..Default::default() }).await;
        refusal.unwrap_err().assert_violations(&[("max_staleness", "must")]);
    }
}

async fn a_consistency_that_does_not_exist_is_refused(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let refusal = replica.try_get(pb::GetRequest { key: "k".into(), consistency: 7, ..Default::default() }).await;
    refusal.unwrap_err().assert_violations(&[("consistency", "was 7")]);
}

async fn an_expired_entry_is_answered_flagged_if_the_caller_accepts_it(mode: Mode) {
    let replica = mode.replica(&[("cache.stale_window", "1h")]).await;
    let ttl = Duration::from_millis(200);
    let expiry = Some(pb::set_request::Expiry::Ttl(ttl.try_into().unwrap()));
    replica.set_and_wait(pb::SetRequest { expiry, ..set_request("k", "v") }).await;
    replica.assert_missing("k").await;
    let answer = replica.try_get(bounded("k", HOUR)).await.unwrap();
    assert!(answer.is("v"), "{answer:?}");
    assert_eq!(answer.tier(), pb::Tier::L1);
    assert_eq!(answer.ttl(), Duration::ZERO);
    let stale = answer.stale().expect("flagged");
    assert_eq!(stale.reason(), pb::StaleReason::Expired);
    assert!(!answer.degraded);
    assert!(replica.get_strong("k").await.unwrap().miss().is_some());
    // A new entry replaces the expired one.
    replica.set("k", "new").await;
    assert!(replica.try_get(bounded("k", HOUR)).await.unwrap().is("new"));
    replica.invalidate("k").await;
    assert!(replica.try_get(bounded("k", HOUR)).await.unwrap().miss().is_some());
}

async fn no_expired_entry_is_kept_without_a_stale_window(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let expiry = Some(pb::set_request::Expiry::Ttl(Duration::from_millis(100).try_into().unwrap()));
    replica.store(pb::SetRequest { expiry, ..set_request("k", "v") }).await.unwrap();
    replica.assert_missing("k").await;
    assert!(replica.try_get(bounded("k", HOUR)).await.unwrap().miss().is_some());
}

async fn a_bound_of_zero_is_answered(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.set("k", "v").await;
    let answer = replica.try_get(bounded("k", Duration::ZERO)).await.unwrap();
    assert!(answer.is("v"));
    if !mode.is_standalone() {
        assert_eq!(answer.tier(), pb::Tier::L2);
    }
}

impl Replica {
    /// Sets an entry, and waits until memory has it.
    async fn set_and_wait(&self, request: pb::SetRequest) {
        eventually("memory holds the entry", async || {
            self.store(request.clone()).await.unwrap();
            self.get(&request.key).await.tier() == pb::Tier::L1
        })
        .await;
    }
}

/// A replica that writes, and one that has "old" of `k` in memory and receives no more messages.
async fn deaf_reader(settings: &[(&str, &str)]) -> (Redis, Proxy, Replica, Replica) {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let writer = Replica::on(&redis, settings).await;
    let reader = Replica::connected_to(&proxy.url(), settings).await;
    reader.wait_until_proven().await;
    writer.set("k", "old").await;
    reader.wait_until_cached("k", "old").await;
    proxy.stall(Class::Subscription, Direction::ToClient);
    (redis, proxy, writer, reader)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strong_get_reads_redis() {
    let (_redis, _proxy, writer, reader) = deaf_reader(&[]).await;
    let set = writer.set("k", "new").await;
    let answer = reader.get_strong("k").await.unwrap();
    assert!(answer.is("new"));
    assert_eq!(answer.tier(), pb::Tier::L2);
    assert_eq!(answer.entry().unwrap().version, set.version);
    writer.invalidate("k").await;
    assert_eq!(reader.get_strong("k").await.unwrap().miss(), Some(pb::MissReason::Absent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strong_get_fails_with_retry_info_when_redis_is_down() {
    let mut redis = Redis::start().await;
    let replica = Replica::on(&redis, &[("cache.stale_window", "1h")]).await;
    replica.set("k", "v").await;
    replica.wait_until_cached("k", "v").await;
    redis.kill9();
    let refusal = within(Duration::from_secs(2), replica.get_strong("k")).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable);
    assert_eq!(refusal.reason(), "L2_UNAVAILABLE");
    assert!(refusal.retry_delay().is_some());
    assert!(replica.get("k").await.is("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_smaller_bound_narrows_what_memory_may_answer() {
    // With a wide bound in the configuration, the request's own bound decides.
    let (_redis, _proxy, writer, reader) = deaf_reader(&[("coherence.max_staleness", "60s")]).await;
    writer.set("k", "new").await;
    assert!(reader.get("k").await.is("old"));
    assert!(reader.try_get(bounded("k", Duration::from_millis(1))).await.unwrap().is("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_that_memory_can_prove_is_answered_from_memory() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[]).await;
    replica.set("k", "v").await;
    replica.wait_until_cached("k", "v").await;
    eventually("memory answers within a second's bound", async || {
        replica.try_get(bounded("k", Duration::from_secs(1))).await.unwrap().tier() == pb::Tier::L1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_larger_bound_is_answered_flagged_from_unproven_memory() {
    let (_redis, _proxy, writer, reader) = deaf_reader(&[SHORT_BOUND[0], ("cache.stale_window", "1h")]).await;
    writer.set("k", "new").await;
    // Memory may answer unflagged until Δ has passed, and only flagged afterwards.
    eventually("the answer is flagged", async || reader.try_get(bounded("k", HOUR)).await.unwrap().stale().is_some())
        .await;
    let answer = reader.try_get(bounded("k", HOUR)).await.unwrap();
    assert!(answer.is("old"), "{answer:?}");
    assert_eq!(answer.tier(), pb::Tier::L1);
    assert!(!answer.degraded);
    let stale = answer.stale().unwrap();
    assert_eq!(stale.reason(), pb::StaleReason::Unproven);
    let staleness = Duration::try_from(stale.staleness.unwrap()).unwrap();
    assert!(staleness > Duration::ZERO && staleness < HOUR, "{staleness:?}");
    // All other callers get the new value, unflagged.
    let others = reader.get("k").await;
    assert!(others.is("new") && others.stale().is_none(), "{others:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flagged_answer_is_never_staler_than_its_caller_accepts() {
    let (_redis, _proxy, writer, reader) = deaf_reader(&[SHORT_BOUND[0], ("cache.stale_window", "1h")]).await;
    writer.set("k", "new").await;
    let accepted = Duration::from_millis(1200);
    eventually("the old value is too stale for its caller", async || {
        let answer = reader.try_get(bounded("k", accepted)).await.unwrap();
        if let Some(stale) = answer.stale() {
            let staleness = Duration::try_from(stale.staleness.unwrap()).unwrap();
            assert!(staleness <= accepted, "{staleness:?}");
        }
        answer.is("new")
    })
    .await;
    let answer = reader.try_get(bounded("k", HOUR)).await.unwrap();
    assert!(answer.is("new"), "the newer answer replaced the entry in memory: {answer:?}");
}
