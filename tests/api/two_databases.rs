//! Deployments that share a Redis and a prefix: separated by database, else reported.

use tokio::time::Instant;
use twintier::pb;

use crate::harness::{
    Answer as _, MAX_STALENESS, Proxy, Redis, Replica, SCHEDULING_ALLOWANCE, SHORT_BOUND, always_until, eventually,
    set_request,
};

/// Starts a replica in this database of `redis`, and waits until its memory is proven.
async fn in_database(redis: &Redis, database: u8, settings: &[(&str, &str)]) -> Replica {
    let replica = Replica::connected_to(&format!("{}/{database}", redis.url()), settings).await;
    replica.wait_until_proven().await;
    replica
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_databases_with_one_prefix_receive_separate_messages() {
    const KEYS: usize = 20;
    let redis = Redis::start().await;
    let staging = [in_database(&redis, 0, &[]).await, in_database(&redis, 0, &[]).await];
    let production = [in_database(&redis, 1, &[]).await, in_database(&redis, 1, &[]).await];
    for n in 0..KEYS {
        let key = format!("k{n}");
        staging[0].set(&key, "staging").await;
        production[0].set(&key, "production").await;
    }
    for n in 0..KEYS {
        let key = format!("k{n}");
        staging[1].wait_until_cached(&key, "staging").await;
        production[1].wait_until_cached(&key, "production").await;
    }
    for (writer, reader) in [(&staging[0], &production[1]), (&production[0], &staging[1])] {
        let (before, line) = (reader.counts("default").await, reader.coherence().await);
        for n in 0..300 {
            writer.set(&format!("other{n}"), "v").await;
            reader.get(&format!("k{}", n % KEYS)).await;
        }
        let (after, now) = (reader.counts("default").await, reader.coherence().await);
        assert_eq!((now.gaps, now.undecodable, now.messages_applied), (0, 0, line.messages_applied));
        assert_eq!(reader.redis().await.foreign_messages, 0);
        // All hits come from memory, unless this machine was too slow to prove it.
        let hits = after.l1_hits - before.l1_hits;
        assert!(hits >= 285, "{hits} of 300 from memory");
    }
    for [writer, reader] in [&staging, &production] {
        writer.set("k0", "new").await;
        reader.wait_until_visible("k0", "new").await;
        reader.invalidate("k0").await;
        writer.assert_missing("k0").await;
    }
    // The barrier counts replicas of its own database only.
    let barrier = pb::Barrier::Fleet.into();
    production[0].store(pb::SetRequest { barrier, ..set_request("k0", "behind") }).await.unwrap();
    assert!(production[1].get("k0").await.is("behind"));
    assert!(staging[1].get("k0").await.miss().is_some());
}

/// A message of another deployment after a Set in the default namespace.
fn foreign_message(partition: u16, epoch: u64) -> Vec<u8> {
    let mut bytes = vec![1, 1];
    bytes.extend(partition.to_be_bytes());
    for number in [4711, 0, epoch, 1, 0] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend([1, 7]);
    bytes.extend(b"default");
    bytes.extend([0, 1, b'x', 0, 0]);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_deployment_on_the_channels_is_counted_and_named() {
    let redis = Redis::start().await;
    let replica = Replica::with_metrics(&[("redis.url", &redis.url()), SHORT_BOUND[0]], &[]).await;
    replica.wait_until_proven().await;
    assert_eq!(replica.redis().await.warnings, Vec::<String>::new());
    let epoch = redis.cli(&["HGET", "twintier:{3}:c", "e"]).await.text().parse::<u64>().unwrap();
    // The other deployment began earlier or later than this one.
    for (index, epoch) in [epoch - 1_000_000, epoch + 1_000_000].into_iter().enumerate() {
        let receivers = redis.cli(&[b"PUBLISH", &b"twintier:{3}:b"[..], &foreign_message(3, epoch)]).await.number();
        assert_eq!(receivers, 1);
        let expected = index as u64 + 1;
        eventually("the message is counted", async || replica.redis().await.foreign_messages == expected).await;
        assert_eq!(replica.coherence().await.undecodable, 0);
        eventually("memory is proven again", async || replica.coherence().await.partitions_proven == 64).await;
    }
    let warnings = replica.redis().await.warnings;
    assert!(warnings.iter().any(|text| text.contains("redis.prefix") && text.contains("redis.url")), "{warnings:?}");
    let foreign = replica.scrape().get("twintier_bus_messages_total", &[("outcome", "foreign")]);
    assert_eq!(foreign, 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_of_this_deployment_is_not_foreign() {
    let redis = Redis::start().await;
    let (one, other) = (Replica::on(&redis, SHORT_BOUND).await, Replica::on(&redis, SHORT_BOUND).await);
    for n in 0..10 {
        one.set("k", &n.to_string()).await;
        redis.cli(&["FLUSHALL"]).await;
        one.set("k", "after").await;
        other.wait_until_visible("k", "after").await;
    }
    one.wait_until_proven().await;
    other.wait_until_proven().await;
    for replica in [&one, &other] {
        assert_eq!(replica.redis().await.foreign_messages, 0);
    }
}

/// Asserts that `reader` stops answering `old` by Δ after `acknowledged`.
async fn assert_stops_answering(reader: &Replica, key: &str, old: &str, acknowledged: Instant) {
    always_until(acknowledged + MAX_STALENESS + SCHEDULING_ALLOWANCE, async || {
        let requested_at = Instant::now();
        let answer = reader.get(key).await;
        assert!(
            !answer.is(old) || requested_at <= acknowledged + MAX_STALENESS,
            "{:?} after: {answer:?}",
            requested_at - acknowledged
        );
    })
    .await;
    assert!(!reader.get(key).await.is(old));
}

/// During a rolling update in a database other than 0, an older build uses the channels without the
/// number. A replica behind a proxy that changes its database plays the older build.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_keeps_an_older_build_in_the_same_database_fresh() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    proxy.select_database(1);
    let older = Replica::connected_to(&format!("{}/0", proxy.url()), SHORT_BOUND).await;
    let newer = in_database(&redis, 1, SHORT_BOUND).await;
    older.wait_until_proven().await;
    // Each kind of channel has one subscriber, so that neither receives the messages of the other.
    for (channel, receivers) in [("twintier:{0}:b", 1), ("twintier:{0}:b:1", 1)] {
        let reply = redis.cli(&["PUBSUB", "NUMSUB", channel]).await;
        let crate::harness::Reply::List(counts) = reply else { panic!("not a list") };
        assert_eq!(counts[1].number(), receivers, "{channel}");
    }
    for (n, (writer, reader)) in [(&newer, &older), (&older, &newer), (&newer, &older)].into_iter().enumerate() {
        let (old, new) = (format!("old{n}"), format!("new{n}"));
        writer.set("k", &old).await;
        reader.wait_until_cached("k", &old).await;
        let before = reader.coherence().await;
        writer.set("k", &new).await;
        assert_stops_answering(reader, "k", &old, Instant::now()).await;
        let after = reader.coherence().await;
        assert!(after.audits_failed > before.audits_failed, "{after:?}");
        assert_eq!(after.messages_applied, before.messages_applied);
        reader.wait_until_cached("k", &new).await;
        // Its own writes are visible at once.
        reader.set("own", &new).await;
        assert!(reader.get("own").await.is(&new));
        // A barrier waits until the other replica may no longer answer with earlier values.
        let barrier = pb::Barrier::Fleet.into();
        writer.store(pb::SetRequest { barrier, ..set_request("k", "behind") }).await.unwrap();
        assert!(!reader.get("k").await.is(&new));
    }
}
