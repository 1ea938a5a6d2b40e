//! Coherence: fresh on this replica, and on all within Δ, under faults of messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use twintier::pb;

use crate::harness::{
    Answer as _, Class, Direction, Fleet, MAX_STALENESS, Proxy, Redis, Replica, SCHEDULING_ALLOWANCE, SHORT_BOUND,
    Seen, WAIT_TIMEOUT, always_until, eventually, set_request, within,
};

/// A replica that writes, and one behind a proxy to Redis.
async fn pair() -> (Redis, Proxy, Replica, Replica) {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let writer = Replica::on(&redis, SHORT_BOUND).await;
    let reader = Replica::connected_to(&proxy.url(), SHORT_BOUND).await;
    reader.wait_until_proven().await;
    (redis, proxy, writer, reader)
}

/// Asserts that `reader` stops answering `old` by Δ after `acknowledged`. No Get fails.
async fn assert_stops_answering(reader: &Replica, key: &str, old: &str, acknowledged: Instant) {
    let mut last = None;
    always_until(acknowledged + MAX_STALENESS + SCHEDULING_ALLOWANCE, async || {
        let requested_at = Instant::now();
        let answer = reader.get(key).await;
        if answer.is(old) && answer.stale().is_none() {
            assert!(
                requested_at <= acknowledged + MAX_STALENESS,
                "{:?} after the write: {answer:?}",
                requested_at - acknowledged
            );
            last = Some(requested_at - acknowledged);
        }
    })
    .await;
    let answer = reader.get(key).await;
    assert!(!answer.is(old), "{answer:?}; last seen {last:?} after the write");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_visible_to_the_next_get_on_the_same_replica() {
    let fleet = Fleet::start(2, SHORT_BOUND).await;
    let mut tasks = JoinSet::new();
    for task in 0..4 {
        let mut client = fleet[task % 2].client.clone();
        tasks.spawn(async move {
            let key = format!("k{task}");
            for n in 0..150 {
                let value = n.to_string();
                client.set(set_request(&key, &value)).await.unwrap();
                let get = pb::GetRequest { key: key.clone(), ..Default::default() };
                let answer = client.get(get.clone()).await.unwrap().into_inner();
                assert!(answer.is(&value), "{n}: {answer:?}");
                if n % 10 == 0 {
                    client.invalidate(crate::harness::invalidate_key(&key)).await.unwrap();
                    let answer = client.get(get).await.unwrap().into_inner();
                    assert!(answer.miss().is_some(), "{n}: {answer:?}");
                }
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_becomes_visible_on_the_other_replicas() {
    let fleet = Fleet::start(3, SHORT_BOUND).await;
    for n in 0..30 {
        let value = n.to_string();
        fleet[n % 3].set("k", &value).await;
        for replica in &fleet.replicas {
            replica.wait_until_visible("k", &value).await;
        }
        if n % 5 == 4 {
            fleet[(n + 1) % 3].invalidate("k").await;
            for replica in &fleet.replicas {
                replica.assert_missing("k").await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_lags_a_steady_writer_by_more_than_the_bound() {
    let (_redis, _proxy, writer, reader) = pair().await;
    assert_bounded_lag(writer, reader, async || {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_stays_within_the_bound_while_its_subscription_is_cut_repeatedly() {
    let (_redis, proxy, writer, reader) = pair().await;
    assert_bounded_lag(writer, reader, async || proxy.reset(Class::Subscription)).await;
}

/// Writes rising numbers at one replica and reads them at the other for several Δ, with `fault`
/// every 100 ms.
async fn assert_bounded_lag(writer: Replica, reader: Replica, fault: impl AsyncFn()) {
    let done = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(std::sync::Mutex::new(vec![Instant::now()]));
    writer.set("k", "0").await;
    let writing = tokio::spawn({
        let (done, acknowledged) = (done.clone(), acknowledged.clone());
        async move {
            for n in 1.. {
                if done.load(Ordering::Relaxed) {
                    return n;
                }
                writer.set("k", &n.to_string()).await;
                acknowledged.lock().unwrap().push(Instant::now());
            }
            0
        }
    });
    let mut next_fault = Instant::now();
    let mut reads = 0;
    let (end, writes) = (Instant::now() + 4 * MAX_STALENESS, || acknowledged.lock().unwrap().len());
    // A slow machine runs longer, until it has enough reads and writes.
    while Instant::now() < end || reads <= 50 || writes() <= 50 {
        if Instant::now() > next_fault {
            next_fault += Duration::from_millis(100);
            fault().await;
        }
        for _ in 0..10 {
            let requested_at = Instant::now();
            let answer = reader.get("k").await;
            let Seen::Value(value) = answer.seen() else { panic!("{answer:?}") };
            let value: usize = value.parse().unwrap();
            // At the start of the read, the next write must have been acknowledged for at most Δ.
            let overdue =
                acknowledged.lock().unwrap().get(value + 1).map(|moment| requested_at.duration_since(*moment));
            assert!(overdue.is_none_or(|lag| lag <= MAX_STALENESS), "{value} lags by {overdue:?}: {answer:?}");
            reads += 1;
        }
        sleep(Duration::from_millis(5)).await;
    }
    done.store(true, Ordering::Relaxed);
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_a_deaf_subscription_stops_answering_the_old_value() {
    let (_redis, proxy, writer, reader) = pair().await;
    writer.set("k", "old").await;
    reader.wait_until_cached("k", "old").await;
    proxy.stall(Class::Subscription, Direction::ToClient);
    writer.set("k", "new").await;
    assert_stops_answering(&reader, "k", "old", Instant::now()).await;
    eventually("Redis is degraded", async || reader.redis().await.state() == pb::RedisState::Degraded).await;
    assert!(!reader.redis().await.reason.is_empty());
    assert!(reader.get("k").await.is("new"));
    proxy.resume(Class::Subscription, Direction::ToClient);
    reader.wait_until_proven().await;
    reader.wait_until_cached("k", "new").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_echoes_stops_answering_the_old_value() {
    let (_redis, proxy, writer, reader) = pair().await;
    writer.set("k", "old").await;
    reader.wait_until_cached("k", "old").await;
    proxy.stall(Class::Subscription, Direction::ToServer);
    eventually("no partition is proven", async || reader.coherence().await.partitions_proven == 0).await;
    writer.set("k", "new").await;
    assert_stops_answering(&reader, "k", "old", Instant::now()).await;
    proxy.resume(Class::Subscription, Direction::ToServer);
    reader.wait_until_proven().await;
    reader.wait_until_cached("k", "new").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_bytes_on_the_subscription_never_leave_an_old_value() {
    let (_redis, proxy, writer, reader) = pair().await;
    writer.set("k", "old").await;
    reader.wait_until_cached("k", "old").await;
    proxy.lose(Class::Subscription, Direction::ToClient);
    writer.set("k", "new").await;
    let acknowledged = Instant::now();
    proxy.resume(Class::Subscription, Direction::ToClient);
    assert_stops_answering(&reader, "k", "old", acknowledged).await;
    eventually("memory is proven and holds the new value", async || {
        let answer = reader.get("k").await;
        answer.is("new") && answer.tier() == pb::Tier::L1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_cut_and_healed_leaves_no_old_value() {
    let (_redis, proxy, writer, reader) = pair().await;
    writer.set("k", "start").await;
    reader.wait_until_cached("k", "start").await;
    let mut old = "start".to_owned();
    for n in 0..20 {
        proxy.reset(Class::Subscription);
        let new = n.to_string();
        writer.set("k", &new).await;
        let acknowledged = Instant::now();
        eventually("memory holds the new value", async || {
            let requested_at = Instant::now();
            let answer = reader.get("k").await;
            assert!(!answer.is(&old) || requested_at <= acknowledged + MAX_STALENESS, "{n}: {answer:?}");
            answer.is(&new) && answer.tier() == pb::Tier::L1
        })
        .await;
        old = new;
    }
    assert!(reader.coherence().await.disconnects >= 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_value_is_gone_everywhere_after_a_flush_of_redis() {
    let fleet = Fleet::start(2, SHORT_BOUND).await;
    fleet[0].set("k", "old").await;
    for replica in &fleet.replicas {
        replica.wait_until_cached("k", "old").await;
    }
    fleet.redis.cli(&["FLUSHALL"]).await;
    let flushed = Instant::now();
    tokio::join!(
        assert_stops_answering(&fleet[0], "k", "old", flushed),
        assert_stops_answering(&fleet[1], "k", "old", flushed)
    );
    fleet[1].set("k", "new").await;
    for replica in &fleet.replicas {
        replica.wait_until_proven().await;
        replica.wait_until_cached("k", "new").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_right_after_a_flush_is_seen_everywhere() {
    let fleet = Fleet::start(2, SHORT_BOUND).await;
    for n in 0..10 {
        let (old, new) = (format!("old{n}"), format!("new{n}"));
        fleet[0].set("k", &old).await;
        fleet[1].wait_until_visible("k", &old).await;
        fleet.redis.cli(&["FLUSHALL"]).await;
        fleet[0].set("k", &new).await;
        let acknowledged = Instant::now();
        assert!(fleet[0].get("k").await.is(&new));
        eventually("the new value is seen", async || {
            let requested_at = Instant::now();
            let answer = fleet[1].get("k").await;
            assert!(!answer.is(&old) || requested_at <= acknowledged + MAX_STALENESS, "{answer:?}");
            answer.is(&new)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_empty_resurrects_nothing() {
    let mut fleet = Fleet::start(2, SHORT_BOUND).await;
    for n in 0..50 {
        fleet[0].set(&n.to_string(), "old").await;
        fleet[1].wait_until_cached(&n.to_string(), "old").await;
    }
    fleet.redis.kill9();
    fleet.redis.restart().await;
    for replica in &fleet.replicas {
        eventually("a write is accepted again", async || replica.store(set_request("0", "new")).await.is_ok()).await;
    }
    let back = Instant::now();
    always_until(back + MAX_STALENESS + SCHEDULING_ALLOWANCE, async || {
        for replica in &fleet.replicas {
            for n in 1..50 {
                let requested_at = Instant::now();
                let answer = replica.get(&n.to_string()).await;
                assert!(!answer.is("old") || requested_at <= back + MAX_STALENESS, "{answer:?}");
            }
        }
    })
    .await;
    for replica in &fleet.replicas {
        replica.wait_until_proven().await;
        replica.wait_until_cached("0", "new").await;
        for n in 1..50 {
            assert_eq!(replica.get(&n.to_string()).await.miss(), Some(pb::MissReason::Absent));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_from_an_old_snapshot_resurrects_nothing() {
    let mut redis = Redis::start().await;
    let replica = Replica::on(&redis, SHORT_BOUND).await;
    replica.set("k", "snapshot").await;
    replica.set("gone", "snapshot").await;
    redis.cli(&["SAVE"]).await;
    replica.set("k", "new").await;
    replica.invalidate("gone").await;
    redis.kill9();
    redis.restart().await;
    replica.wait_until_proven().await;
    // Neither the overwritten value nor the invalidated one comes back.
    eventually("a write is accepted again", async || replica.store(set_request("other", "v")).await.is_ok()).await;
    for key in ["k", "gone"] {
        let answer = replica.get_strong(key).await.unwrap();
        assert!(!answer.is("snapshot"), "{answer:?}");
        eventually("the entry is gone", async || replica.get(key).await.miss().is_some()).await;
    }
}

/// Channel of a partition.
fn channel(partition: u16) -> String {
    format!("twintier:{{{partition}}}:b")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_bus_is_counted_and_heals() {
    let fleet = Fleet::start(2, SHORT_BOUND).await;
    fleet[0].set("k", "v").await;
    fleet[1].wait_until_cached("k", "v").await;
    let before = fleet[1].coherence().await;
    let long = vec![0xffu8; 100_000];
    let head = [1u8, 1, 0, 3];
    for garbage in [&b""[..], b"garbage", &[0; 64], &[1; 64], &head, &long] {
        let receivers = fleet.redis.cli(&[b"PUBLISH", channel(3).as_bytes(), garbage]).await.number();
        assert_eq!(receivers, 2);
    }
    eventually("the message is counted", async || fleet[1].coherence().await.undecodable >= before.undecodable + 6)
        .await;
    assert!(fleet[1].coherence().await.bumps > before.bumps);
    for replica in &fleet.replicas {
        replica.wait_until_proven().await;
        replica.wait_until_cached("k", "v").await;
    }
    fleet[0].set("k", "new").await;
    fleet[1].wait_until_visible("k", "new").await;
}

/// A message that a replica would publish after a change of `key` in the default namespace.
fn message(partition: u16, epoch: u64, sequence: u64, key: &str) -> Vec<u8> {
    let mut bytes = vec![1, 1];
    bytes.extend(partition.to_be_bytes());
    for number in [4711, epoch, sequence, 0] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.push(7);
    bytes.extend(b"default");
    bytes.extend((key.len() as u16).to_be_bytes());
    bytes.extend(key.as_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_out_of_sequence_makes_the_partition_unproven() {
    let fleet = Fleet::start(2, &[("coherence.partitions", "1"), SHORT_BOUND[0]]).await;
    fleet[0].set("k", "v").await;
    let field = async |name| fleet.redis.cli(&["HGET", "twintier:{0}:c", name]).await.text().parse::<u64>().unwrap();
    let (epoch, sequence) = (field("e").await, field("s").await);
    // Too far ahead; repeated; of an earlier epoch; of a later epoch.
    for (epoch, sequence) in [(epoch, sequence + 5), (epoch, 1), (epoch - 1, sequence + 1), (epoch + 1, 1)] {
        for replica in &fleet.replicas {
            replica.wait_until_proven().await;
            replica.wait_until_cached("k", "v").await;
        }
        let before = fleet[1].coherence().await;
        let bytes = message(0, epoch, sequence, "other");
        fleet.redis.cli(&[b"PUBLISH", channel(0).as_bytes(), &bytes]).await;
        eventually("the gap is counted", async || fleet[1].coherence().await.gaps > before.gaps).await;
        assert!(fleet[1].coherence().await.bumps > before.bumps);
    }
    for replica in &fleet.replicas {
        replica.wait_until_cached("k", "v").await;
        assert!(replica.get_strong("k").await.unwrap().is("v"));
    }
    fleet[0].set("k", "new").await;
    fleet[1].wait_until_visible("k", "new").await;
    fleet[1].wait_until_cached("k", "new").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_answers_no_old_value_beyond_the_bound_when_redis_freezes() {
    let (redis, _proxy, writer, reader) = pair().await;
    writer.set("k", "old").await;
    reader.wait_until_cached("k", "old").await;
    redis.freeze();
    let frozen = Instant::now();
    eventually("memory no longer answers as fresh", async || {
        let requested_at = Instant::now();
        let answer = reader.get("k").await;
        assert!(!answer.is("old") || requested_at <= frozen + MAX_STALENESS, "{answer:?}");
        answer.miss() == Some(pb::MissReason::Unavailable)
    })
    .await;
    redis.thaw();
    reader.wait_until_proven().await;
    reader.wait_until_cached("k", "old").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_with_different_prefixes_receive_separate_messages() {
    let redis = Redis::start().await;
    let one = Replica::on(&redis, &[("redis.prefix", "one")]).await;
    // The numbers of partitions may differ.
    let two = Replica::on(&redis, &[("redis.prefix", "two"), ("coherence.partitions", "8")]).await;
    one.set("k", "1").await;
    two.set("k", "2").await;
    one.remove(crate::harness::whole_namespace("")).await.unwrap();
    assert!(one.get("k").await.miss().is_some());
    assert!(two.get("k").await.is("2"));
    assert!(two.get_strong("k").await.unwrap().is("2"));
    assert_eq!(one.coherence().await.messages_applied, 65);
    eventually("its own message is applied", async || two.coherence().await.messages_applied == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_damaged_in_redis_is_a_miss() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[("coherence.partitions", "1")]).await;
    let name = "twintier:{0}:v:default:k";
    for damage in
        [&b""[..], b"T", b"garbage", &[0xff; 100], b"T\x01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
    {
        redis.cli(&[b"SET", name.as_bytes(), damage]).await;
        assert_eq!(replica.get("k").await.miss(), Some(pb::MissReason::Absent));
    }
    redis.cli(&["DEL", name]).await;
    redis.cli(&["LPUSH", name, "of another type"]).await;
    assert_eq!(replica.get("k").await.miss(), Some(pb::MissReason::Absent));
    assert!(replica.redis().await.undecodable >= 4);
    replica.set("k", "v").await;
    assert!(replica.get_strong("k").await.unwrap().is("v"));
    within(WAIT_TIMEOUT, replica.wait_until_cached("k", "v")).await;
}
