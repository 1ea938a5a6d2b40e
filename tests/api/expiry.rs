//! Expiry of entries in every tier and on every replica.

use std::time::{Duration, SystemTime};

use twintier::pb;
use twintier::pb::set_request::{Condition, Expiry};

use crate::harness::{Answer as _, Fleet, Mode, Refusal as _, eventually, in_both_modes, set_request};

in_both_modes! {
    an_entry_expires_after_its_time_to_live,
    an_entry_expires_at_its_absolute_time,
    a_get_does_not_extend_the_time_to_live,
    a_later_set_extends_the_time_to_live,
    a_negative_entry_expires,
    an_expired_entry_counts_as_absent_for_a_condition,
    a_set_without_an_expiry_uses_the_namespaces_default,
    an_expiry_outside_of_the_limits_is_refused,
    the_longest_and_the_shortest_time_to_live_are_accepted,
    a_set_without_expiry_is_refused_unless_allowed,
    jitter_shortens_the_time_to_live_at_random,
    an_entry_past_its_soft_time_to_live_is_due_for_refresh,
    contradictory_expiry_fields_are_refused,
    a_negative_entry_has_its_own_default_time_to_live,
    an_expired_entry_is_kept_for_the_stale_window,
}

fn wire(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap()
}

fn set_with_ttl(key: &str, ttl: Duration) -> pb::SetRequest {
    pb::SetRequest { expiry: Some(Expiry::Ttl(wire(ttl))), ..set_request(key, "v") }
}

fn set_with_expiry(key: &str, time: SystemTime) -> pb::SetRequest {
    pb::SetRequest { expiry: Some(Expiry::ExpireTime(time.into())), ..set_request(key, "v") }
}

const SHORT: Duration = Duration::from_millis(300);

async fn an_entry_expires_after_its_time_to_live(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let begun = tokio::time::Instant::now();
    replica.store(set_with_ttl("k", SHORT)).await.unwrap();
    let answer = replica.get("k").await;
    if begun.elapsed() < SHORT {
        assert!(answer.is("v"));
        assert!(answer.ttl() <= SHORT);
    }
    replica.assert_missing("k").await;
    assert!(begun.elapsed() >= SHORT - Duration::from_millis(1), "gone after {:?}", begun.elapsed());
    assert!(replica.get_strong("k").await.unwrap().miss().is_some());
}

async fn an_entry_expires_at_its_absolute_time(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let end = SystemTime::now() + 2 * SHORT;
    replica.store(set_with_expiry("k", end)).await.unwrap();
    let answer = replica.get("k").await;
    if SystemTime::now() < end {
        assert!(answer.is("v"));
        assert!(answer.ttl() <= 2 * SHORT);
    }
    replica.assert_missing("k").await;
    assert!(SystemTime::now() + Duration::from_millis(5) >= end, "the entry expired too early");
}

async fn a_get_does_not_extend_the_time_to_live(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.store(set_with_ttl("k", SHORT)).await.unwrap();
    eventually("the entry expires despite reads", async || replica.get("k").await.miss().is_some()).await;
}

async fn a_later_set_extends_the_time_to_live(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.store(set_with_ttl("k", SHORT)).await.unwrap();
    replica.store(set_with_ttl("marker", 2 * SHORT)).await.unwrap();
    replica.store(set_with_ttl("k", Duration::from_secs(60))).await.unwrap();
    replica.assert_missing("marker").await;
    assert!(replica.get("k").await.is("v"));
    assert!(replica.get_strong("k").await.unwrap().is("v"));
    // A shorter time to live shortens it.
    replica.store(set_with_ttl("k", SHORT)).await.unwrap();
    replica.assert_missing("k").await;
}

async fn a_negative_entry_expires(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let content = Some(pb::set_request::Content::KnownAbsent(pb::KnownAbsent {}));
    replica.store(pb::SetRequest { content, ..set_with_ttl("k", SHORT) }).await.unwrap();
    replica.assert_missing("k").await;
}

