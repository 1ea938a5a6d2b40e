//! Warm start: a new replica loads hot keys before it is ready.

use std::time::Duration;

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use twintier::pb;

use crate::harness::{Answer as _, Class, Cluster, Direction, Proxy, Redis, Replica, eventually};

const LIST: &str = "twintier:{0}:h";

impl Replica {
    async fn warm_start(&self) -> pb::WarmStartStats {
        eventually("the warm start has ended", async || self.stats().await.warm_start.is_some()).await;
        self.stats().await.warm_start.unwrap()
    }

    async fn is_ready(&self) -> bool {
        let request = HealthCheckRequest { service: "readiness".into() };
        let answer = HealthClient::new(self.channel.clone()).check(request).await;
        answer.unwrap().into_inner().status() == ServingStatus::Serving
    }
}

/// Reads `keys` keys through `replica`, often enough to be listed as hot.
async fn read(replica: &Replica, keys: usize) {
    for n in 0..keys {
        replica.set(&n.to_string(), "v").await;
    }
    for n in (0..keys).cycle().take(10 * keys) {
        assert!(replica.get(&n.to_string()).await.is("v"));
    }
}

/// Asserts that a new replica answers these keys from memory at once.
async fn assert_warm(replica: &Replica, keys: usize) {
    assert!(replica.is_ready().await || replica.stats().await.warm_start.is_some());
    for n in 0..keys {
        let answer = replica.get(&n.to_string()).await;
        assert!(answer.is("v") && answer.tier() == pb::Tier::L1, "{n}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_has_the_hot_keys_in_memory() {
    let redis = Redis::start().await;
    let one = Replica::on(&redis, &[]).await;
    assert_eq!(one.warm_start().await.listed, 0);
    read(&one, 50).await;
    eventually("the list is stored", async || redis.cli(&["STRLEN", LIST]).await.number() > 50 * 8).await;
    let two = Replica::on(&redis, &[]).await;
    let warmed = two.warm_start().await;
    assert_eq!((warmed.listed, warmed.loaded, warmed.timed_out), (50, 50, false));
    assert!(warmed.duration.is_some());
    assert_warm(&two, 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_replica_leaves_its_hot_keys_to_the_next() {
    let redis = Redis::start().await;
    let one = Replica::on(&redis, &[]).await;
    read(&one, 20).await;
    one.stop().await;
    let two = Replica::on(&redis, &[]).await;
    assert_eq!(two.warm_start().await.loaded, 20);
    assert_warm(&two, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_in_a_cluster_has_the_hot_keys_in_memory() {
    let cluster = Cluster::start(&[]).await;
    let one = Replica::connected_to(&cluster.url(), &[]).await;
    one.wait_until_proven().await;
    read(&one, 50).await;
    one.stop().await;
    let two = Replica::connected_to(&cluster.url(), &[]).await;
    two.wait_until_proven().await;
    assert_eq!(two.warm_start().await.loaded, 50);
    assert_warm(&two, 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_start_skips_missing_disabled_and_unknown_entries() {
    let redis = Redis::start().await;
    let one = Replica::on(&redis, &[]).await;
    for namespace in ["default", "off", "unknown"] {
        for key in ["a", "b"] {
            one.set_in(namespace, key, "v").await;
            for _ in 0..10 {
                one.get_from(namespace, key).await;
            }
        }
    }
    one.invalidate("b").await;
    one.stop().await;
    let two = Replica::on(&redis, &[("namespaces.off.enabled", "false")]).await;
    let warmed = two.warm_start().await;
    assert_eq!((warmed.listed, warmed.loaded), (6, 1));
    assert_eq!(two.get("a").await.tier(), pb::Tier::L1);
    // Loads of the warm start do not count as Gets.
    assert_eq!(two.counts("default").await.l1_hits, 1);
    assert_eq!(two.counts("default").await.misses, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_start_is_bounded_in_keys_time_and_rate() {
    let redis = Redis::start().await;
    let one = Replica::on(&redis, &[]).await;
    read(&one, 40).await;
    one.stop().await;
    let few = Replica::on(&redis, &[("warm_start.keys", "5")]).await;
    assert_eq!(few.warm_start().await.loaded, 5);
    let slow = [("warm_start.keys_per_second", "10"), ("warm_start.timeout", "1s")];
    let slow = Replica::on(&redis, &slow).await;
    let warmed = slow.warm_start().await;
    assert!(warmed.timed_out && (1..=15).contains(&warmed.loaded), "{warmed:?}");
    let took = Duration::try_from(warmed.duration.unwrap()).unwrap();
    assert!(took >= Duration::from_millis(900), "{took:?}");
    eventually("the replica becomes ready", async || slow.is_ready().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_waits_for_a_warm_start_unless_it_is_impossible() {
    let redis = Redis::start().await;
    let one = Replica::on(&redis, &[]).await;
    read(&one, 40).await;
    one.stop().await;
    let slow = [("warm_start.keys_per_second", "20"), ("warm_start.timeout", "30s")];
    let slow = Replica::on(&redis, &slow).await;
    eventually("the warm start has ended", async || {
        assert!(!slow.is_ready().await || slow.stats().await.warm_start.is_some());
        slow.stats().await.warm_start.is_some()
    })
    .await;
    eventually("the replica is ready", async || slow.is_ready().await).await;
    assert_eq!(slow.warm_start().await.loaded, 40);

    let absent = Redis::not_started(&[]);
    let alone = Replica::connected_to(&absent.url(), &[("redis.connect_timeout", "300ms")]).await;
    eventually("the replica is ready", async || alone.is_ready().await).await;
    assert_eq!(alone.stats().await.warm_start, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_answer_delays_readiness_until_the_limit() {
    let redis = Redis::start().await;
    let one = Replica::on(&redis, &[]).await;
    read(&one, 40).await;
    one.stop().await;
    let proxy = Proxy::to(redis.port()).await;
    proxy.delay(Class::Commands, Direction::ToClient, Duration::from_millis(60));
    let late =
        Replica::connected_to(&proxy.url(), &[("warm_start.timeout", "30ms"), ("redis.connect_timeout", "10s")]).await;
    let warmed = late.warm_start().await;
    assert!(warmed.timed_out, "{warmed:?}");
    eventually("the replica is ready", async || late.is_ready().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_start_can_be_switched_off() {
    let redis = Redis::start().await;
    let one = Replica::on(&redis, &[("warm_start.enabled", "false")]).await;
    read(&one, 20).await;
    one.stop().await;
    assert_eq!(redis.cli(&["EXISTS", LIST]).await.number(), 0);
    let two = Replica::on(&redis, &[("warm_start.enabled", "false")]).await;
    eventually("the replica is ready", async || two.is_ready().await).await;
    assert_eq!(two.stats().await.warm_start, None);
    assert_eq!(Replica::start(&[]).await.stats().await.warm_start, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_list_is_a_cold_start() {
    let redis = Redis::start().await;
    redis.cli(&[b"SET".as_slice(), LIST.as_bytes(), b"\x01\xff\xfe damaged", b"PX", b"60000"]).await;
    let replica = Replica::on(&redis, &[]).await;
    assert_eq!(replica.warm_start().await.loaded, 0);
    replica.set("k", "v").await;
}

/// Stores entries in Redis that are in no list of hot keys.
async fn store_in_redis(redis: &Redis, namespace: &str, keys: &[&str]) {
    let one = Replica::on(redis, &[("warm_start.enabled", "false")]).await;
    for key in keys {
        one.set_in(namespace, key, "v").await;
    }
    one.stop().await;
}

async fn tier(replica: &Replica, namespace: &str, key: &str) -> pb::Tier {
    let answer = replica.get_from(namespace, key).await;
    assert!(answer.is("v"), "{namespace}/{key}: {answer:?}");
    answer.tier()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configured_keys_are_in_memory_before_the_first_get() {
    let redis = Redis::start().await;
    store_in_redis(&redis, "sessions", &["user:7", "path/with/slashes", "not-named"]).await;
    let list =
        r#"["sessions/user:7", "sessions/path/with/slashes", "sessions/missing", "sessions/user:7", "unused/k"]"#;
    let two = Replica::on(&redis, &[("warm_start.load_keys", list)]).await;
    let warmed = two.warm_start().await;
    assert_eq!((warmed.listed, warmed.loaded, warmed.timed_out), (4, 2, false));
    for key in ["user:7", "path/with/slashes"] {
        assert_eq!(tier(&two, "sessions", key).await, pb::Tier::L1, "{key}");
    }
    assert_eq!(two.get_from("sessions", "missing").await.miss(), Some(pb::MissReason::Absent));
    let counts = two.counts("sessions").await;
    assert_eq!((counts.l1_hits, counts.l2_hits, counts.misses), (2, 0, 1));
    assert_eq!(tier(&two, "sessions", "not-named").await, pb::Tier::L2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_below_configured_prefixes_are_in_memory_before_the_first_get() {
    let redis = Redis::start().await;
    store_in_redis(&redis, "goals", &["user:1", "user:1:list", "user:2/a", "user:12", "user*:1", "other"]).await;
    store_in_redis(&redis, "pages", &["a", "b/c"]).await;
    store_in_redis(&redis, "cold", &["user:1"]).await;
    let list = r#"["goals/user:1", "goals/user:2/", "pages/"]"#;
    let two = Replica::on(&redis, &[("warm_start.load_prefixes", list)]).await;
    let warmed = two.warm_start().await;
    assert_eq!((warmed.listed, warmed.loaded, warmed.timed_out), (5, 5, false));
    for (namespace, key) in
        [("goals", "user:1"), ("goals", "user:1:list"), ("goals", "user:2/a"), ("pages", "a"), ("pages", "b/c")]
    {
        assert_eq!(tier(&two, namespace, key).await, pb::Tier::L1, "{namespace}/{key}");
    }
    for (namespace, key) in [("goals", "user:12"), ("goals", "user*:1"), ("goals", "other"), ("cold", "user:1")] {
        assert_eq!(tier(&two, namespace, key).await, pb::Tier::L2, "{namespace}/{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configured_keys_and_prefixes_are_loaded_from_every_primary_of_a_cluster() {
    let cluster = Cluster::start(&[]).await;
    let one = Replica::connected_to(&cluster.url(), &[("warm_start.enabled", "false")]).await;
    one.wait_until_proven().await;
    for n in 0..40 {
        one.set_in("goals", &format!("user:{n}"), "v").await;
        one.set_in("pages", &n.to_string(), "v").await;
    }
    one.stop().await;
    let keys: Vec<String> = (0..40).map(|n| format!("pages/{n}")).collect();
    let keys = serde_json::json!(keys).to_string();
    let settings = [("warm_start.load_keys", keys.as_str()), ("warm_start.load_prefixes", r#"["goals/user"]"#)];
    let two = Replica::connected_to(&cluster.url(), &settings).await;
    two.wait_until_proven().await;
    let warmed = two.warm_start().await;
    assert_eq!((warmed.listed, warmed.loaded), (80, 80), "{warmed:?}");
    for n in 0..40 {
        assert_eq!(tier(&two, "goals", &format!("user:{n}")).await, pb::Tier::L1);
        assert_eq!(tier(&two, "pages", &n.to_string()).await, pb::Tier::L1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loading_by_prefix_is_bounded_in_keys_and_time() {
    let redis = Redis::start().await;
    let names: Vec<String> = (0..60).map(|n| format!("user:{n}")).collect();
    store_in_redis(&redis, "goals", &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let prefix = ("warm_start.load_prefixes", r#"["goals/user"]"#);
    let few = Replica::on(&redis, &[prefix, ("warm_start.keys", "5")]).await;
    let warmed = few.warm_start().await;
    assert_eq!((warmed.listed, warmed.loaded, warmed.timed_out), (5, 5, false));
    let slow = [prefix, ("warm_start.keys_per_second", "10"), ("warm_start.timeout", "1s")];
    let slow = Replica::on(&redis, &slow).await;
    let warmed = slow.warm_start().await;
    assert!(warmed.timed_out && (1..=15).contains(&warmed.loaded), "{warmed:?}");
    eventually("the replica becomes ready", async || slow.is_ready().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configured_keys_are_loaded_once_and_before_hot_keys() {
    let redis = Redis::start().await;
    let one = Replica::on(&redis, &[]).await;
    read(&one, 20).await;
    one.set("rare", "v").await;
    one.stop().await;
    let settings = [
        ("warm_start.load_keys", r#"["default/rare", "default/3"]"#),
        ("warm_start.load_prefixes", r#"["default/3", "default/4"]"#),
    ];
    let two = Replica::on(&redis, &settings).await;
    assert_eq!(two.warm_start().await.loaded, 21);
    assert_eq!(tier(&two, "default", "rare").await, pb::Tier::L1);
    assert_warm(&two, 20).await;
}
