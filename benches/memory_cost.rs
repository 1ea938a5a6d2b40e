//! Memory of entries, connections and calls, here and in Redis, and CPU of calls.
//!
//! Runs the program as a child process over its own Redis. `make memory-cost` prints the tables of
//! docs/capacity.md.
#![allow(clippy::unwrap_used, dead_code, unused_imports, unused_macros)]

#[path = "../tests/api/harness/mod.rs"]
mod harness;

use std::fmt::Write as _;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::{Redis, Replica, Reply, eventually, invalidate_key, set_request};
use tokio::task::JoinSet;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use twintier::pb;
use twintier::pb::cache_service_client::CacheServiceClient;

/// Bytes of values that are set before the measurement starts, with at most `ENTRIES` entries. The
/// measurement then sets three times as many.
const FILL: usize = 32 << 20;
const ENTRIES: usize = 40_000;
/// Bytes of values in a batch.
const BATCH: usize = 512 << 10;
const CONNECTIONS: usize = 500;
const WATCHES: usize = 1_000;
const WAITING: usize = 2_000;
const CALLS: usize = 20_000;
const CALLERS: usize = 8;
/// Time for which an idle deployment is measured.
const WATCHED: Duration = Duration::from_secs(6);

/// Settings of every measurement: no eviction, and a namespace for each storage format.
const SETTINGS: &[(&str, &str)] = &[
    ("l1.size", "4GiB"),
    ("server.max_in_flight", "20000"),
    ("server.max_streams_per_connection", "1000"),
    ("limits.watches", "10000"),
    ("namespaces.plain.default_ttl", "1h"),
    ("namespaces.zstd.compression", "zstd"),
    ("namespaces.zstd.compression_threshold", "0B"),
    ("namespaces.lz4.compression", "lz4"),
    ("namespaces.lz4.compression_threshold", "0B"),
    ("namespaces.without_l1.l1", "false"),
];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("run by `cargo bench`");
        return;
    }
    entries().await;
    process().await;
    other_keys().await;
    idle().await;
    calls().await;
}

// === entries ===

/// Cost of an entry in the memory of a replica and in Redis.
async fn entries() {
    println!("| value | tags | weighed in L1 | resident in L1 | in Redis | with lz4 | with zstd |");
    println!("|---|---|---|---|---|---|---|");
    for size in [100, 1 << 10, 10 << 10] {
        for tags in [0, 3] {
            let Filled { weighed, resident, redis } = Filled::with("plain", size, tags).await;
            // A value of 100 bytes is below the compression threshold, and compression would hardly
            // shrink it.
            let (mut lz4, mut zstd) = ("–".to_owned(), "–".to_owned());
            if size > 100 && tags == 0 {
                lz4 = Filled::with("lz4", size, tags).await.redis.to_string();
                zstd = Filled::with("zstd", size, tags).await.redis.to_string();
            }
            println!("| {size} | {tags} | {weighed} | {resident} | {redis} | {lz4} | {zstd} |");
        }
    }
}

/// Bytes per entry.
struct Filled {
    weighed: u64,
    resident: u64,
    redis: u64,
}

impl Filled {
    /// Fills a replica and measures the cost of one entry. The first entries are not measured: they
    /// include the cost of the allocator, the connections and the log of writes.
    async fn with(namespace: &str, size: usize, tags: usize) -> Filled {
        let redis = Redis::start().await;
        let replica = replica(&redis, &[]).await;
        let first = (FILL / size).min(ENTRIES);
        let entries = 3 * first;
        fill(&replica, namespace, 0..first, size, tags).await;
        let (before, stored, held) = (resident(&replica), used(&redis).await, replica.counts(namespace).await);
        fill(&replica, namespace, first..first + entries, size, tags).await;
        let counts = replica.counts(namespace).await;
        assert_eq!(counts.entries, (first + entries) as u64, "all are in memory");
        let each = |bytes: u64| bytes / entries as u64;
        Filled {
            weighed: each(counts.bytes - held.bytes),
            resident: each(resident(&replica) - before),
            redis: each(used(&redis).await - stored),
        }
    }
}

