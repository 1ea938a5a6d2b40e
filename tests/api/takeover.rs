//! Failover to a Redis that lacks the last acknowledged writes.

use std::time::{Duration, Instant};

use twintier::pb;

use crate::harness::{
    Answer as _, Class, Direction, Fleet, Proxy, Redis, Replica, Reply, Sentinels, eventually, eventually_within,
    free_port, invalidate_key, set_request,
};
use crate::selectors::{pattern, prefix, tags};

/// A primary and its Redis replica, behind the addresses that two replicas of the service use.
struct Pair {
    old: Redis,
    new: Redis,
    proxies: [Proxy; 2],
    replicas: [Replica; 2],
}

impl Pair {
    /// Starts both, and waits until the registry is old enough to be complete.
    async fn start(settings: &[(&str, &str)]) -> Pair {
        let args = ["--repl-diskless-sync-delay", "0"];
        let (old, new) = (Redis::with(&args).await, Redis::with(&args).await);
        new.cli(&["REPLICAOF", "127.0.0.1", &old.port().to_string()]).await;
        let proxies = [Proxy::to(old.port()).await, Proxy::to(old.port()).await];
        let replicas = [
            Replica::connected_to(&proxies[0].url(), settings).await,
            Replica::connected_to(&proxies[1].url(), settings).await,
        ];
        for replica in &replicas {
            replica.wait_until_proven().await;
        }
        eventually_within(Duration::from_secs(30), "the registry is old enough", async || {
            let Reply::List(line) = old.cli(&["HMGET", "twintier:{0}:c", "a", "b"]).await else { return false };
            let micros = |index: usize| line[index].text().parse::<u64>().unwrap();
            micros(0) - micros(1) > 11_000_000
        })
        .await;
        Pair { old, new, proxies, replicas }
    }

    /// Ends replication: the new primary receives nothing more from the old one.
    async fn end_replication(&self) {
        let written = || async {
            let Reply::List(role) = self.old.cli(&["ROLE"]).await else { panic!("no role") };
            let Reply::List(replicas) = &role[2] else { panic!("no replicas") };
            let Reply::List(replica) = &replicas[0] else { panic!("no replica") };
            role[1].number() == replica[2].text().parse::<i64>().unwrap()
        };
        eventually("the replica has everything", async || written().await).await;
        self.new.cli(&["REPLICAOF", "NO", "ONE"]).await;
    }

    /// Makes the addresses lead to `to`. The other server stays up.
    fn redirect(&self, proxies: &[usize], to: &Redis) {
        proxies.iter().for_each(|proxy| self.proxies[*proxy].redirect(to.port()));
    }