async fn an_expired_entry_counts_as_absent_for_a_condition(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let brief = set_with_ttl("k", Duration::from_millis(50));
    replica.store(brief.clone()).await.unwrap();
    let present = pb::SetRequest { condition: Some(Condition::IfPresent(pb::IfPresent {})), ..brief };
    // A replica never answers longer than Redis keeps it, but it may end a moment earlier.
    eventually("the condition finds no entry", async || {
        replica.assert_missing("k").await;
        replica.store(present.clone()).await.unwrap().outcome() == pb::SetOutcome::NotPresent
    })
    .await;
    let absent = pb::SetRequest { condition: Some(Condition::IfAbsent(pb::IfAbsent {})), ..set_request("k", "2") };
    assert_eq!(replica.store(absent).await.unwrap().outcome(), pb::SetOutcome::Stored);
}

async fn a_set_without_an_expiry_uses_the_namespaces_default(mode: Mode) {
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
    refused(set_with_ttl("k", Duration::from_millis(60_001)))
        .await
        .assert_violations(&[("ttl", "at most 1m (max_ttl); was 1m1ms")]);
    refused(set_with_ttl("k", Duration::ZERO)).await.assert_violations(&[("ttl", "at least 1ms")]);
    refused(set_with_ttl("k", Duration::from_micros(999))).await.assert_violations(&[("ttl", "at least 1ms")]);
    let now = SystemTime::now();
    refused(set_with_expiry("k", now + Duration::from_secs(90)))
        .await
        .assert_violations(&[("expire_time", "at most 1m (max_ttl); was 1m")]);
    refused(set_with_expiry("k", now - Duration::from_secs(1)))
        .await
        .assert_violations(&[("expire_time", "in the future; was 1s")]);
    let odd = |seconds, nanos| pb::SetRequest {
        expiry: Some(Expiry::Ttl(prost_types::Duration { seconds, nanos })),
        ..set_request("k", "v")
    };
    refused(odd(-1, 0)).await.assert_violations(&[("ttl", "negative")]);
    refused(odd(1, -1)).await.assert_violations(&[("ttl", "negative")]);
    refused(odd(1, 1_000_000_000)).await.assert_violations(&[("ttl", "valid duration")]);
    refused(odd(i64::MAX, 0)).await.assert_violations(&[("ttl", "valid duration")]);
    let odd_time = |seconds, nanos| pb::SetRequest {
        expiry: Some(Expiry::ExpireTime(prost_types::Timestamp { seconds, nanos })),
        ..set_request("k", "v")
    };
    refused(odd_time(i64::MAX, 0)).await.assert_violations(&[("expire_time", "")]);
    refused(odd_time(i64::MIN, 0)).await.assert_violations(&[("expire_time", "")]);
    refused(odd_time(4_000_000_000, -1)).await.assert_violations(&[("expire_time", "valid timestamp")]);
    assert!(replica.get("k").await.miss().is_some());
}

async fn the_longest_and_the_shortest_time_to_live_are_accepted(mode: Mode) {
    let replica = mode.replica(&[("cache.max_ttl", "365d")]).await;
    let year = Duration::from_secs(365 * 24 * 3600);
    replica.store(set_with_ttl("long", year)).await.unwrap();
    assert!(replica.get("long").await.ttl() > year - Duration::from_secs(60));
    assert!(replica.get_strong("long").await.unwrap().ttl() > year - Duration::from_secs(60));
    replica.store(set_with_ttl("short", Duration::from_millis(1))).await.unwrap();
    replica.assert_missing("short").await;
}

