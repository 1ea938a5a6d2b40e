//! Selectors when Redis evicts data, is full, or is cut off.

use super::*;
use crate::harness::{Class, Direction, MAX_STALENESS, Proxy, SHORT_BOUND};

/// Keys in Redis that record invalidations of prefixes and tags.
async fn hashes(redis: &Redis) -> Vec<String> {
    let mut names = Vec::new();
    for kind in ["t", "o"] {
        let Reply::List(found) = redis.cli(&["KEYS", &format!("twintier:*:{kind}:*")]).await else { panic!("a list") };
        names.extend(found.iter().map(Reply::text));
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalidation_holds_when_redis_evicts_its_record() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, SHORT_BOUND).await;
    let keys: Vec<String> = (0..50).map(|number| format!("k:{number}")).collect();
    for key in &keys {
        replica.set_tagged(key, "old", &["t"]).await;
    }
    replica.remove(tags(&["t"])).await.unwrap();
    replica.set("later", "v").await;
    for name in hashes(&redis).await {
        redis.cli(&["DEL", &name]).await;
    }
    // A new replica has received no messages and depends on Redis.
    let stranger = Replica::on(&redis, SHORT_BOUND).await;
    for replica in [&replica, &stranger] {
        for key in &keys {
            assert!(!replica.has(key).await, "{key}");
        }
        assert!(replica.has("later").await, "a later entry stays");
    }
    // The next invalidation creates a new hash. The effect of the first one must remain.
    stranger.remove(tags(&["other"])).await.unwrap();
    stranger.remove(prefix("other")).await.unwrap();
    let third = Replica::on(&redis, SHORT_BOUND).await;
    for key in &keys {
        assert!(!third.has(key).await && !stranger.has(key).await, "{key}");
    }
    assert!(third.has("later").await);
    third.remove(prefix("later")).await.unwrap();
    assert!(!third.has("later").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folding_the_log_drops_the_oldest_half_and_resurrects_nothing() {
    let settings = [("limits.tombstones", "100"), ("coherence.partitions", "2")];
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &settings).await;
    replica.set_tagged("invalidated", "v", &["tag:0"]).await;
    replica.set("early", "v").await;
    for number in 0..205 {
        replica.remove(tags(&[&format!("tag:{number}")])).await.unwrap();
        if number == 150 {
            replica.set("late", "v").await;
        }
    }
    let stranger = Replica::on(&redis, &settings).await;
    for replica in [&replica, &stranger] {
        assert!(!replica.has("invalidated").await);
        assert!(replica.has("late").await);
        assert!(!replica.has("early").await, "the entry is older than the forgotten records");
    }
    assert_eq!(hashes(&redis).await.len(), 4, "two hashes for each partition");
    replica.remove(whole_namespace("")).await.unwrap();
    assert_eq!(hashes(&redis).await, [""; 0], "no selected entry is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_starts_later_knows_earlier_invalidations() {
    let mut fleet = Fleet::start(1, &[]).await;
    for key in ["p:1", "t", "m:1", "stays"] {
        fleet[0].set_tagged(key, "v", if key == "t" { &["t"] } else { &[] }).await;
    }
    for request in [prefix("p"), tags(&["t"]), pattern("m:*")] {
        fleet[0].remove(request).await.unwrap();
    }
    fleet.replicas.remove(0).stop().await;
    let later = Replica::on(&fleet.redis, &[]).await;
    for key in ["p:1", "t", "m:1"] {
        assert!(!later.has(key).await, "{key}");
    }
    assert!(later.has("stays").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lost_the_message_obeys_within_the_bound() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let writer = Replica::on(&redis, SHORT_BOUND).await;
    let reader = Replica::connected_to(&proxy.url(), SHORT_BOUND).await;
    reader.wait_until_proven().await;
    for request in [prefix("k"), tags(&["t"]), pattern("k*"), whole_namespace("")] {
        writer.set_tagged("k", "old", &["t"]).await;
        reader.wait_until_cached("k", "old").await;
        proxy.lose(Class::Subscription, Direction::ToClient);
        writer.remove(request.clone()).await.unwrap();
        let acknowledged = tokio::time::Instant::now();
        tokio::time::sleep_until(acknowledged + MAX_STALENESS).await;
        let answer = reader.get("k").await;
        assert!(answer.miss().is_some() || answer.stale().is_some(), "{request:?}: {answer:?}");
        proxy.resume(Class::Subscription, Direction::ToClient);
        eventually("memory is proven again", async || reader.get("k").await.miss() == Some(pb::MissReason::Absent))
            .await;
        reader.wait_until_proven().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn matched_entries_are_reclaimed_and_their_patterns_are_dropped() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[("cache.stale_window", "1h")]).await;
    for number in 0..900 {
        replica.set(&format!("{}:{number}", ["gone", "marked", "stays"][number % 3]), "v").await;
    }
    let marked = pb::InvalidateRequest { mode: pb::Mode::MarkStale.into(), ..pattern("marked:*") };
    replica.remove(marked).await.unwrap();
    replica.remove(pattern("go?e:*")).await.unwrap();
    let entries = async || {
        let Reply::List(found) = redis.cli(&["KEYS", "twintier:*:v:default:*"]).await else { panic!("a list") };
        found.len()
    };
    eventually("the selected entries are removed", async || entries().await == 600).await;
    let listed = async || {
        let script = "local bytes = 0
            for partition = 0, 63 do
                bytes = bytes + redis.call('HSTRLEN', 'twintier:{' .. partition .. '}:c', 'n:default')
            end
            return bytes";
        redis.cli(&["EVAL", script, "0"]).await.number()
    };
    eventually("the lists are empty", async || listed().await == 64 * 152).await;
    for (key, there) in [("gone:0", false), ("marked:1", false), ("stays:2", true)] {
        assert_eq!(replica.has(key).await, there, "{key}");
    }
    let welcome = pb::GetRequest {
        key: "marked:4".into(),
        max_staleness: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        ..Default::default()
    };
    let answer = Replica::on(&redis, &[("cache.stale_window", "1h")]).await.try_get(welcome).await.unwrap();
    assert_eq!(answer.stale().map(pb::Stale::reason), Some(pb::StaleReason::Marked), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_continues_the_reclaim_of_a_dead_one() {
    let redis = Redis::start().await;
    // This user can claim the work but cannot do it.
    redis.cli(&["ACL", "SETUSER", "noscan", "on", "nopass", "~*", "&*", "+@all", "-scan"]).await;
    let settings = [("coherence.partitions", "2")];
    let first = Replica::connected_to(&format!("redis://noscan:x@127.0.0.1:{}", redis.port()), &settings).await;
    first.wait_until_proven().await;
    for number in 0..10 {
        first.set(&format!("gone:{number}"), "v").await;
    }
    first.set("stays", "v").await;
    first.remove(pattern("gone:*")).await.unwrap();
    let claimed = "return redis.call('HGET', KEYS[1], 'n:default'):sub(137, 152) ~= string.rep('\\0', 16) and 1 or 0";
    eventually("the work is claimed", async || {
        redis.cli(&["EVAL", claimed, "1", "twintier:{0}:c"]).await.number() == 1
    })
    .await;
    first.stop().await;
    let second = Replica::on(&redis, &settings).await;
    for key in ["gone:1", "gone:2", "gone:3", "gone:4"] {
        assert!(!second.has(key).await);
    }
    let entries = async || {
        let Reply::List(found) = redis.cli(&["KEYS", "twintier:*:v:default:*"]).await else { panic!("a list") };
        found.len()
    };
    assert_eq!(entries().await, 11, "the claim holds for half a minute");
    let ends = "local record = redis.call('HGET', KEYS[1], 'n:default')
        redis.call('HSET', KEYS[1], 'n:default', record:sub(1, 136) .. string.rep('\\0', 16) .. record:sub(153))";
    for partition in 0..2 {
        redis.cli(&["EVAL", ends, "1", &format!("twintier:{{{partition}}}:c")]).await;
    }
    eventually("the entries are removed", async || {
        // Reads still see that the pattern is active.
        assert!(!second.has("gone:1").await && second.has("stays").await);
        entries().await == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn selectors_work_when_redis_is_full() {
    let redis = Redis::with(&["--maxmemory", "20mb", "--maxmemory-policy", "noeviction"]).await;
    let replica = Replica::on(&redis, &[]).await;
    replica.set_tagged("k", "v", &["t"]).await;
    replica.set_tagged("other", "v", &[]).await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
    let full = replica.store(set_request("more", "v")).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted);
    within(Duration::from_secs(5), replica.remove(tags(&["t"]))).await.unwrap();
    assert!(!replica.has("k").await && replica.has("other").await);
    within(Duration::from_secs(5), replica.remove(prefix("other"))).await.unwrap();
    assert!(!replica.has("other").await);
}