    /// Kills the old primary, and makes the addresses lead to the new one.
    async fn promote(&mut self, proxies: &[usize]) {
        self.old.kill9();
        for proxy in proxies {
            self.proxies[*proxy].redirect(self.new.port());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_changes_are_invalidated_again_and_the_rest_is_answered() {
    let mut pair = Pair::start(&[]).await;
    let [one, other] = &pair.replicas;
    for key in 0..40 {
        one.set(&key.to_string(), "kept").await;
    }
    one.set_in("gone", "k", "kept").await;
    let selected = ["tagged", "below:it", "matching"];
    for key in selected {
        one.set_tagged(key, "kept", if key == "tagged" { &["t"] } else { &[] }).await;
    }
    pair.end_replication().await;
    for key in 0..10 {
        other.set(&key.to_string(), "lost").await;
    }
    other.remove(crate::harness::whole_namespace("gone")).await.unwrap();
    for request in [tags(&["t"]), prefix("below"), pattern("mat*")] {
        other.remove(request).await.unwrap();
    }
    let before = [one.coherence().await.repaired, other.coherence().await.repaired];
    // The state at the start is no failover.
    for replica in &pair.replicas {
        assert_eq!(replica.coherence().await.takeovers, 0);
    }
    pair.promote(&[0, 1]).await;
    for replica in &pair.replicas {
        eventually("a failover is counted", async || replica.coherence().await.takeovers > 0).await;
    }
    let [one, other] = &pair.replicas;
    eventually("both replicas have repaired", async || {
        one.coherence().await.repaired > before[0] && other.coherence().await.repaired > before[1]
    })
    .await;
    for replica in [one, other] {
        replica.wait_until_proven().await;
        for key in 10..40 {
            replica.wait_until_visible(&key.to_string(), "kept").await;
        }
        for key in 0..10 {
            assert_eq!(replica.get(&key.to_string()).await.miss(), Some(pb::MissReason::Absent), "{key}");
        }
        assert_eq!(replica.get_from("gone", "k").await.miss(), Some(pb::MissReason::Absent));
        for key in selected {
            assert_eq!(replica.get(key).await.miss(), Some(pb::MissReason::Absent), "{key}");
            assert!(replica.get_strong(key).await.is_ok_and(|answer| answer.miss().is_some()), "{key}");
        }
    }
}

impl Pair {
    /// Brings the old primary back in its old life, before it became a replica. The replicas of
    /// `proxies` have seen the new one.
    async fn bring_back_old_primary(&self, proxies: &[usize], kept: Option<&str>) {
        let [one, other] = &self.replicas;
        for (key, value) in [("k", "new"), ("gone", "")] {
            eventually("the new primary accepts writes", async || match value {
                "" => one.remove(invalidate_key(key)).await.is_ok(),
                value => one.store(set_request(key, value)).await.is_ok(),
            })
            .await;
        }
        one.wait_until_proven().await;
        one.wait_until_visible("k", "new").await;
        self.redirect(proxies, &self.old);
        eventually("the replica follows the old primary again", async || {
            one.wait_until_proven().await;
            one.get_strong("k").await.is_ok_and(|answer| !answer.is("new"))
        })
        .await;
        // The other replica may have stayed with the old primary. It detects the change at its next
        // audit.
        eventually("the other replica has noticed the change", async || !other.get("k").await.is("old")).await;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            for replica in &self.replicas {
                for key in ["k", "gone"] {
                    let answer = replica.get(key).await;
                    assert!(!answer.is("old") || answer.stale().is_some(), "{key}: {answer:?}");
                }
            }
        }
        for replica in &self.replicas {
            replica.wait_until_proven().await;
            for key in ["k", "gone"] {
                assert!(
                    replica.get_strong(key).await.is_ok_and(|answer| answer.miss() == Some(pb::MissReason::Absent))
                );
            }
            match kept {
                Some(kept) => replica.wait_until_visible("kept", kept).await,
                None => assert!(replica.get_strong("kept").await.is_ok_and(|answer| answer.miss().is_some())),
            }
        }
        one.set("k", "newest").await;
        other.wait_until_visible("k", "newest").await;
    }

    async fn with_old_values(settings: &[(&str, &str)]) -> Pair {
        let pair = Pair::start(settings).await;
        for key in ["k", "gone", "kept"] {
            pair.replicas[0].set(key, "old").await;
        }
        pair.end_replication().await;
        pair
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_returning_primary_is_repaired() {
    let pair = Pair::with_old_values(&[]).await;
    pair.redirect(&[0, 1], &pair.new);
    pair.bring_back_old_primary(&[0, 1], Some("old")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_returning_primary_is_cold_with_the_policy_cold() {
    let pair = Pair::with_old_values(&[("redis.failover", "cold")]).await;
    pair.redirect(&[0, 1], &pair.new);
    pair.bring_back_old_primary(&[0, 1], None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stayed_on_a_returning_primary_learns_missed_changes() {
    let pair = Pair::with_old_values(&[]).await;
    pair.redirect(&[0], &pair.new);
    pair.bring_back_old_primary(&[0], Some("old")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_entry_from_before_is_answered_with_the_policy_cold() {
    let mut pair = Pair::start(&[("redis.failover", "cold")]).await;
    pair.replicas[0].set("k", "kept").await;
    pair.end_replication().await;
    pair.promote(&[0, 1]).await;
    for replica in &pair.replicas {
        eventually("the entry is gone", async || {
            replica.get_strong("k").await.is_ok_and(|answer| answer.miss() == Some(pb::MissReason::Absent))
        })
        .await;
    }
    // A replica that starts later invalidates nothing.
    pair.replicas[0].set("k", "new").await;
    let late = Replica::connected_to(&pair.proxies[0].url(), &[("redis.failover", "cold")]).await;
    late.wait_until_proven().await;
    assert!(late.get("k").await.is("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_late_to_a_failover_keeps_its_acknowledged_writes() {
    let mut pair = Pair::start(&[]).await;
    pair.replicas[0].set("k", "old").await;
    pair.end_replication().await;
    pair.replicas[0].set("k", "new").await;
    pair.proxies[0].refuse();
    pair.promote(&[0, 1]).await;
    // The other replica received the write and repairs it. A third replica does not know of it and
    // would answer with the data of the new primary.
    let [late, other] = &pair.replicas;
    eventually("the other replica has repaired", async || other.coherence().await.repaired > 0).await;
    other.assert_missing("k").await;
    pair.proxies[0].delay(Class::Commands, Direction::ToClient, Duration::from_millis(30));
    pair.proxies[0].accept_again();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let answer = late.get("k").await;
        assert!(!answer.is("old") || answer.stale().is_some(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_on_a_new_primary_waits_for_unregistered_replicas() {
    let mut pair = Pair::start(&[("coherence.max_staleness", "6s")]).await;
    pair.replicas[0].set("k", "old").await;
    pair.replicas[0].wait_until_cached("k", "old").await;
    pair.end_replication().await;
    // The old primary proves the first replica once more. It receives nothing from the new one.
    tokio::time::sleep(Duration::from_secs(2)).await;
    pair.proxies[0].refuse();
    pair.promote(&[1]).await;
    let [left, other] = &pair.replicas;
    let (last, passed) = tokio::join!(
        async {
            let (begun, mut last) = (Instant::now(), None);
            while begun.elapsed() < Duration::from_secs(9) {
                let answer = left.get("k").await;
                if answer.is("old") && answer.stale().is_none() {
                    last = Some(Instant::now());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            last.expect("the old value was in memory")
        },
        async {
            let request = pb::SetRequest { barrier: pb::Barrier::Fleet.into(), ..set_request("k", "new") };
            while other.store(request.clone()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Instant::now()
        }
    );
    assert!(last <= passed, "the old value was answered {:?} after the barrier", last - passed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_lost_its_history_stays_in_use() {
    let args = ["--repl-diskless-sync-delay", "0", "--repl-backlog-ttl", "1"];
    let (first, second) = (Redis::with(&args).await, Redis::with(&args).await);
    second.cli(&["REPLICAOF", "127.0.0.1", &first.port().to_string()]).await;
    let about = async || second.cli(&["INFO", "replication"]).await.text();
    eventually("it follows", async || about().await.contains("master_link_status:up")).await;
    second.cli(&["REPLICAOF", "NO", "ONE"]).await;
    let replica = Replica::on(&second, &[("redis.failover", "cold")]).await;
    replica.set("k", "v").await;
    eventually("the new primary loses its history", async || about().await.contains("second_repl_offset:-1")).await;
    let late = Replica::on(&second, &[("redis.failover", "cold")]).await;
    assert!(late.get("k").await.is("v"));
    eventually("the first replica continues", async || replica.store(set_request("k", "w")).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_partitions_is_accepted_after_a_deployment_ended() {
    let fleet = Fleet::start(1, &[("coherence.max_staleness", "500ms")]).await;
    let other = Replica::connected_to(&fleet.redis.url(), &[("coherence.partitions", "8")]).await;
    eventually("the replica does not serve", async || other.redis().await.reason.contains("64 partitions")).await;
    let Fleet { replicas, redis: _redis } = fleet;
    for replica in replicas {
        replica.stop().await;
    }
    eventually_within(Duration::from_secs(60), "it serves", async || other.store(set_request("k", "v")).await.is_ok())
        .await;
    other.wait_until_proven().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_in_a_cluster_ends_with_its_last_partition() {
    let bus = free_port().to_string();
    let redis = Redis::with(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await;
    redis.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    let url = format!("redis-cluster://127.0.0.1:{}", redis.port());
    let first = Replica::connected_to(&url, &[("coherence.max_staleness", "500ms")]).await;
    first.wait_until_proven().await;
    let other = Replica::connected_to(&url, &[("coherence.partitions", "8")]).await;
    eventually("the replica does not serve", async || other.redis().await.reason.contains("64 partitions")).await;
    first.stop().await;
    eventually_within(Duration::from_secs(60), "it serves", async || other.store(set_request("k", "v")).await.is_ok())
        .await;
    other.wait_until_proven().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_does_not_end_with_an_outage() {
    let mut fleet = Fleet::start(1, &[("coherence.max_staleness", "500ms")]).await;
    let other = Replica::connected_to(&fleet.redis.url(), &[("coherence.partitions", "8")]).await;
    eventually("the replica does not serve", async || other.redis().await.reason.contains("64 partitions")).await;
    // Redis returns after a minute of its own clock.
    let Reply::Text(audited) = fleet.redis.cli(&["HGET", "twintier:{0}:c", "a"]).await else { panic!("never audited") };
    let audited: u64 = String::from_utf8_lossy(&audited).parse().unwrap();
    fleet.redis.freeze();
    tokio::time::sleep(Duration::from_secs(2)).await;
    fleet.redis.thaw();
    fleet.redis.cli(&["HSET", "twintier:{0}:c", "a", &(audited - 60_000_000).to_string()]).await;
    fleet.redis.cli(&["CLIENT", "KILL", "TYPE", "PUBSUB"]).await;
    fleet[0].wait_until_proven().await;
    assert!(other.store(set_request("k", "v")).await.is_err());
    fleet[0].set("k", "v").await;
    drop(fleet.replicas.pop());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_promoted_primary_is_used_although_another_replica_follows_late() {
    let redis = Sentinels::start(&[]).await;
    let replica = Replica::connected_to(&redis.url(), &[]).await;
    replica.wait_until_proven().await;
    for sentinel in &redis.sentinels {
        for (option, millis) in [("down-after-milliseconds", "30000"), ("failover-timeout", "20000")] {
            sentinel.cli(&["SENTINEL", "SET", "mymaster", option, millis]).await;
        }
    }
    let old = redis.primary().await.unwrap();
    let slow = (0..3).find(|node| *node != old).unwrap();
    redis.nodes[slow].freeze();
    let sentinel = &redis.sentinels[0];
    eventually("a sentinel fails over", async || {
        sentinel.try_cli(&["SENTINEL", "FAILOVER", "mymaster"]).await.is_some()
    })
    .await;
    let new = 3 - old - slow;
    let stored = async || {
        let acknowledged = replica.store(set_request("k", "v")).await.is_ok();
        let names = format!("{:?}", redis.nodes[new].cli(&["KEYS", "*:v:default:k"]).await);
        acknowledged && names != "List([])"
    };
    // Earlier writes went to the old primary and may be lost. Only writes acknowledged from here on
    // count.
    let port = redis.nodes[new].port().to_string();
    eventually("the sentinel names the promoted primary", async || {
        format!("{:?}", sentinel.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]).await)
            .contains(&format!("{:?}", port.as_bytes()))
    })
    .await;
    eventually("writes go to the promoted primary", stored).await;
    replica.wait_until_proven().await;
    let about = format!("{:?}", sentinel.cli(&["SENTINEL", "MASTER", "mymaster"]).await);
    let former = redis.nodes[old].port().to_string();
    assert!(about.contains(&format!("{:?}", former.as_bytes())), "the failover was too quick to test");
    redis.nodes[slow].thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_missed_a_failover_detects_the_returning_primary() {
    let redis = Sentinels::with_replicas(&[], &[&[]]).await;
    let mut proxies = Vec::new();
    for sentinel in &redis.sentinels {
        proxies.push(Proxy::to(sentinel.port()).await);
    }
    let ports: Vec<_> = proxies.iter().map(Proxy::port).collect();
    let replica = Replica::connected_to(&Sentinels::url_by(&ports), &[]).await;
    let epoch = async |node: usize| {
        redis.nodes[node].cli(&["HGET", "twintier:{0}:c", "e"]).await.text().parse::<u64>().unwrap()
    };
    for _ in 0..6 {
        replica.wait_until_proven().await;
        redis.wait_until_settled().await;
        let first = redis.primary().await.unwrap();
        let (life, before) = (redis.life_id(first).await, epoch(first).await);
        proxies.iter().for_each(Proxy::refuse);
        redis.fail_over().await;
        let named = redis.fail_over().await;
        let came_back = named == first && redis.life_id(first).await == life;
        assert!(named != first || epoch(first).await == before || !came_back, "no replica could begin an epoch");
        proxies.iter().for_each(Proxy::accept_again);
        replica.wait_until_proven().await;
        if came_back {
            eventually("a new epoch has begun", async || epoch(first).await > before).await;
            replica.wait_until_proven().await;
            replica.set("k", "v").await;
            return;
        }
    }
    panic!("no primary returned before it became a replica");
}