async fn a_set_without_expiry_is_refused_unless_allowed(mode: Mode) {
    let replica = mode.replica(&[("namespaces.kept.allow_no_expiry", "true")]).await;
    let request = pb::SetRequest { expiry: Some(Expiry::NoExpiry(pb::NoExpiry {})), ..set_request("k", "v") };
    replica.store(request.clone()).await.unwrap_err().assert_violations(&[("no_expiry", "allow_no_expiry")]);
    let kept = pb::SetRequest { namespace: "kept".into(), ..request };
    assert_eq!(replica.store(kept).await.unwrap().outcome(), pb::SetOutcome::Stored);
    let answer = replica.get_from("kept", "k").await;
    assert!(answer.is("v"));
    assert_eq!(answer.entry().unwrap().ttl, None);
    let consistency = pb::Consistency::Strong.into();
    let strong = pb::GetRequest { namespace: "kept".into(), key: "k".into(), consistency, ..Default::default() };
    assert_eq!(replica.try_get(strong).await.unwrap().entry().unwrap().ttl, None);
}

async fn jitter_shortens_the_time_to_live_at_random(mode: Mode) {
    let replica = mode.replica(&[("namespaces.spread.jitter", "0.2")]).await;
    let ttl = Duration::from_secs(1000);
    let mut ends = std::collections::BTreeSet::new();
    for n in 0..20 {
        let key = n.to_string();
        let own = pb::SetRequest { jitter: Some(0.5), ..set_with_ttl(&key, ttl) };
        replica.store(own).await.unwrap();
        replica.store(pb::SetRequest { namespace: "spread".into(), ..set_with_ttl(&key, ttl) }).await.unwrap();
        let lives = replica.get(&key).await.ttl();
        assert!(lives >= ttl / 2 - Duration::from_secs(10) && lives <= ttl, "{lives:?}");
        let lives = replica.get_from("spread", &key).await.ttl();
        assert!(lives >= ttl * 4 / 5 - Duration::from_secs(10) && lives <= ttl, "{lives:?}");
        ends.insert(lives.as_secs());
    }
    assert!(ends.len() > 5, "the entries do not end together: {ends:?}");
}

async fn an_entry_past_its_soft_time_to_live_is_due_for_refresh(mode: Mode) {
    let replica = mode.replica(&[("namespaces.soft.soft_ttl", "200ms")]).await;
    replica.store(pb::SetRequest { soft_ttl: Some(wire(SHORT)), ..set_request("k", "v") }).await.unwrap();
    replica.set_in("soft", "k", "v").await;
    for namespace in ["", "soft"] {
        let due = async || replica.get_from(namespace, "k").await.entry().unwrap().refresh_due;
        eventually("the entry is due", due).await;
        let answer = replica.get_from(namespace, "k").await;
        assert!(answer.is("v") && answer.stale().is_none(), "the entry is still fresh");
    }
    replica.store(pb::SetRequest { namespace: "soft".into(), ..set_with_ttl("brief", SHORT / 3) }).await.unwrap();
    let brief = replica.get_from("soft", "brief").await;
    assert!(brief.entry().is_none_or(|entry| !entry.refresh_due), "a soft time to live beyond the end does not count");
}

async fn contradictory_expiry_fields_are_refused(mode: Mode) {
    let replica = mode.replica(&[("cache.max_ttl", "1h"), ("cache.min_ttl", "10s")]).await;
    let second = Duration::from_secs(1);
    let refused = async |request| replica.store(request).await.unwrap_err();
    let soft = |soft| pb::SetRequest { soft_ttl: Some(wire(soft)), ..set_with_ttl("k", 20 * second) };
    refused(soft(20 * second)).await.assert_violations(&[("soft_ttl", "less than the time to live, 20s")]);
    refused(soft(Duration::ZERO)).await.assert_violations(&[("soft_ttl", "more than 0")]);
    refused(set_with_ttl("k", second)).await.assert_violations(&[("ttl", "at least 10s (min_ttl)")]);
    let jitter = |jitter, request| pb::SetRequest { jitter: Some(jitter), ..request };
    refused(jitter(0.6, set_request("k", "v"))).await.assert_violations(&[("jitter", "from 0 to 0.5; was 0.6")]);
    let end = SystemTime::now() + 60 * second;
    refused(jitter(0.1, set_with_expiry("k", end))).await.assert_violations(&[("jitter", "absent with expire_time")]);
    let sliding = |idle: Option<Duration>, max_ttl: Option<Duration>| {
        let sliding = pb::Sliding { idle: idle.map(wire), max_ttl: max_ttl.map(wire) };
        pb::SetRequest { expiry: Some(Expiry::Sliding(sliding)), ..set_request("k", "v") }
    };
    refused(sliding(None, None)).await.assert_violations(&[("sliding.idle", "must be given")]);
    refused(sliding(Some(second / 2), None)).await.assert_violations(&[("sliding.idle", "from 1s to 1h (max_ttl)")]);
    refused(sliding(Some(2 * second), Some(second)))
        .await
        .assert_violations(&[("sliding.max_ttl", "from idle to 1h (max_ttl)")]);
    refused(sliding(Some(2 * second), Some(3601 * second)))
        .await
        .assert_violations(&[("sliding.max_ttl", "from idle to 1h (max_ttl)")]);
    // All violations at once.
    let all = pb::SetRequest { soft_ttl: Some(wire(second)), jitter: Some(-1.0), ..set_with_ttl("", second) };
    refused(all).await.assert_violations(&[("key", ""), ("ttl", "min_ttl"), ("jitter", ""), ("soft_ttl", "less than")]);
}

