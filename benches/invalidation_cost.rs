//! Cost of an invalidation by tag, prefix and namespace, with few and with many entries.
//!
//! Both must cost the same. `make invalidation-cost` prints the table; ENTRIES=10000 for a quick
//! look.
#![allow(clippy::unwrap_used, dead_code, unused_imports, unused_macros)]

#[path = "../tests/api/harness/mod.rs"]
mod harness;

use std::time::{Duration, Instant};

use harness::{Redis, Replica, set_request};
use tokio::task::JoinSet;
use twintier::pb;
use twintier::pb::invalidate_request::Selector;

const FEW_ENTRIES: usize = 1_000;
const MANY_ENTRIES: usize = 1_000_000;
/// Number of invalidations of each kind.
const INVALIDATIONS: usize = 100;
/// Number of concurrent callers that fill Redis.
const CALLERS: usize = 64;

/// A Redis with entries of one namespace that all have the tag and the prefix.
struct Deployment {
    entries: usize,
    redis: Redis,
    replica: Replica,
}

/// Cost of one invalidation.
struct Cost {
    median: Duration,
    slowest: Duration,
    cpu: Duration,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("run by `cargo bench`");
        return;
    }
    let many = std::env::var("ENTRIES").map_or(MANY_ENTRIES, |text| text.parse().expect("a number"));
    let deployments = [Deployment::start(FEW_ENTRIES).await, Deployment::start(many).await];
    println!("| selector | entries behind it | caller's median | slowest of {INVALIDATIONS} | Redis CPU for one |");
    println!("|---|---|---|---|---|");
    let mut ratios = Vec::new();
    for (name, selector) in [
        ("tag", Selector::Tags(pb::Tags { tags: vec!["all".to_owned()] })),
        ("prefix", Selector::Prefix("all".to_owned())),
        ("namespace", Selector::WholeNamespace(pb::WholeNamespace {})),
    ] {
        let [few, many] = measure(&deployments, selector).await;
        for (deployment, cost) in deployments.iter().zip([&few, &many]) {
            println!(
                "| {name} | {} | {:.2} ms | {:.2} ms | {:.0} µs |",
                deployment.entries,
                cost.median.as_secs_f64() * 1e3,
                cost.slowest.as_secs_f64() * 1e3,
                cost.cpu.as_secs_f64() * 1e6
            );
        }
        let ratio = |many: Duration, few: Duration| many.as_secs_f64() / few.as_secs_f64().max(1e-9);
        ratios.push((name, ratio(many.median, few.median), ratio(many.cpu, few.cpu)));
    }
    println!("\n| selector | ratio of medians | ratio of Redis CPU |");
    println!("|---|---|---|");
    ratios.iter().for_each(|(name, medians, cpu)| println!("| {name} | {medians:.2} | {cpu:.2} |"));
}

impl Deployment {
    async fn start(entries: usize) -> Deployment {
        let redis = Redis::start().await;
        let replica = Replica::on(&redis, &[]).await;
        fill(&replica, entries).await;
        Deployment { entries, redis, replica }
    }
}

/// Measures both deployments in turns, so that other load on the machine affects both.
async fn measure(deployments: &[Deployment; 2], selector: Selector) -> [Cost; 2] {
    let mut idle = [0.0; 2];
    for (deployment, idle) in deployments.iter().zip(&mut idle) {
        *idle = idle_share(&deployment.redis).await;
    }
    let before = [cpu(&deployments[0].redis).await, cpu(&deployments[1].redis).await];
    let (begun, mut took) = (Instant::now(), [Vec::new(), Vec::new()]);
    for _ in 0..INVALIDATIONS {
        for (deployment, took) in deployments.iter().zip(&mut took) {
            let request = pb::InvalidateRequest { selector: Some(selector.clone()), ..Default::default() };
            let requested_at = Instant::now();
            deployment.replica.remove(request).await.unwrap();
            took.push(requested_at.elapsed());
        }
    }
    let elapsed = begun.elapsed().as_secs_f64();
    let after = [cpu(&deployments[0].redis).await, cpu(&deployments[1].redis).await];
    [0, 1].map(|index| {
        let used = after[index] - before[index] - idle[index] * elapsed;
        took[index].sort();
        let (median, slowest) = (took[index][INVALIDATIONS / 2], took[index][INVALIDATIONS - 1]);
        Cost { median, slowest, cpu: Duration::from_secs_f64(used.max(0.0) / INVALIDATIONS as f64) }
    })
}

async fn fill(replica: &Replica, entries: usize) {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let mut client = replica.client.clone();
        callers.spawn(async move {
            for number in (caller..entries).step_by(CALLERS) {
                let tags = vec!["all".to_owned()];
                let request = pb::SetRequest { tags, ..set_request(&format!("all:{number}"), "v") };
                // A Set may time out on a loaded machine.
                while client.set(request.clone()).await.is_err() {}
            }
        });
    }
    callers.join_all().await;
}

/// Share of a core that an idle Redis uses: for audits, and for resizing its tables after they
/// grew.
async fn idle_share(redis: &Redis) -> f64 {
    let (before, begun) = (cpu(redis).await, Instant::now());
    tokio::time::sleep(Duration::from_secs(2)).await;
    (cpu(redis).await - before) / begun.elapsed().as_secs_f64()
}

/// Seconds of CPU that Redis has used.
async fn cpu(redis: &Redis) -> f64 {
    let info = redis.cli(&["INFO", "cpu"]).await.text();
    let used = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse::<f64>().ok()).expect("INFO has it")
    };
    used("used_cpu_user") + used("used_cpu_sys")
}
