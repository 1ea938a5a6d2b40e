//! A reload replaces the keys of MACs and encryption: no answer fails or misses, and a bad file
//! changes nothing.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use twintier::pb;
use twintier::pb::cache_service_client::CacheServiceClient;

use crate::harness::{Answer as _, Redis, TlsReplica, eventually, set_request};

const KEYS: usize = 40;
/// Reads that a step has to stand.
const READS: usize = 400;

/// A volume of Kubernetes with two key files: a link in it is replaced, so both change at once.
struct Volume {
    folder: tempfile::TempDir,
    version: AtomicUsize,
}

impl Volume {
    fn new(keys: [u8; 2]) -> Volume {
        let volume = Volume { folder: tempfile::tempdir().unwrap(), version: AtomicUsize::new(0) };
        volume.put(keys.map(|key| vec![key; 32]));
        volume
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, contents: [Vec<u8>; 2]) {
        let version = format!("..{}", self.version.fetch_add(1, Ordering::Relaxed));
        std::fs::create_dir(self.path(&version)).unwrap();
        for (name, content) in ["first", "second"].iter().zip(contents) {
            std::fs::write(self.path(&version).join(name), content).unwrap();
        }
        symlink(&version, self.path("next")).unwrap();
        std::fs::rename(self.path("next"), self.path("..data")).unwrap();
    }

    /// The list of both files, as a setting has it.
    fn list(&self) -> String {
        serde_json::json!(["first", "second"].map(|name| self.path("..data").join(name))).to_string()
    }
}

/// Two replicas with the same keys.
struct Fleet {
    volume: Volume,
    replicas: [TlsReplica; 2],
    clients: [CacheServiceClient<Channel>; 2],
    _redis: Redis,
}

impl Fleet {
    async fn start() -> Fleet {
        let (redis, volume) = (Redis::start().await, Volume::new([1, 9]));
        let (url, list) = (redis.url(), volume.list());
        // A loaded machine makes a request slow, not wrong.
        let settings = [
            ("redis.url", &*url),
            ("redis.mac_key_files", &*list),
            ("redis.encryption_key_files", &*list),
            ("redis.read_timeout", "1s"),
            ("redis.write_timeout", "5s"),
            ("redis.unresponsive_after", "5s"),
        ];
        let replicas = [TlsReplica::start(&settings).await, TlsReplica::start(&settings).await];
        let clients = [0, 1].map(|n: usize| {
            let endpoint = Endpoint::from_shared(format!("http://{}", replicas[n].address)).unwrap();
            CacheServiceClient::new(endpoint.connect_lazy())
        });
        let fleet = Fleet { volume, replicas, clients, _redis: redis };
        for client in &fleet.clients {
            eventually("the replica is proven", async || {
                let stats = client.clone().stats(pb::StatsRequest::default()).await.unwrap().into_inner();
                stats.coherence.is_some_and(|seen| seen.partitions_proven == seen.partitions)
            })
            .await;
        }
        fleet
    }

    /// Sets every key through one of the replicas.
    async fn fill(&self, replica: usize, value: &str) {
        for n in 0..KEYS {
            self.clients[replica].clone().set(set_request(&format!("key-{n}"), value)).await.unwrap();
        }
    }

    /// Waits until every value is in the memory of both replicas, or can be.
    async fn wait_until_visible(&self, value: &str) {
        for (client, n) in self.clients.iter().flat_map(|client| (0..KEYS).map(move |n| (client, n))) {
            let request = pb::GetRequest { key: format!("key-{n}"), ..Default::default() };
            eventually("the value", async || client.clone().get(request.clone()).await.unwrap().into_inner().is(value))
                .await;
        }
    }

    /// Puts keys in force at both replicas.
    async fn rotate(&self, keys: [u8; 2]) {
        let before: Vec<f64> = self.replicas.iter().map(|replica| replica.reloads("ok")).collect();
        self.volume.put(keys.map(|key| vec![key; 32]));
        for (replica, before) in self.replicas.iter().zip(before) {
            replica.wait_for_reloads("ok", before + 1.0).await;
        }
    }

