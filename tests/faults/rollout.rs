//! Drills of a rolling update: replicas are replaced one by one, and no call may fail.
//!
//! Replicas are child processes. They are replaced like those of a Deployment with `maxSurge: 1`
//! and `maxUnavailable: 0`. Clients reach them by a name.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use twintier::pb;
use twintier::pb::cache_service_client::CacheServiceClient;

use super::balanced::{Balanced, Name, Place, Policy};
use super::drill::{World, at_length, drill, millis};
use super::harness::{Redis, Replica, eventually, eventually_within, within};
use super::load::{Load, Way};
use super::report::print_line;

/// Settings of every replica of either build: the service's defaults with shorter times, and long
/// timeouts for a Redis on the same machine.
const SETTINGS: &[(&str, &str)] = &[
    ("coherence.max_staleness", "1s"),
    ("redis.connect_timeout", "10s"),
    ("redis.read_timeout", "4s"),
    ("redis.write_timeout", "4s"),
    ("redis.unresponsive_after", "4s"),
    ("cache.default_ttl", "1h"),
    ("drain.delay", "700ms"),
    ("drain.timeout", "1800ms"),
];

/// Time in which a replica stops after SIGTERM: the delay and the timeout.
const DRAIN_LIMIT: Duration = millis(2500);
/// Allowance for a loaded machine, added to [`DRAIN_LIMIT`].
const SCHEDULING_ALLOWANCE: Duration = Duration::from_secs(3);
/// Time until clients no longer find a replica that stops.
const DEREGISTRATION_TIME: Duration = millis(300);
/// Longest time until a replica is ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Keys that are read all the time and never written.
const HOT_KEYS: usize = 200;

/// Settings that only a newer release may have.
const NEWER_SETTINGS: &[(&str, &str)] = &[
    ("cache.compression", "zstd"),
    ("cache.compression_threshold", "16B"),
    ("coherence.self_audit", "0.01"),
    ("l1.eviction", "lru"),
    ("redis.connections", "3"),
];

/// A build of the program, and its settings in addition to `SETTINGS`.
#[derive(Clone)]
struct Build {
    program: PathBuf,
    settings: Vec<(&'static str, &'static str)>,
}

/// A deployment whose replicas are replaced.
struct Rollout {
    redis: Redis,
    name: Name,
    places: Vec<Place>,
    /// Number of replicas started so far.
    started: u8,
    /// Share of the hot keys, in percent, that a replica without a warm start had in memory when it
    /// was ready.
    cold: u64,
    unread: Arc<Unread>,
    _readers: JoinSet<()>,
}

/// Counts of data that replicas could not read.
#[derive(Debug, Default)]
struct Unread {
    entries: AtomicU64,
    messages: AtomicU64,
}

impl Build {
    /// The build under test.
    fn this(settings: &[(&'static str, &'static str)]) -> Build {
        Build { program: env!("CARGO_BIN_EXE_twintier").into(), settings: settings.to_vec() }
    }

    /// The build that OTHER_PROGRAM names, else the build under test.
    fn other() -> Build {
        let other = std::env::var_os("OTHER_PROGRAM").filter(|path| !path.is_empty());
        other.map_or(Build::this(&[]), |program| Build { program: program.into(), settings: Vec::new() })
    }

    /// Starts a replica of the build, and waits until it is ready.
    async fn start(&self, redis: &Redis) -> Replica {
        let settings = [SETTINGS, &self.settings].concat();
        let replica = Replica::of_build(&self.program, &redis.url(), &settings).await;
        let mut health = HealthClient::new(replica.channel.clone());
        eventually_within(START_TIMEOUT, "the replica is ready", async || {
            let answer = health.check(HealthCheckRequest { service: "readiness".into() }).await;
            answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
        })
        .await;
        replica
    }
}

fn hot(number: usize) -> String {
    format!("hot {number}")
}

/// Reads every hot key once. Returns the share, in percent, of all Gets of this replica that memory
/// answered.
async fn memory_share(replica: &Replica) -> u64 {
    for number in 0..HOT_KEYS {
        replica.get(&hot(number)).await;
    }
    let pb::NamespaceStats { l1_hits, l2_hits, misses, .. } = replica.counts("default").await;
    assert_eq!(l1_hits + l2_hits + misses, HOT_KEYS as u64, "other Gets were counted");
    100 * l1_hits / HOT_KEYS as u64
}

/// Reads the hot keys repeatedly.
async fn read_hot(name: Name) {
    let mut client = CacheServiceClient::new(Way::Any(Balanced::over(&name, Policy::documented())));
    for number in (0..HOT_KEYS).cycle() {
        // The name counts failures.
        let _ = client.get(pb::GetRequest { key: hot(number), ..Default::default() }).await;
        sleep(millis(2)).await;
    }
}