async fn fill(replica: &Replica, namespace: &str, numbers: Range<usize>, size: usize, tags: usize) {
    let numbers: Vec<usize> = numbers.collect();
    for batch in numbers.chunks((BATCH / size).clamp(1, 500)) {
        let items = batch.iter().map(|number| pb::SetRequest {
            key: format!("a key of thirty bytes {number:08}"),
            content: Some(pb::set_request::Content::Value(value(*number, size))),
            tags: (0..tags).map(|tag| format!("tag:{tag}:{:06}", number % 100)).collect(),
            expiry: Some(pb::set_request::Expiry::Ttl(prost_types::Duration { seconds: 3600, nanos: 0 })),
            ..Default::default()
        });
        let request =
            pb::BatchSetRequest { namespace: namespace.to_owned(), items: items.collect(), ..Default::default() };
        let results = replica.client.clone().batch_set(request).await.unwrap().into_inner().results;
        let refused = results.iter().find(|result| result.outcome() != pb::SetOutcome::Stored);
        assert!(refused.is_none(), "{refused:?}");
    }
}

/// JSON records, which compress about as well as real data.
fn value(number: usize, size: usize) -> Bytes {
    let mut text = String::with_capacity(size + 160);
    let mut noise = number as u64 + 1;
    while text.len() < size {
        // xorshift64
        for shift in [13, -7, 17] {
            noise ^= if shift > 0 { noise << shift } else { noise >> -shift };
        }
        let (id, mail, seen) = (noise % 1_000_000, noise >> 40, noise >> 20 & 0x3fff_ffff);
        let _ =
            write!(text, r#"{{"id": {id}, "name": "user {mail:x}", "mail": "{mail}@example.com", "seen": {seen}}},"#);
    }
    text.truncate(size);
    text.into()
}

// === the process ===

/// Memory of the process beside entries.
async fn process() {
    println!("\n| the process | resident memory |");
    println!("|---|---|");
    let alone = Replica::process_with(SETTINGS, &[]).await;
    alone.stats().await;
    println!("| just started, without Redis | {} |", mib(resident(&alone)));
    drop(alone);
    let redis = Redis::start().await;
    let replica = replica(&redis, &[]).await;
    println!("| just started, with Redis and 64 partitions | {} |", mib(resident(&replica)));
    let large = self::replica(&redis, &[("coherence.partitions", "1024"), ("redis.prefix", "many")]).await;
    println!("| the same with 1024 partitions | {} |", mib(resident(&large)));
    drop(large);

    replica.set("a", "b").await;
    let before = resident(&replica);
    let channels = connections(&replica, CONNECTIONS).await;
    println!("| a connection that has made a call | {} |", kib((resident(&replica) - before) / CONNECTIONS as u64));

    let mut watches = Vec::new();
    let before = resident(&replica);
    for number in 0..WATCHES {
        let request = pb::WatchRequest { namespace: "plain".to_owned(), ..Default::default() };
        watches.push(client(&channels[number % 100]).watch(request).await.unwrap());
    }
    println!("| a watch | {} |", kib((resident(&replica) - before) / WATCHES as u64));
    drop(watches);

    let before = resident(&replica);
    let waiting = waiting(&replica, &channels).await;
    println!("| a Get that waits for a lease | {} |", kib((resident(&replica) - before) / WAITING as u64));
    drop(waiting);
    eventually("no Get waits", async || replica.stats().await.leases.unwrap_or_default().waiting == 0).await;

    drop(channels);

    for megabytes in [64, 192] {
        let fresh = self::replica(&redis, &[]).await;
        let before = resident(&fresh);
        let channels = connections(&fresh, CALLERS).await;
        let mut sets = JoinSet::new();
        for number in 0..megabytes {
            let mut client = client(&channels[number % CALLERS]);
            let content = Some(pb::set_request::Content::Value(value(number, 1 << 20)));
            let (namespace, key) = ("without_l1".to_owned(), format!("large:{number}"));
            sets.spawn(
                async move { client.set(pb::SetRequest { namespace, key, content, ..Default::default() }).await },
            );
        }
        // A Set that exceeds redis.write_timeout is refused, but its value was in memory all the
        // same.
        sets.join_all().await;
        println!("| {megabytes} Sets of 1 MiB at once, at their peak | {} more |", mib(peak(&fresh) - before));
    }
}

async fn connections(replica: &Replica, number: usize) -> Vec<Channel> {
    let mut channels = Vec::new();
    for _ in 0..number {
        let endpoint = Endpoint::from_shared(format!("http://{}", replica.address)).unwrap();
        let channel = endpoint.connect().await.unwrap();
        client(&channel).get(pb::GetRequest { key: "a".to_owned(), ..Default::default() }).await.unwrap();
        channels.push(channel);
    }
    channels
}

/// Starts Gets that wait until they are dropped. Returns when all of them wait.
async fn waiting(replica: &Replica, channels: &[Channel]) -> JoinSet<()> {
    let lease = || pb::GetRequest {
        key: "missing".to_owned(),
        lease: Some(pb::LeaseOptions {
            duration: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            ..Default::default()
        }),
        ..Default::default()
    };
    replica.try_get(lease()).await.unwrap();
    let mut gets = JoinSet::new();
    for number in 0..WAITING {
        let mut client = client(&channels[number % 50]);
        let mut request = Request::new(lease());
        request.set_timeout(Duration::from_secs(60));
        gets.spawn(async move { _ = client.get(request).await });
    }
    let all = WAITING as u64;
    eventually("all wait", async || replica.stats().await.leases.unwrap_or_default().waiting == all).await;
    gets
}

// === Redis ===

/// Prints the keys in Redis that are not entries, with their sizes.
async fn other_keys() {
    println!("\n| beside entries | in Redis |");
    println!("|---|---|");
    let redis = Redis::start().await;
    let replica = replica(&redis, &[]).await;
    let empty = used(&redis).await;
    let second = self::replica(&redis, &[]).await;
    println!("| a replica: its connections and what is said to it | {} |", kib(used(&redis).await - empty));
    drop(second);
    replica.set("entry", "v").await;
    let key = "a key of thirty bytes 00000000";
    let lease = Some(pb::LeaseOptions::default());
    replica.try_get(pb::GetRequest { key: key.to_owned(), lease, ..Default::default() }).await.unwrap();
    println!("| a lease, while it lasts | {} |", largest(&redis, "twintier:*:l:*").await);
    let request_id = "123e4567-e89b-12d3-a456-426614174000".to_owned();
    replica.store(pb::SetRequest { request_id, ..set_request(key, "v") }).await.unwrap();
    println!("| a request id, for minutes | {} |", largest(&redis, "twintier:*:q:*").await);
    replica.remove(pb::InvalidateRequest { source_version: Some(7), ..invalidate_key(key) }).await.unwrap();
    println!(
        "| the version of the source that an entry was invalidated for, for minutes | {} |",
        largest(&redis, "twintier:*:x:*").await
    );
    println!("| the counter of a partition | {} |", largest(&redis, "twintier:*:c").await);
    let (before, tags) = (used(&redis).await, 1000);
    for tag in 0..tags {
        let selector = pb::invalidate_request::Selector::Tags(pb::Tags { tags: vec![format!("tag:{tag:08}")] });
        let request = pb::InvalidateRequest { selector: Some(selector), ..Default::default() };
        replica.remove(request).await.unwrap();
    }
    let each = (used(&redis).await - before) / tags;
    println!("| a tag or prefix that was invalidated, in all of 64 partitions | {} |", kib(each));
}

/// Size of the largest key that matches.
async fn largest(redis: &Redis, pattern: &str) -> String {
    let Reply::List(keys) = redis.cli(&["KEYS", pattern]).await else { panic!("KEYS answers with a list") };
    let mut bytes = Vec::new();
    for key in keys {
        bytes.push(redis.cli(&["MEMORY", "USAGE", &key.text()]).await.number());
    }
    format!("{} B", bytes.iter().max().expect("a key matches"))
}

/// Load that idle replicas put on Redis.
async fn idle() {
    println!("\n| idle replicas | connections | commands/s | to Redis | from Redis |");
    println!("|---|---|---|---|---|");
    for number in [1, 2, 4] {
        let redis = Redis::start().await;
        let mut replicas = Vec::new();
        for _ in 0..number {
            replicas.push(replica(&redis, &[]).await);
        }
        let (before, begun) = (Traffic::of(&redis).await, Instant::now());
        tokio::time::sleep(WATCHED).await;
        let (after, seconds) = (Traffic::of(&redis).await, begun.elapsed().as_secs_f64());
        let rate = |count: fn(&Traffic) -> u64| (count(&after) - count(&before)) as f64 / seconds;
        println!(
            "| {number} | {} | {:.0} | {:.1} KiB/s | {:.1} KiB/s |",
            after.connections,
            rate(|traffic| traffic.commands),
            rate(|traffic| traffic.received) / 1024.0,
            rate(|traffic| traffic.sent) / 1024.0
        );
    }
}

struct Traffic {
    connections: u64,
    commands: u64,
    received: u64,
    sent: u64,
}

impl Traffic {
    async fn of(redis: &Redis) -> Traffic {
        let connections = info(redis, "connected_clients").await as u64 - 1;
        let [commands, received, sent] =
            ["total_commands_processed", "total_net_input_bytes", "total_net_output_bytes"];
        Traffic {
            connections,
            commands: info(redis, commands).await as u64,
            received: info(redis, received).await as u64,
            sent: info(redis, sent).await as u64,
        }
    }
}

// === calls ===

/// Measures the cost of calls: CPU in multiples of a Get from L1, and bytes between the replica and
/// Redis.
async fn calls() {
    println!("\n| call, values of 1 KiB | CPU of the replica | CPU of Redis | to Redis | from Redis |");
    println!("|---|---|---|---|---|");
    let redis = Redis::start().await;
    let replica = replica(&redis, &[]).await;
    fill(&replica, "plain", 0..1000, 1 << 10, 0).await;
    fill(&replica, "without_l1", 0..1000, 1 << 10, 0).await;
    let key = |number: usize| format!("a key of thirty bytes {:08}", number % 1000);
    let get = |namespace: &str, number| pb::GetRequest {
        namespace: namespace.to_owned(),
        key: key(number),
        ..Default::default()
    };
    let idle = idle_shares(&replica, &redis).await;
    let unit = Cost::of(&replica, &redis, &idle, "Get from memory", CALLS, 1, async |mut client, number| {
        client.get(get("plain", number)).await.unwrap();
    })
    .await;
    let mut costs = vec![Cost { name: unit.name, ..unit }];
    costs.push(
        Cost::of(
            &replica,
            &redis,
            &idle,
            "one of 100 keys of a BatchGet from memory",
            CALLS / 50,
            100,
            async |mut client, _| {
                let keys = (0..100).map(key).collect();
                let request = pb::BatchGetRequest { namespace: "plain".to_owned(), keys, ..Default::default() };
                let mut answers = client.batch_get(request).await.unwrap().into_inner();
                while answers.message().await.unwrap().is_some() {}
            },
        )
        .await,
    );
    costs.push(
        Cost::of(&replica, &redis, &idle, "Get from Redis", CALLS, 1, async |mut client, number| {
            client.get(get("without_l1", number)).await.unwrap();
        })
        .await,
    );
    costs.push(
        Cost::of(&replica, &redis, &idle, "Set", CALLS, 1, async |mut client, number| {
            let content = Some(pb::set_request::Content::Value(value(number, 1 << 10)));
            let namespace = "plain".to_owned();
            client.set(pb::SetRequest { namespace, key: key(number), content, ..Default::default() }).await.unwrap();
        })
        .await,
    );
    costs.push(
        Cost::of(&replica, &redis, &idle, "Invalidate of a key", CALLS, 1, async |mut client, number| {
            let selector = Some(pb::invalidate_request::Selector::Key(key(number)));
            let namespace = "plain".to_owned();
            client.invalidate(pb::InvalidateRequest { namespace, selector, ..Default::default() }).await.unwrap();
        })
        .await,
    );
    for cost in &costs {
        println!(
            "| {} | {:.2} | {:.2} | {:.0} B | {:.0} B |",
            cost.name,
            cost.replica / unit.replica,
            cost.redis / unit.replica,
            cost.received,
            cost.sent
        );
    }
    println!("\n1 is {:.0} µs of a core here.", unit.replica * 1e6);
}

/// Cost of one call: seconds of CPU, and bytes of network traffic of Redis.
struct Cost {
    name: &'static str,
    replica: f64,
    redis: f64,
    received: f64,
    sent: f64,
}

/// Background load per second.
struct Idle {
    replica: f64,
    redis: f64,
    received: f64,
    sent: f64,
}

impl Cost {
    async fn of<Call>(
        replica: &Replica,
        redis: &Redis,
        idle: &Idle,
        name: &'static str,
        calls: usize,
        each: usize,
        call: Call,
    ) -> Cost
    where
        Call: AsyncFn(CacheServiceClient<Channel>, usize),
    {
        let channels = connections(replica, CALLERS).await;
        let (used, traffic, begun) =
            (cpu_of_replica_and_redis(replica, redis).await, Traffic::of(redis).await, Instant::now());
        let callers = channels.iter().enumerate().map(|(caller, channel)| {
            let call = &call;
            async move {
                for number in (caller..calls).step_by(CALLERS) {
                    call(client(channel), number).await;
                }
            }
        });
        futures_util::future::join_all(callers).await;
        let seconds = begun.elapsed().as_secs_f64();
        let (now, after, items) =
            (cpu_of_replica_and_redis(replica, redis).await, Traffic::of(redis).await, (calls * each) as f64);
        let share = |used: f64, idle: f64| ((used - idle * seconds) / items).max(0.0);
        Cost {
            name,
            replica: share(now.0 - used.0, idle.replica),
            redis: share(now.1 - used.1, idle.redis),
            received: share((after.received - traffic.received) as f64, idle.received),
            sent: share((after.sent - traffic.sent) as f64, idle.sent),
        }
    }
}

async fn idle_shares(replica: &Replica, redis: &Redis) -> Idle {
    let (used, traffic, begun) =
        (cpu_of_replica_and_redis(replica, redis).await, Traffic::of(redis).await, Instant::now());
    tokio::time::sleep(WATCHED).await;
    let seconds = begun.elapsed().as_secs_f64();
    let (now, after) = (cpu_of_replica_and_redis(replica, redis).await, Traffic::of(redis).await);
    Idle {
        replica: (now.0 - used.0) / seconds,
        redis: (now.1 - used.1) / seconds,
        received: (after.received - traffic.received) as f64 / seconds,
        sent: (after.sent - traffic.sent) as f64 / seconds,
    }
}

// === helpers ===

/// Starts a replica as a child process, and waits until its memory is proven.
async fn replica(redis: &Redis, settings: &[(&str, &str)]) -> Replica {
    // Other processes may load the machine.
    let patient: &[_] = &[("redis.write_timeout", "10s")];
    let replica = Replica::process(&redis.url(), &[SETTINGS, patient, settings].concat(), &[]).await;
    replica.wait_until_proven().await;
    replica
}

fn client(channel: &Channel) -> CacheServiceClient<Channel> {
    CacheServiceClient::new(channel.clone()).max_encoding_message_size(usize::MAX)
}

/// Resident memory of a replica's process.
fn resident(replica: &Replica) -> u64 {
    status(replica, "VmRSS")
}

/// Peak of the resident memory.
fn peak(replica: &Replica) -> u64 {
    status(replica, "VmHWM")
}

fn status(replica: &Replica, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", replica.process_id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).expect("in kB") * 1024
}

/// Seconds of CPU that the replica and Redis have used.
async fn cpu_of_replica_and_redis(replica: &Replica, redis: &Redis) -> (f64, f64) {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", replica.process_id())).unwrap();
    // Fields after the name, which ends at the last parenthesis: utime and stime are fields 14 and
    // 15 of the line, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    (ticks / 100.0, info(redis, "used_cpu_user").await + info(redis, "used_cpu_sys").await)
}

/// Bytes that Redis uses.
async fn used(redis: &Redis) -> u64 {
    info(redis, "used_memory").await as u64
}

async fn info(redis: &Redis, name: &str) -> f64 {
    let info = redis.cli(&["INFO", "all"]).await.text();
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| value.trim().parse().ok()).expect("INFO has it")
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

fn kib(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}
