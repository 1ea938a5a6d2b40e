//! Cost of audits for an idle Redis, by topology, partitions and replicas (`make audit-cost`).
#![allow(clippy::unwrap_used, dead_code, unused_imports, unused_macros)]

#[path = "../tests/api/harness/mod.rs"]
mod harness;

use std::time::{Duration, Instant};

use harness::{Cluster, Redis, Replica};

const WATCHED: Duration = Duration::from_secs(8);
const SECONDS_PER_BOUND: f64 = 2.0;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("run by `cargo bench`");
        return;
    }
    println!(
        "| topology | partitions | replicas | audits/s | Redis CPU, share of a core | per replica | per audit of a replica |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (partitions, replicas) in [(16, 1), (64, 1), (64, 4), (64, 8), (256, 1), (1024, 1)] {
        let redis = Redis::start().await;
        measure("one server", &redis.url(), std::slice::from_ref(&redis), partitions, replicas).await;
    }
    for (partitions, replicas) in [(16, 1), (64, 1), (64, 4), (256, 1)] {
        let cluster = Cluster::start(&[]).await;
        measure("3 shards", &cluster.url(), &cluster.nodes[..3], partitions, replicas).await;
    }
}

async fn measure(topology: &str, url: &str, nodes: &[Redis], partitions: u16, replicas: usize) {
    let idle = cpu(nodes, WATCHED / 2).await;
    let partitions = partitions.to_string();
    let settings = [("coherence.partitions", partitions.as_str()), ("coherence.max_staleness", "2s")];
    let mut running = Vec::new();
    for _ in 0..replicas {
        running.push(Replica::connected_to(url, &settings).await);
    }
    for replica in &running {
        replica.wait_until_proven().await;
    }
    let share = (cpu(nodes, WATCHED).await - idle).max(0.0);
    let audits = replicas as f64 * 8.0 / SECONDS_PER_BOUND;
    println!(
        "| {topology} | {partitions} | {replicas} | {audits:.0} | {:.2} % | {:.2} % | {:.0} µs |",
        share * 100.0,
        share * 100.0 / replicas as f64,
        share / audits * 1e6
    );
}

/// Share of a core that the servers use.
async fn cpu(nodes: &[Redis], time: Duration) -> f64 {
    let (before, begun) = (seconds(nodes).await, Instant::now());
    tokio::time::sleep(time).await;
    (seconds(nodes).await - before) / begun.elapsed().as_secs_f64()
}

/// Seconds of CPU that the servers have used.
async fn seconds(nodes: &[Redis]) -> f64 {
    let mut sum = 0.0;
    for node in nodes {
        let info = node.cli(&["INFO", "cpu"]).await.text();
        let used = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.trim().parse::<f64>().ok()).expect("INFO has it")
        };
        sum += used("used_cpu_user") + used("used_cpu_sys");
    }
    sum
}
