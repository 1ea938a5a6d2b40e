//! Degraded mode: outages and faults of Redis, and recovery without help.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::{Code, Status};
use twintier::pb;

use crate::harness::{
    Answer as _, Class, Direction, Fleet, Proxy, Redis, Refusal as _, Replica, SHORT_BOUND, Seen, always_until,
    eventually, invalidate_key, set_request, whole_namespace, within,
};

/// The default timeouts, with a short bound.
const AS_SHIPPED: &[(&str, &str)] =
    &[SHORT_BOUND[0], ("redis.read_timeout", "200ms"), ("redis.unresponsive_after", "350ms")];
/// redis.read_timeout as shipped.
const READ_BUDGET: Duration = Duration::from_millis(200);
/// redis.write_timeout as shipped.
const WRITE_BUDGET: Duration = Duration::from_secs(1);
/// coherence.max_staleness as shipped.
const MAX_STALENESS: Duration = Duration::from_secs(2);
/// The promise: full service within this time of Redis's return.
const RECOVERY: Duration = Duration::from_secs(3);

const UNAVAILABLE: Seen = Seen::Miss(pb::MissReason::Unavailable);

#[track_caller]
fn comes_back_later(refusal: &Status) {
    assert_eq!(refusal.code(), Code::Unavailable, "{refusal:?}");
    assert_eq!(refusal.reason(), "L2_UNAVAILABLE");
    assert!(refusal.retry_delay().is_some_and(|delay| delay > Duration::ZERO), "{refusal:?}");
}

/// Every write is refused, in time.
async fn refuses_writes(replica: &Replica) {
    comes_back_later(&within(WRITE_BUDGET, replica.store(set_request("w", "v"))).await.unwrap_err());
    comes_back_later(&within(WRITE_BUDGET, replica.remove(invalidate_key("w"))).await.unwrap_err());
    comes_back_later(&within(WRITE_BUDGET, replica.remove(whole_namespace(""))).await.unwrap_err());
}

