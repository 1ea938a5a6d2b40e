//! Thundering herds: many clients request one key at once, and its source sees few loads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};
use twintier::pb;
use twintier::pb::cache_service_client::CacheServiceClient;
use twintier::pb::set_request::{Condition, Content, Expiry};

use super::drill::{World, at_length, millis};
use super::harness::{Answer as _, eventually_within, within};

/// Number of callers.
fn herd_size() -> usize {
    if at_length() { 10_000 } else { 1000 }
}

/// Time that the source takes.
const LOAD_TIME: Duration = Duration::from_millis(200);
const WAIT_TIMEOUT: Duration = Duration::from_secs(100);

/// Limits that admit all callers; a bound so long that no caller reads again because of it; and
/// long timeouts for a Redis on the same machine. With a short timeout a replica would grant its
/// own lease.
const SETTINGS: &[(&str, &str)] = &[
    ("server.max_in_flight", "20000"),
    ("server.max_streams_per_connection", "1000"),
    ("server.max_waiting", "40000"),
    ("server.max_deadline", "2m"),
    ("coherence.max_staleness", "10s"),
    ("redis.read_timeout", "10s"),
    ("redis.write_timeout", "10s"),
    ("redis.unresponsive_after", "10s"),
    ("cache.stale_window", "1h"),
];

/// Source that the entry is loaded from.
#[derive(Default)]
struct Source {
    calls: AtomicUsize,
    failing: AtomicUsize,
    loading: AtomicUsize,
    max_concurrent: AtomicUsize,
    /// Notified when all callers are waiting. No load ends earlier.
    all_waiting: tokio::sync::Notify,
}