/// Starts three replicas of a build. They know the hot keys from an earlier replica.
async fn deploy(build: &Build) -> World<Rollout> {
    let redis = Redis::start().await;
    let former = build.start(&redis).await;
    for number in 0..HOT_KEYS {
        former.set(&hot(number), "value").await;
        former.get(&hot(number)).await;
    }
    assert!(former.stop().await);
    let (name, mut replicas) = (Name::default(), Vec::new());
    let (places, unread, readers) = (Vec::new(), Arc::default(), JoinSet::new());
    let mut rollout = Rollout { redis, name, places, started: 0, cold: 0, unread, _readers: readers };
    for _ in 0..3 {
        replicas.push(build.start(&rollout.redis).await);
        let place = rollout.announce(replicas.last().expect("just started"));
        rollout.places.push(place);
    }
    rollout._readers.spawn(read_hot(rollout.name.clone()));
    let name = rollout.name.clone();
    let mut world = World::of(rollout, Vec::new(), replicas);
    (world.name, world.stop_timeout) = (Some(name), DRAIN_LIMIT + SCHEDULING_ALLOWANCE);
    world.wait_until_proven().await;
    world
}

/// Starts three replicas, and measures the memory of a replica without a warm start.
async fn deploy_and_measure_cold_start() -> World<Rollout> {
    let mut world = deploy(&Build::this(&[])).await;
    let cold = Build::this(&[("warm_start.enabled", "false")]).start(&world.redis.redis).await;
    world.redis.cold = memory_share(&cold).await;
    assert!(cold.stop().await);
    world
}

impl Rollout {
    /// Adds `replica` to the name.
    fn announce(&mut self, replica: &Replica) -> Place {
        let place = Place { replica: self.started, address: replica.address };
        self.started += 1;
        self.name.add(place);
        place
    }
}

impl Unread {
    /// Adds the lifetime counts of a replica.
    async fn count(&self, replica: &Replica) {
        let stats = replica.stats().await;
        self.entries.fetch_add(stats.redis.unwrap().undecodable, Ordering::Relaxed);
        self.messages.fetch_add(stats.coherence.unwrap().undecodable, Ordering::Relaxed);
    }

    fn is_empty(&self) -> bool {
        self.entries.load(Ordering::Relaxed) + self.messages.load(Ordering::Relaxed) == 0
    }
}

impl World<Rollout> {
    /// Replaces one replica by one of `build`. Returns the share of hot keys that the new one had
    /// in memory when it was ready.
    async fn replace(&mut self, index: usize, build: &Build, peers: &[&[u8]]) -> u64 {
        let new = build.start(&self.redis.redis).await;
        let warm = memory_share(&new).await;
        let place = self.redis.announce(&new);
        let mut old = std::mem::replace(&mut self.replicas[index], new);
        let gone = std::mem::replace(&mut self.redis.places[index], place);
        self.redis.unread.count(&old).await;
        let mut connected = Vec::new();
        for words in peers {
            let mut peer = TcpStream::connect(old.address).await.unwrap();
            peer.write_all(words).await.unwrap();
            connected.push(peer);
        }
        old.terminate();
        let ended = async {
            sleep(DEREGISTRATION_TIME).await;
            self.redis.name.remove_replica(gone.replica);
            old.wait_for_exit().await
        };
        assert!(
            within(DRAIN_LIMIT + SCHEDULING_ALLOWANCE, ended).await,
            "the exit code of replica {} is not 0",
            gone.replica
        );
        let tally = self.redis.name.tally.clone();
        eventually("callers find the new replica", async || tally.answers_of(place.replica) > 0).await;
        warm
    }
}

/// Bytes of connections that delay a drain: none, half of a client's preface, and half of a frame.
const IDLE_PEERS: &[&[u8]] =
    &[b"", b"PRI * HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x10\x01"];

drill!(d28_replicas_are_replaced_one_after_another, Load::default(), deploy_and_measure_cold_start(), |world| {
    let build = Build::this(&[]);
    let (mut with, without) = (Vec::new(), world.redis.cold);
    while world.has_time() {
        for replica in 0..3 {
            with.push(world.replace(replica, &build, IDLE_PEERS).await);
            let loaded = world.replicas[replica].stats().await.warm_start.unwrap().loaded;
            assert!(loaded > 0, "no key was loaded");
        }
    }
    print_line(&format!(
        "  first Gets of the {HOT_KEYS} hot keys from memory: {with:?} %, and {without} % without a warm start"
    ));
    assert!(with.iter().all(|with| *with >= without + 50), "{with:?} {without}");
});

// Upgrades from one build to the other, and rolls back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d22_old_and_new_builds_share_a_redis() {
    let (old, new) = (Build::other(), Build::this(NEWER_SETTINGS));
    let world = deploy(&old).await;
    let taken_back = if at_length() { 3 } else { 1 };
    let (unread, load) = (world.redis.unread.clone(), Load { value_size: 256, ..Load::default() });
    world
        .drill("d22_old_and_new_builds_share_a_redis", load, async |world: &mut World<Rollout>| {
            while world.has_time() {
                for (build, replicas) in [(&new, 3), (&old, taken_back)] {
                    for replica in 0..replicas {
                        world.replace(replica, build, &[]).await;
                    }
                }
            }
            for replica in &world.replicas {
                world.redis.unread.count(replica).await;
            }
        })
        .await;
    // Different formats would break no promise, but would make proofs and hits rare.
    assert!(unread.is_empty(), "data that the other build could not read: {unread:?}");
}