    /// Number of entries and messages that both replicas refused.
    fn refused(&self) -> f64 {
        self.replicas.iter().map(|replica| replica.scrape().sum("twintier_redis_refused_total")).sum()
    }

    /// Changes of keys that were not followed, by both replicas.
    async fn losses(&self) -> u64 {
        let mut losses = 0;
        for client in &self.clients {
            let stats = client.clone().stats(pb::StatsRequest::default()).await.unwrap().into_inner();
            losses += stats.coherence.unwrap().undecodable + stats.redis.unwrap().undecodable;
        }
        losses
    }
}

/// Readers of every key at both replicas, from memory and from Redis, and writers. None may fail or
/// miss.
struct Load {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Load {
    fn start(fleet: &Fleet, writes: bool) -> Load {
        let mut load = Load { stop: Arc::default(), reads: Arc::default(), tasks: JoinSet::new() };
        for client in &fleet.clients {
            let (mut client, stop, reads) = (client.clone(), load.stop.clone(), load.reads.clone());
            load.tasks.spawn(async move {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    let key = format!("key-{}", n % KEYS);
                    if writes && n % 3 == 0 {
                        client.set(set_request(&key, "v")).await.unwrap();
                    }
                    let consistency = if n % 2 == 0 { pb::Consistency::Strong } else { Default::default() };
                    let request = pb::GetRequest { key, consistency: consistency.into(), ..Default::default() };
                    let answer = client.get(request).await.unwrap().into_inner();
                    assert!(answer.is("v"), "{answer:?}");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        load
    }

    /// Waits for further reads.
    async fn go_on(&self) {
        let enough = self.reads.load(Ordering::Relaxed) + READS;
        eventually("reads", async || self.reads.load(Ordering::Relaxed) >= enough || self.tasks.is_empty()).await;
    }

    async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_by_reloads_without_a_miss_or_an_error() {
    let fleet = Fleet::start().await;
    fleet.fill(0, "v").await;
    fleet.wait_until_visible("v").await;
    let losses = fleet.losses().await;
    let load = Load::start(&fleet, true);
    load.go_on().await;
    // The next key verifies, then signs.
    for keys in [[1, 2], [2, 1]] {
        fleet.rotate(keys).await;
        load.go_on().await;
    }
    load.stop().await;
    // Entries signed by the last key are written again before that key is removed.
    fleet.fill(1, "v").await;
    fleet.wait_until_visible("v").await;
    let load = Load::start(&fleet, true);
    fleet.rotate([2, 3]).await;
    load.go_on().await;
    load.stop().await;
    assert_eq!((fleet.refused(), fleet.losses().await), (0.0, losses));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_gone_verifies_nothing() {
    let fleet = Fleet::start().await;
    fleet.fill(0, "v").await;
    fleet.rotate([3, 4]).await;
    let request =
        pb::GetRequest { key: "key-1".into(), consistency: pb::Consistency::Strong.into(), ..Default::default() };
    let answer = fleet.clients[1].clone().get(request).await.unwrap().into_inner();
    assert_eq!(answer.miss(), Some(pb::MissReason::Absent));
    assert!(fleet.refused() >= 1.0);
    fleet.fill(1, "again").await;
    fleet.wait_until_visible("again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_key_file_changes_no_key() {
    let fleet = Fleet::start().await;
    fleet.fill(0, "v").await;
    for bad in [[vec![5; 32], b"no key".to_vec()], [vec![5; 32], vec![5; 32]]] {
        let before: Vec<f64> = fleet.replicas.iter().map(|replica| replica.reloads("failed")).collect();
        fleet.volume.put(bad);
        for (replica, before) in fleet.replicas.iter().zip(before) {
            replica.wait_for_reloads("failed", before + 1.0).await;
        }
        fleet.wait_until_visible("v").await;
        let load = Load::start(&fleet, true);
        load.go_on().await;
        load.stop().await;
    }
    assert_eq!(fleet.refused(), 0.0);
}