impl Source {
    async fn load(&self) -> Option<String> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let loading = self.loading.fetch_add(1, Ordering::SeqCst) + 1;
        self.max_concurrent.fetch_max(loading, Ordering::SeqCst);
        if call == 1 {
            self.all_waiting.notified().await;
        }
        sleep(LOAD_TIME).await;
        self.loading.fetch_sub(1, Ordering::SeqCst);
        let fails = self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        (!fails).then(|| format!("made by {call}"))
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// Gets `key` until it has a value, and loads the value if the lease is granted.
async fn get_or_load(channel: Channel, key: &str, source: &Source) -> String {
    let mut client = CacheServiceClient::new(channel);
    loop {
        let lease = Some(pb::LeaseOptions::default());
        let mut get = tonic::Request::new(pb::GetRequest { key: key.into(), lease, ..Default::default() });
        get.set_timeout(WAIT_TIMEOUT);
        let answer = client.get(get).await.expect("a Get never fails").into_inner();
        let Some(lease) = answer.lease else {
            match answer.seen() {
                super::harness::Seen::Value(value) => return value,
                other => panic!("{other:?}"),
            }
        };
        let Some(value) = source.load().await else {
            let release =
                pb::ReleaseLeaseRequest { key: key.into(), lease: lease.id, failed: true, ..Default::default() };
            assert!(client.release_lease(release).await.expect("released").into_inner().released);
            continue;
        };
        let set = pb::SetRequest {
            key: key.into(),
            content: Some(Content::Value(value.clone().into())),
            condition: Some(Condition::Lease(lease.id)),
            ..Default::default()
        };
        assert_eq!(client.set(set).await.expect("stored").into_inner().outcome(), pb::SetOutcome::Stored);
        return value;
    }
}

/// Channels to the replicas in turn. Each has enough streams for its share of the callers.
async fn channels(world: &World) -> Vec<Channel> {
    let mut channels = Vec::new();
    for n in 0..24 {
        let address = world.replicas[n % 3].address;
        channels.push(Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.expect("accepts"));
    }
    channels
}

/// Starts all callers of `key` at once.
fn herd(channels: &[Channel], key: &'static str, source: &Arc<Source>) -> (JoinSet<String>, Vec<AbortHandle>) {
    let mut callers = JoinSet::new();
    let handles = (0..herd_size()).map(|n| {
        let (channel, source) = (channels[n % channels.len()].clone(), source.clone());
        callers.spawn(async move { get_or_load(channel, key, &source).await })
    });
    let handles = handles.collect();
    (callers, handles)
}

async fn leases(world: &World) -> pb::LeaseStats {
    let mut sum = pb::LeaseStats::default();
    for replica in &world.replicas {
        let stats = replica.stats().await.leases.unwrap();
        sum.granted += stats.granted;
        sum.waited += stats.waited;
        sum.served += stats.served;
        sum.waiting += stats.waiting;
    }
    sum
}

async fn waiting(world: &World, number: usize) {
    eventually_within(WAIT_TIMEOUT, "the herd waits", async || leases(world).await.waiting == number as u64).await;
}

/// Number of reads of Redis by each replica.
async fn reads(world: &World) -> Vec<u64> {
    let mut reads = Vec::new();
    for replica in &world.replicas {
        let rows = replica.stats().await.latencies;
        reads.push(rows.iter().find(|row| row.operation == "l2_read").map_or(0, |row| row.count));
    }
    reads
}

/// Reads and lease requests, as Redis counts them: each is one GET.
async fn count_gets(world: &World) -> u64 {
    let info = world.redis.cli(&["INFO", "commandstats"]).await.text();
    let row = info.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls=")).map(str::to_owned);
    row.map_or(0, |row| row.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d23_a_herd_requests_a_cold_key() {
    let world = World::new(SETTINGS).await;
    let (source, before) = (Arc::new(Source::default()), count_gets(&world).await);
    let begun = Instant::now();
    let (callers, _) = herd(&channels(&world).await, "k", &source);
    waiting(&world, herd_size() - 1).await;
    let gathered = begun.elapsed();
    source.all_waiting.notify_one();
    let filled = Instant::now();
    let values = within(WAIT_TIMEOUT, callers.join_all()).await;
    let served = filled.elapsed() - LOAD_TIME;
    assert!(values.iter().all(|value| value == "made by 1"));
    assert_eq!((source.calls(), leases(&world).await.granted), (1, 1));
    let (reads, gets) = (reads(&world).await, count_gets(&world).await - before);
    println!(
        "{} gathered in {gathered:?}, served {served:?} after the load; reads {reads:?}, GETs {gets}",
        herd_size()
    );
    assert!(
        reads.iter().all(|reads| *reads <= 3),
        "one read before and one after the load, and a repeated one: {reads:?}"
    );
    // Nine, unless the drill takes so long that all callers read again.
    assert!(gets <= 30, "{gets} GETs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d23_a_herd_requests_a_key_whose_source_fails() {
    const FAILURES: usize = 5;
    let world = World::new(SETTINGS).await;
    let source = Arc::new(Source { failing: FAILURES.into(), ..Source::default() });
    let before = count_gets(&world).await;
    let (callers, _) = herd(&channels(&world).await, "k", &source);
    waiting(&world, herd_size() - 1).await;
    source.all_waiting.notify_one();
    let values = within(WAIT_TIMEOUT, callers.join_all()).await;
    assert!(values.iter().all(|value| *value == format!("made by {}", FAILURES + 1)));
    let gets = count_gets(&world).await - before;
    println!("failing source: {} calls, {gets} GETs", source.calls());
    assert_eq!(
        (source.calls(), source.max_concurrent.load(Ordering::SeqCst)),
        (FAILURES + 1, 1),
        "loads are sequential"
    );
    // Each failure wakes three replicas. Each of them reads once and requests the lease once.
    assert!(gets <= 12 + 12 * FAILURES as u64, "{gets} GETs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d23_the_first_callers_of_a_herd_disconnect() {
    let world = World::new(SETTINGS).await;
    let source = Arc::new(Source::default());
    source.all_waiting.notify_one();
    let (mut callers, handles) = herd(&channels(&world).await, "k", &source);
    // Callers disconnect while the lease is requested and handed over. A caller that has the lease
    // keeps it until its handle is aborted.
    let mut left = 0;
    for handle in handles.iter().take(herd_size() / 2) {
        sleep(Duration::from_micros(100)).await;
        if source.calls() > 0 {
            break;
        }
        handle.abort();
        left += 1;
    }
    let mut served = 0;
    let all = async {
        while let Some(caller) = callers.join_next().await {
            served += usize::from(caller.is_ok());
        }
    };
    within(WAIT_TIMEOUT, all).await;
    println!("cancelled: {left} left, {served} served, {} loads", source.calls());
    // A caller that is cancelled while it loads leaves its load unfinished.
    let finished = source.calls() - source.loading.load(Ordering::SeqCst);
    assert_eq!((served, finished), (herd_size() - left, 1));
}

/// A value with a short time to live is refreshed about once under load, and no caller misses it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d23_a_hot_value_is_refreshed_before_it_expires() {
    let world = World::new(&[SETTINGS, &[("cache.early_refresh", "1")]].concat()).await;
    let (source, misses) = (Arc::new(Source::default()), Arc::new(AtomicUsize::new(0)));
    source.all_waiting.notify_one();
    let until = Instant::now() + Duration::from_secs(4);
    let mut load = JoinSet::new();
    for n in 0..30 {
        let (channel, source, misses) = (world.replicas[n % 3].channel.clone(), source.clone(), misses.clone());
        load.spawn(async move {
            let mut client = CacheServiceClient::new(channel);
            let mut gets = 0;
            while Instant::now() < until {
                let lease = Some(pb::LeaseOptions::default());
                let get = pb::GetRequest { key: "hot".into(), lease, ..Default::default() };
                let answer = client.get(get).await.expect("a Get never fails").into_inner();
                gets += 1;
                misses.fetch_add(usize::from(answer.miss().is_some()), Ordering::SeqCst);
                let Some(lease) = answer.lease else {
                    sleep(millis(2)).await;
                    continue;
                };
                let value = source.load().await.expect("the source does not fail");
                let set = pb::SetRequest {
                    key: "hot".into(),
                    content: Some(Content::Value(value.into())),
                    condition: Some(Condition::Lease(lease.id)),
                    expiry: Some(Expiry::Ttl(prost_types::Duration { seconds: 3, nanos: 0 })),
                    ..Default::default()
                };
                assert_eq!(client.set(set).await.expect("stored").into_inner().outcome(), pb::SetOutcome::Stored);
            }
            gets
        });
    }
    let gets: usize = load.join_all().await.into_iter().sum();
    let (loads, misses) = (source.calls(), misses.load(Ordering::SeqCst));
    println!("early refresh: {gets} Gets, {loads} loads, {misses} misses");
    // The first load, and one or two refreshes in four seconds of a value that lives for three.
    assert!((2..=12).contains(&loads) && source.max_concurrent.load(Ordering::SeqCst) == 1, "{loads} loads");
    assert_eq!(misses, 1, "only the first Get misses");
}
