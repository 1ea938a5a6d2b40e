//! Touch and sliding expiry.

use std::time::{Duration, SystemTime};

use tonic::Status;
use twintier::pb;
use twintier::pb::set_request::Expiry;
use twintier::pb::touch_request::Expiry as Touched;
use twintier::pb::{TouchMode, TouchOutcome};

use crate::harness::{
    Answer as _, Fleet, Mode, Refusal as _, Replica, always_until, eventually, in_both_modes, set_request,
};

in_both_modes! {
    a_touch_changes_the_time_to_live,
    a_touch_can_be_limited_to_extending_or_shortening,
    a_touch_can_remove_the_expiry,
    a_touch_without_an_entry_changes_nothing,
    an_invalid_touch_is_refused,
    a_get_extends_a_sliding_entry,
    a_sliding_entry_expires_without_reads,
    a_sliding_entry_expires_at_its_limit_despite_reads,
    touches_are_counted,
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn wire(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap()
}

async fn touch(replica: &Replica, request: pb::TouchRequest) -> Result<pb::TouchResponse, Status> {
    replica.client.clone().touch(request).await.map(tonic::Response::into_inner)
}

async fn touched(replica: &Replica, key: &str, ttl: Duration, mode: TouchMode) -> pb::TouchResponse {
    let expiry = Some(Touched::Ttl(wire(ttl)));
    touch(replica, pb::TouchRequest { key: key.into(), expiry, mode: mode.into(), ..Default::default() }).await.unwrap()
}

fn ttl(response: &pb::TouchResponse) -> Duration {
    response.ttl.unwrap().try_into().unwrap()
}

fn sliding(key: &str, idle: Duration, max_ttl: Option<Duration>) -> pb::SetRequest {
    let sliding = pb::Sliding { idle: Some(wire(idle)), max_ttl: max_ttl.map(wire) };
    pb::SetRequest { expiry: Some(Expiry::Sliding(sliding)), ..set_request(key, "v") }
}

async fn a_touch_changes_the_time_to_live(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let stored = replica.set("k", "v").await;
    let longer = touched(&replica, "k", HOUR, TouchMode::Unspecified).await;
    assert_eq!((longer.outcome(), &longer.version), (TouchOutcome::Touched, &stored.version));
    assert!(ttl(&longer) > HOUR - 10 * SECOND && ttl(&longer) <= HOUR);
    // Memory, which had the shorter time to live, is updated too.
    let answer = replica.get("k").await;
    assert!(answer.is("v") && answer.ttl() > HOUR - 10 * SECOND, "{answer:?}");
    let shorter = touched(&replica, "k", 10 * SECOND, TouchMode::Overwrite).await;
    assert!(shorter.outcome() == TouchOutcome::Touched && ttl(&shorter) <= 10 * SECOND);
    let answer = replica.get("k").await;
    assert!(answer.is("v") && answer.ttl() <= 10 * SECOND);
    assert_eq!(answer.entry().unwrap().version, stored.version);
    let soon = SystemTime::now() + SECOND / 5;
    let expiry = Some(Touched::ExpireTime(soon.into()));
    touch(&replica, pb::TouchRequest { key: "k".into(), expiry, ..Default::default() }).await.unwrap();
    replica.assert_missing("k").await;
    assert!(soon.duration_since(SystemTime::now()).unwrap_or_default() < SECOND / 100, "the entry expired too early");
}

async fn a_touch_can_be_limited_to_extending_or_shortening(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.set("k", "v").await;
    let outcome = async |ttl, mode| touched(&replica, "k", ttl, mode).await.outcome();
    assert_eq!(outcome(SECOND, TouchMode::Extend).await, TouchOutcome::Unchanged);
    assert_eq!(outcome(HOUR, TouchMode::Shorten).await, TouchOutcome::Unchanged);
    assert!(replica.get("k").await.ttl() > 200 * SECOND);
    assert_eq!(outcome(HOUR, TouchMode::Extend).await, TouchOutcome::Touched);
    assert!(replica.get_strong("k").await.unwrap().ttl() > 3000 * SECOND);
    assert_eq!(outcome(100 * SECOND, TouchMode::Shorten).await, TouchOutcome::Touched);
    assert!(replica.get_strong("k").await.unwrap().ttl() <= 100 * SECOND);
}

async fn a_touch_can_remove_the_expiry(mode: Mode) {
    let replica = mode.replica(&[("namespaces.kept.allow_no_expiry", "true")]).await;
    replica.set_in("kept", "k", "v").await;
    let expiry = Some(Touched::NoExpiry(pb::NoExpiry {}));
    let request = pb::TouchRequest { namespace: "kept".into(), key: "k".into(), expiry, ..Default::default() };
    let forever = touch(&replica, request.clone()).await.unwrap();
    assert_eq!((forever.outcome(), forever.ttl), (TouchOutcome::Touched, None));
    assert_eq!(replica.get_from("kept", "k").await.entry().unwrap().ttl, None);
    let elsewhere = pb::TouchRequest { namespace: String::new(), ..request };
    touch(&replica, elsewhere).await.unwrap_err().assert_violations(&[("no_expiry", "allow_no_expiry")]);
}

async fn a_touch_without_an_entry_changes_nothing(mode: Mode) {
    let replica = mode.replica(&[("namespaces.off.enabled", "false")]).await;
    let none = touched(&replica, "k", HOUR, TouchMode::Overwrite).await;
    assert_eq!((none.outcome(), none.version.as_str(), none.ttl), (TouchOutcome::NotPresent, "", None));
    replica.set("k", "v").await;
    replica.invalidate("k").await;
    assert_eq!(touched(&replica, "k", HOUR, TouchMode::Extend).await.outcome(), TouchOutcome::NotPresent);
    let expiry = Some(Touched::Ttl(wire(HOUR)));
    let off = pb::TouchRequest { namespace: "off".into(), key: "k".into(), expiry, ..Default::default() };
    assert_eq!(touch(&replica, off).await.unwrap().outcome(), TouchOutcome::Disabled);
}

async fn an_invalid_touch_is_refused(mode: Mode) {
    let replica = mode.replica(&[("cache.min_ttl", "1s"), ("cache.max_ttl", "10m")]).await;
    let refused = async |expiry, mode| {
        let request = pb::TouchRequest { expiry, mode, ..Default::default() };
        touch(&replica, request).await.unwrap_err()
    };
    let ttl = |ttl| Some(Touched::Ttl(wire(ttl)));
    refused(None, 9).await.assert_violations(&[("key", "empty"), ("expiry", "must be given"), ("mode", "a TouchMode")]);
    refused(ttl(HOUR), 0).await.assert_violations(&[("key", "empty"), ("ttl", "at most 10m (max_ttl)")]);
    refused(ttl(SECOND / 2), 0).await.assert_violations(&[("key", "empty"), ("ttl", "at least 1s (min_ttl)")]);
    let past = Some(Touched::ExpireTime((SystemTime::now() - HOUR).into()));
    refused(past, 0).await.assert_violations(&[("key", "empty"), ("expire_time", "in the future")]);
}

async fn a_get_extends_a_sliding_entry(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let begun = tokio::time::Instant::now();
    replica.store(sliding("k", SECOND, None)).await.unwrap();
    assert!(replica.get("k").await.ttl() <= SECOND);
    always_until(begun + 3 * SECOND, async || {
        let answer = replica.get("k").await;
        assert!(answer.is("v") && answer.stale().is_none(), "{answer:?}");
        assert!(answer.ttl() <= SECOND);
    })
    .await;
    assert!(replica.get_strong("k").await.unwrap().is("v"));
    if !mode.is_standalone() {
        let commands = replica.counts("default").await.l2_hits;
        assert!(commands < 20, "memory answers the reads: {commands}");
    }
    replica.get("k").await;
    // Without reads the entry expires. The test does not poll, because every read would extend it.
    tokio::time::sleep_until(tokio::time::Instant::now() + 3 * SECOND).await;
    assert!(replica.get("k").await.miss().is_some());
}

async fn a_sliding_entry_expires_without_reads(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let begun = tokio::time::Instant::now();
    replica.store(sliding("k", SECOND, Some(HOUR))).await.unwrap();
    replica
        .store(pb::SetRequest { expiry: Some(Expiry::Ttl(wire(SECOND))), ..set_request("marker", "v") })
        .await
        .unwrap();
    replica.assert_missing("marker").await;
    assert!(begun.elapsed() >= SECOND - SECOND / 100);
    replica.assert_missing("k").await;
}

async fn a_sliding_entry_expires_at_its_limit_despite_reads(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let begun = tokio::time::Instant::now();
    replica.store(sliding("k", SECOND, Some(2 * SECOND))).await.unwrap();
    let acknowledged = tokio::time::Instant::now();
    let (mut last, mut longest_pause) = (begun, Duration::ZERO);
    eventually("it ends", async || {
        let requested_at = tokio::time::Instant::now();
        longest_pause = longest_pause.max(requested_at - last);
        last = requested_at;
        let answer = replica.get("k").await;
        assert!(
            answer.miss().is_some() || requested_at <= acknowledged + 2 * SECOND,
            "{:?}",
            requested_at - acknowledged
        );
        answer.miss().is_some()
    })
    .await;
    // This machine may be too slow to read it often enough.
    assert!(
        longest_pause > SECOND / 2 || last - begun > SECOND + SECOND / 2,
        "reads extended the entry beyond its limit: {:?}",
        last - begun
    );
}

async fn touches_are_counted(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.set("k", "v").await;
    touched(&replica, "k", HOUR, TouchMode::Overwrite).await;
    touched(&replica, "k", SECOND, TouchMode::Extend).await;
    assert_eq!(replica.counts("default").await.touches, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shorter_time_to_live_holds_on_every_replica() {
    let fleet = Fleet::start(2, &[]).await;
    for n in 0..20 {
        let key = format!("k{n}");
        fleet[0].set(&key, "v").await;
        fleet[1].wait_until_cached(&key, "v").await;
        let touched = touched(&fleet[0], &key, 10 * SECOND, TouchMode::Shorten).await;
        assert_eq!(touched.outcome(), TouchOutcome::Touched);
        let request = pb::GetRequest { key: key.clone(), tokens: vec![touched.token], ..Default::default() };
        assert!(fleet[1].try_get(request).await.unwrap().ttl() <= 10 * SECOND);
        eventually("the other replica has the new time to live", async || {
            fleet[1].get(&key).await.ttl() <= 10 * SECOND
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sliding_read_on_one_replica_extends_the_others() {
    let fleet = Fleet::start(2, &[]).await;
    fleet[0].store(sliding("k", SECOND, None)).await.unwrap();
    let end = tokio::time::Instant::now() + 3 * SECOND;
    fleet[1].wait_until_cached("k", "v").await;
    always_until(end, async || assert!(fleet[0].get("k").await.is("v"))).await;
    // This replica has not read the entry within its idle time. Memory considers it expired, but
    // Redis has the extended time.
    assert!(fleet[1].get("k").await.is("v"));
}