/// Everything works again within the time promised.
async fn recovers(replica: &Replica) {
    let recovered = async {
        eventually("writes are taken", async || replica.store(set_request("w", "v")).await.is_ok()).await;
        replica.wait_until_proven().await;
        replica.wait_until_cached("w", "v").await;
    };
    within(RECOVERY, recovered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_get_fails_or_hangs_when_redis_is_killed_under_load() {
    let mut fleet = Fleet::start(2, AS_SHIPPED).await;
    for n in 0..20 {
        fleet[0].set(&n.to_string(), "v").await;
    }
    let (done, gets) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut load = JoinSet::new();
    for task in 0..8 {
        let (mut client, done, gets) = (fleet[task % 2].client.clone(), done.clone(), gets.clone());
        load.spawn(async move {
            for n in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                let get = pb::GetRequest { key: (n % 20).to_string(), ..Default::default() };
                within(READ_BUDGET, client.get(get)).await.expect("a Get never fails");
                gets.fetch_add(1, Ordering::Relaxed);
                if n % 10 == 0
                    && let Err(refusal) = client.set(set_request(&(n % 20).to_string(), "v")).await
                {
                    comes_back_later(&refusal);
                }
            }
        });
    }
    let enough = async |more| {
        let until = gets.load(Ordering::Relaxed) + more;
        eventually("the load goes on", async || gets.load(Ordering::Relaxed) >= until).await;
    };
    for _ in 0..2 {
        enough(200).await;
        fleet.redis.kill9();
        enough(200).await;
        for replica in &fleet.replicas {
            refuses_writes(replica).await;
        }
        always_until(Instant::now() + Duration::from_millis(500), async || {}).await;
        fleet.redis.restart().await;
        for replica in &fleet.replicas {
            recovers(replica).await;
        }
    }
    done.store(true, Ordering::Relaxed);
    load.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_starts_without_redis_and_finds_it_when_it_appears() {
    let mut redis = Redis::not_started(&[]);
    let replica = Replica::connected_to(&redis.url(), AS_SHIPPED).await;
    let answer = within(READ_BUDGET, replica.get("k")).await;
    assert_eq!(answer.seen(), UNAVAILABLE);
    assert!(answer.degraded);
    refuses_writes(&replica).await;
    let stats = replica.redis().await;
    assert_eq!(stats.state(), pb::RedisState::Unavailable);
    eventually("it says why", async || !replica.redis().await.reason.is_empty()).await;
    redis.restart().await;
    recovers(&replica).await;
    let stats = replica.redis().await;
    assert_eq!((stats.state(), stats.reason.as_str()), (pb::RedisState::Healthy, ""));
    assert!(!replica.get("k").await.degraded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_answers_until_its_proof_ends_and_then_reports_unavailable() {
    let mut redis = Redis::start().await;
    let replica = Replica::on(&redis, &[]).await;
    replica.set("k", "v").await;
    replica.wait_until_cached("k", "v").await;
    redis.kill9();
    let killed = Instant::now();
    let answer = replica.get("k").await;
    assert!(answer.is("v") || killed.elapsed() > Duration::from_secs(1), "{answer:?}");
    assert_eq!(replica.get("other").await.seen(), UNAVAILABLE);
    eventually("the proof has ended", async || {
        let asked = Instant::now();
        let answer = replica.get("k").await;
        match answer.seen() {
            Seen::Value(_) => {
                assert_eq!((answer.tier(), answer.stale()), (pb::Tier::L1, None));
                assert!(asked <= killed + MAX_STALENESS, "{:?} after the last proof", asked - killed);
                false
            }
            seen => {
                assert_eq!(seen, UNAVAILABLE);
                assert!(answer.degraded);
                true
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_with_a_stale_window_answers_flagged_without_redis() {
    let mut redis = Redis::start().await;
    let settings = [SHORT_BOUND[0], ("namespaces.kept.stale_window", "1h")];
    let replica = Replica::on(&redis, &settings).await;
    for namespace in ["kept", ""] {
        replica.set_in(namespace, "k", "v").await;
        eventually("memory has it", async || replica.get_from(namespace, "k").await.tier() == pb::Tier::L1).await;
    }
    redis.kill9();
    eventually("the answer is flagged", async || {
        let answer = replica.get_from("kept", "k").await;
        assert!(answer.is("v"), "{answer:?}");
        answer.stale().is_some()
    })
    .await;
    let answer = replica.get_from("kept", "k").await;
    assert_eq!(answer.stale().unwrap().reason(), pb::StaleReason::Unproven);
    assert!(answer.degraded);
    eventually("the other namespace has nothing", async || replica.get("k").await.seen() == UNAVAILABLE).await;
    redis.restart().await;
    recovers(&replica).await;
    // The Redis that came back is empty: what was kept is not answered in its place.
    assert_eq!(replica.get_from("kept", "k").await.miss(), Some(pb::MissReason::Absent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_entry_is_answered_flagged_without_redis() {
    let mut redis = Redis::start().await;
    let replica = Replica::on(&redis, &[SHORT_BOUND[0], ("cache.stale_window", "1h")]).await;
    replica.set("probe", "v").await;
    replica.wait_until_cached("probe", "v").await;
    let expiry = Some(pb::set_request::Expiry::Ttl(Duration::from_millis(300).try_into().unwrap()));
    replica.store(pb::SetRequest { expiry, ..set_request("k", "v") }).await.unwrap();
    redis.kill9();
    eventually("the entry has expired", async || {
        let answer = replica.get("k").await;
        assert!(answer.is("v"), "{answer:?}");
        answer.stale().is_some_and(|stale| stale.reason() == pb::StaleReason::Expired)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_get_hangs_and_no_late_write_wins_when_redis_freezes() {
    let settings: Vec<_> = AS_SHIPPED.iter().copied().chain([("redis.write_timeout", "300ms")]).collect();
    let fleet = Fleet::start(2, &settings).await;
    set_in_the_end(&fleet[0], "before").await;
    fleet[1].wait_until_visible("k", "before").await;
    let mut unknown = Duration::ZERO;
    fleet.redis.freeze();
    let mut late = JoinSet::new();
    for n in 0..20 {
        let mut client = fleet[n % 2].client.clone();
        late.spawn(async move { client.set(set_request("k", "late")).await.unwrap_err() });
    }
    for refusal in within(Duration::from_secs(2), late.join_all()).await {
        comes_back_later(&refusal);
        unknown = unknown.max(unknown_for(&refusal));
    }
    assert!(unknown < Duration::from_secs(2), "unknown for {unknown:?}");
    let over = Instant::now() + unknown;
    always_until(over, async || {
        for replica in &fleet.replicas {
            within(READ_BUDGET, replica.get("k")).await;
        }
    })
    .await;
    eventually("the breaker is open", async || fleet[0].redis().await.state() == pb::RedisState::Unavailable).await;
    let refused = fleet[0].store(set_request("k", "late")).await.unwrap_err();
    comes_back_later(&refused);
    assert_eq!(unknown_for(&refused), Duration::ZERO, "an open breaker sends nothing to Redis: {refused:?}");
    fleet.redis.thaw();
    // The commands that the frozen Redis holds are too late now, and stay so.
    for replica in &fleet.replicas {
        recovers(replica).await;
        assert_eq!(strong_value(replica).await, "before");
    }
    let acknowledged = set_in_the_end(&fleet[0], "after").await;
    always_until(acknowledged + Duration::from_secs(1), async || {
        // On a loaded machine a read may be too late for the timeout; an answer is never older.
        let seen = fleet[0].get("k").await.seen();
        assert!(seen == Seen::Value("after".into()) || seen == UNAVAILABLE, "{seen:?}");
        assert_eq!(strong_value(&fleet[1]).await, "after");
    })
    .await;
    fleet[1].wait_until_visible("k", "after").await;
}

/// Sets `k` until a Set is acknowledged. Returns the time of that.
async fn set_in_the_end(replica: &Replica, value: &str) -> Instant {
    eventually("a Set is acknowledged", async || replica.store(set_request("k", value)).await.is_ok()).await;
    Instant::now()
}

/// Reads `k` with strong consistency until a read is in time.
async fn strong_value(replica: &Replica) -> String {
    let mut value = None;
    eventually("a strong read is in time", async || {
        value = replica.get_strong("k").await.ok();
        value.is_some()
    })
    .await;
    match value.expect("read").seen() {
        Seen::Value(value) => value,
        seen => panic!("{seen:?}"),
    }
}

/// For how long the outcome of a failed write stays unknown.
fn unknown_for(refusal: &Status) -> Duration {
    use tonic_types::StatusExt as _;
    let details = refusal.get_error_details();
    let millis = details.error_info().and_then(|info| info.metadata.get("outcome_unknown_for_ms").cloned());
    Duration::from_millis(millis.map_or(0, |millis| millis.parse().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_write_does_not_overwrite_a_newer_one_of_another_replica() {
    let settings = [SHORT_BOUND[0], ("redis.write_timeout", "300ms")];
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let (quick, slow) = (Replica::on(&redis, &settings).await, Replica::connected_to(&proxy.url(), &settings).await);
    slow.wait_until_proven().await;
    quick.set("k", "before").await;
    proxy.stall(Class::Commands, Direction::ToServer);
    let set = slow.store(set_request("k", "late")).await.unwrap_err();
    let invalidate = slow.remove(invalidate_key("k")).await.unwrap_err();
    let over = Instant::now() + unknown_for(&set).max(unknown_for(&invalidate));
    assert!(over > Instant::now(), "{set:?}");
    let newer = quick.set("k", "newer").await;
    always_until(over, async || assert!(quick.get("k").await.is("newer"))).await;
    proxy.resume(Class::Commands, Direction::ToServer);
    always_until(Instant::now() + Duration::from_millis(500), async || {
        assert_eq!(quick.get_strong("k").await.unwrap().entry().unwrap().version, newer.version);
    })
    .await;
    recovers(&slow).await;
    assert!(slow.get("k").await.is("newer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_refuses_sets_and_accepts_invalidations() {
    let fleet = Fleet::start(2, AS_SHIPPED).await;
    fleet[0].set("k", "v").await;
    fleet[0].set_in("n", "k", "v").await;
    fleet[1].wait_until_cached("k", "v").await;
    fleet.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let refusal = fleet[0].store(set_request("k", "new")).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal:?}");
    assert_eq!(refusal.reason(), "L2_FULL");
    assert!(fleet[0].get("k").await.is("v"));
    assert_eq!(fleet[0].invalidate("k").await.removed, Some(1));
    fleet[0].remove(whole_namespace("n")).await.unwrap();
    fleet[1].assert_missing("k").await;
    assert!(fleet[1].get_from("n", "k").await.miss().is_some());
    // Audits go on: nothing of this is an outage.
    let before = fleet[1].coherence().await.audits_echoed;
    eventually("audits go on", async || fleet[1].coherence().await.audits_echoed > before + 5).await;
    assert_eq!(fleet[1].redis().await.state(), pb::RedisState::Healthy);
    fleet.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
    fleet[0].set("k", "new").await;
    fleet[1].wait_until_visible("k", "new").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_degrades_the_replica_with_a_reason() {
    let redis = Redis::with(&["--requirepass", "right"]).await;
    let wrong = Replica::connected_to(&redis.url(), &[("redis.password", "wr0ng-secret")]).await;
    let none = Replica::connected_to(&redis.url(), &[]).await;
    let right = Replica::connected_to(&redis.url(), &[("redis.password", "right")]).await;
    right.wait_until_proven().await;
    right.set("k", "v").await;
    for (replica, word) in [(&wrong, "WRONGPASS"), (&none, "NOAUTH")] {
        eventually("it says why", async || replica.redis().await.reason.contains(word)).await;
        let stats = replica.redis().await;
        assert_eq!(stats.state(), pb::RedisState::Unavailable);
        assert!(!stats.reason.contains("wr0ng-secret"), "{}", stats.reason);
        assert_eq!(replica.get("k").await.seen(), UNAVAILABLE);
        refuses_writes(replica).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_not_used_if_the_redis_user_cannot_subscribe() {
    let redis = Redis::start().await;
    redis.cli(&["ACL", "SETUSER", "default", "resetchannels"]).await;
    let replica = Replica::connected_to(&redis.url(), READS_IN_TIME).await;
    eventually("it says why", async || {
        let stats = replica.redis().await;
        assert_ne!(stats.state(), pb::RedisState::Healthy);
        stats.state() == pb::RedisState::Degraded && stats.reason.contains("channel")
    })
    .await;
    for _ in 0..20 {
        let answer = replica.get("k").await;
        assert_eq!(answer.miss(), Some(pb::MissReason::Absent), "{answer:?}");
    }
    assert_eq!(replica.coherence().await.partitions_proven, 0);
    redis.cli(&["ACL", "SETUSER", "default", "allchannels"]).await;
    recovers(&replica).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_primary_is_dropped_and_found_again() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, AS_SHIPPED).await;
    replica.set("k", "v").await;
    redis.cli(&["REPLICAOF", "127.0.0.1", "1"]).await;
    refuses_writes(&replica).await;
    eventually("it is not healthy", async || replica.redis().await.state() != pb::RedisState::Healthy).await;
    replica.get("k").await;
    redis.cli(&["REPLICAOF", "NO", "ONE"]).await;
    recovers(&replica).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_are_reloaded_when_redis_lost_them() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[]).await;
    for n in 0..5 {
        redis.cli(&["SCRIPT", "FLUSH"]).await;
        replica.set("k", &n.to_string()).await;
        redis.cli(&["SCRIPT", "FLUSH"]).await;
        assert_eq!(replica.invalidate("k").await.removed, Some(1));
    }
    replica.wait_until_proven().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_recovers_from_a_flapping_redis() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let replica = Replica::connected_to(&proxy.url(), AS_SHIPPED).await;
    replica.wait_until_proven().await;
    let end = Instant::now() + Duration::from_secs(2);
    let mut calls = JoinSet::new();
    for _ in 0..4 {
        let mut client = replica.client.clone();
        calls.spawn(async move {
            while Instant::now() < end {
                let get = pb::GetRequest { key: "k".into(), ..Default::default() };
                within(READ_BUDGET, client.get(get)).await.expect("a Get never fails");
                if let Err(refusal) = within(WRITE_BUDGET, client.set(set_request("k", "v"))).await {
                    comes_back_later(&refusal);
                }
            }
        });
    }
    let mut down = false;
    always_until(end, async || {
        down = !down;
        if down { proxy.refuse() } else { proxy.accept_again() }
    })
    .await;
    proxy.accept_again();
    calls.join_all().await;
    recovers(&replica).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_script_delays_no_read_beyond_its_timeout() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, AS_SHIPPED).await;
    replica.set("k", "v").await;
    let port = redis.port();
    let slow = tokio::spawn(async move { crate::harness::command(port, &["DEBUG", "SLEEP", "1.5"]).await });
    while !slow.is_finished() {
        let answer = within(READ_BUDGET, replica.get("other")).await;
        assert!(answer.miss().is_some());
    }
    slow.await.unwrap().unwrap();
    recovers(&replica).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_that_cannot_be_published_is_not_stored() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, AS_SHIPPED).await;
    replica.set("k", "before").await;
    redis.cli(&["ACL", "SETUSER", "default", "resetchannels"]).await;
    let refusal = replica.store(set_request("k", "refused")).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable, "{refusal:?}");
    // Either nothing is stored, or the error says that the outcome is unknown.
    let stored = replica.get_strong("k").await.unwrap().is("refused");
    assert!(!stored || unknown_for(&refusal) > Duration::ZERO, "stored, but: {refusal:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_one_of_two_connections_is_not_an_outage() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[("redis.connections", "2")]).await;
    let mut worst = Vec::new();
    for _ in 0..10 {
        let clients = redis.cli(&["CLIENT", "LIST", "TYPE", "normal"]).await.text();
        // The first but this one, which has just sent CLIENT LIST.
        let line = clients.lines().find(|line| !line.contains("cmd=client")).unwrap().to_owned();
        let id = line.split(' ').find_map(|part| part.strip_prefix("id=")).unwrap();
        redis.cli(&["CLIENT", "KILL", "ID", id]).await;
        let reconnects = replica.redis().await.reconnects;
        eventually("the connection is replaced", async || {
            let stats = replica.redis().await;
            if stats.state() != pb::RedisState::Healthy {
                worst.push((stats.state(), stats.reason));
            }
            stats.reconnects > reconnects
        })
        .await;
        replica.wait_until_proven().await;
    }
    assert_eq!(worst, [], "the other connection worked all the time");
}

/// A Redis that saves snapshots, and cannot from now on: it refuses writes (MISCONF).
async fn cannot_save(redis: &Redis) {
    std::fs::create_dir(redis.directory().join("dump.rdb")).unwrap();
    let persistence = async || redis.cli(&["INFO", "persistence"]).await.text();
    eventually("the snapshot fails", async || {
        let _ = redis.try_cli(&["BGSAVE"]).await;
        persistence().await.contains("rdb_last_bgsave_status:err")
    })
    .await;
}

/// It saves again, and takes writes.
async fn can_save(redis: &Redis) {
    std::fs::remove_dir(redis.directory().join("dump.rdb")).unwrap();
    eventually("the snapshot succeeds", async || {
        let _ = redis.try_cli(&["BGSAVE"]).await;
        redis.cli(&["INFO", "persistence"]).await.text().contains("rdb_last_bgsave_status:ok")
    })
    .await;
}

/// A timeout of reads that no loaded machine reaches: each read has to be answered by Redis.
const READS_IN_TIME: &[(&str, &str)] = &[SHORT_BOUND[0], ("redis.read_timeout", "30s")];

/// Reads are answered by Redis, although memory is not proven, and writes are refused for the
/// reason named.
async fn only_reads(replica: &Replica, reason: &str, refusal: &str) {
    eventually("only reads go on", async || {
        let redis = replica.redis().await;
        redis.state() == pb::RedisState::Degraded && redis.reason.contains(reason)
    })
    .await;
    eventually("memory is not proven", async || replica.coherence().await.partitions_proven == 0).await;
    for _ in 0..20 {
        let answer = replica.get("k").await;
        assert!(answer.is("v") && !answer.degraded, "{answer:?}");
        assert!(replica.get_strong("k").await.unwrap().is("v"));
        assert_eq!(replica.get("absent").await.miss(), Some(pb::MissReason::Absent));
    }
    let refused = replica.store(set_request("w", "v")).await.unwrap_err();
    comes_back_later(&refused);
    assert!(refused.message().contains(refusal), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_continue_when_redis_cannot_persist_and_refuses_writes() {
    let redis = Redis::with(&["--save", "3600 1"]).await;
    let replica = Replica::on(&redis, READS_IN_TIME).await;
    replica.set("k", "v").await;
    cannot_save(&redis).await;
    only_reads(&replica, "MISCONF", "redis cannot persist").await;
    can_save(&redis).await;
    recovers(&replica).await;
    assert_eq!(replica.redis().await.state(), pb::RedisState::Healthy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_continue_while_redis_pauses_writes() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, READS_IN_TIME).await;
    replica.set("k", "v").await;
    redis.cli(&["CLIENT", "PAUSE", "600000", "WRITE"]).await;
    // The reason excludes the first degraded state, in which the connections for commands still count
    // as working.
    only_reads(&replica, "redis does not answer", "redis").await;
    redis.cli(&["CLIENT", "UNPAUSE"]).await;
    recovers(&replica).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_possibly_isolated_primary_is_not_read() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, SHORT_BOUND).await;
    replica.set("k", "v").await;
    redis.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    eventually("it lacks replicas", async || {
        let redis = replica.redis().await;
        redis.state() == pb::RedisState::Unavailable && redis.reason.contains("NOREPLICAS")
    })
    .await;
    eventually("memory is not proven", async || replica.coherence().await.partitions_proven == 0).await;
    for _ in 0..20 {
        assert_eq!(replica.get("k").await.seen(), UNAVAILABLE);
    }
    let refused = replica.store(set_request("w", "v")).await.unwrap_err();
    assert!(refused.message().contains("redis has too few replicas to write"), "{refused:?}");
    redis.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    recovers(&replica).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_redis_that_refuses_writes_is_not_read() {
    let redis = Redis::with(&["--save", "3600 1"]).await;
    let replica = Replica::on(&redis, READS_IN_TIME).await;
    replica.set("k", "v").await;
    cannot_save(&redis).await;
    only_reads(&replica, "MISCONF", "redis cannot persist").await;
    redis.cli(&["REPLICAOF", "127.0.0.1", "1"]).await;
    eventually("it is left", async || replica.redis().await.state() == pb::RedisState::Unavailable).await;
    assert_eq!(replica.get("k").await.seen(), UNAVAILABLE);
    assert!(replica.get_strong("k").await.is_err());
    // Another life without a handshake: its data may lack acknowledged changes.
    redis.cli(&["REPLICAOF", "NO", "ONE"]).await;
    eventually("it refuses writes still", async || replica.redis().await.reason.contains("MISCONF")).await;
    assert_eq!(replica.redis().await.state(), pb::RedisState::Unavailable);
    assert!(replica.get_strong("k").await.is_err());
}