async fn a_negative_entry_has_its_own_default_time_to_live(mode: Mode) {
    let replica = mode
        .replica(&[
            ("cache.negative_ttl", "20s"),
            ("namespaces.brief.max_ttl", "10s"),
            ("namespaces.brief.default_ttl", "5s"),
        ])
        .await;
    let content = Some(pb::set_request::Content::KnownAbsent(pb::KnownAbsent {}));
    let negative = |namespace: &str| pb::SetRequest {
        namespace: namespace.into(),
        content: content.clone(),
        ..set_request("k", "")
    };
    for (namespace, longest) in [("", 20), ("brief", 10)] {
        replica.store(negative(namespace)).await.unwrap();
        let ttl = replica.get_from(namespace, "k").await.ttl();
        assert!(ttl <= Duration::from_secs(longest) && ttl > Duration::from_secs(longest - 5), "{ttl:?}");
    }
}

async fn an_expired_entry_is_kept_for_the_stale_window(mode: Mode) {
    let replica = mode.replica(&[("cache.stale_window", "1h")]).await;
    replica.store(set_with_ttl("k", SHORT)).await.unwrap();
    replica.assert_missing("k").await;
    let accepts =
        pb::GetRequest { key: "k".into(), max_staleness: Some(wire(Duration::from_secs(60))), ..Default::default() };
    let answer = replica.try_get(accepts.clone()).await.unwrap();
    assert!(answer.is("v"));
    assert_eq!(answer.stale().unwrap().reason(), pb::StaleReason::Expired);
    assert_eq!(answer.ttl(), Duration::ZERO);
    replica.invalidate("k").await;
    assert!(replica.try_get(accepts).await.unwrap().miss().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_expires_on_every_replica_and_in_redis() {
    let fleet = Fleet::start(3, &[]).await;
    let ttl = Duration::from_secs(1);
    let begun = tokio::time::Instant::now();
    fleet[0].store(set_with_ttl("k", ttl)).await.unwrap();
    for replica in &fleet.replicas {
        let answer = replica.get("k").await;
        if begun.elapsed() < ttl {
            assert!(answer.is("v"));
            assert!(answer.ttl() <= ttl, "{:?}", answer.ttl());
        }
    }
    let acknowledged = tokio::time::Instant::now();
    for replica in &fleet.replicas {
        eventually("the entry ends", async || {
            let requested_at = tokio::time::Instant::now();
            let answer = replica.get("k").await;
            // The entry ends by its time after the acknowledgement of the Set, in either tier.
            assert!(answer.miss().is_some() || requested_at < acknowledged + ttl, "{answer:?}");
            answer.miss().is_some()
        })
        .await;
    }
    assert!(begun.elapsed() >= ttl - Duration::from_millis(1));
    assert!(fleet[0].get_strong("k").await.unwrap().miss().is_some());
}
