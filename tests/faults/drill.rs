//! A drill: replicas on one Redis under load, a fault, and the checker's verdict.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::Code;

use super::checker::{self, Verdict};
use super::harness::{Class, Direction, Proxy, Redis, Replica, eventually, within};
use super::load::{Load, Report, Running};
use twintier::cache::coherence::protection::Protections;
use twintier::pb;

/// Three replicas on one Redis, each through a proxy of its own.
pub struct World {
    pub redis: Redis,
    pub proxies: Vec<Proxy>,
    pub replicas: Vec<Replica>,
    pub bound: Duration,
    began: Instant,
}

/// How long a drill's faults last: seconds in `make test`, minutes in `make drills`.
pub fn length() -> Duration {
    let seconds = std::env::var("TWINTIER_DRILL_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(3.0))
}

impl World {
    pub async fn new(settings: &[(&str, &str)]) -> World {
        World::on(Redis::start().await, settings).await
    }

    pub async fn on(redis: Redis, settings: &[(&str, &str)]) -> World {
        World::with(redis, settings, Protections::default()).await
    }

    /// The same with the given protections.
    pub async fn with(redis: Redis, settings: &[(&str, &str)], protections: Protections) -> World {
        // The service's own defaults, where the harness is more patient.
        let mut all = vec![
            ("coherence.max_staleness", "1s"),
            ("redis.read_timeout", "200ms"),
            ("redis.write_timeout", "1s"),
            ("redis.unresponsive_after", "350ms"),
            ("redis.connect_timeout", "1s"),
        ];
        all.extend_from_slice(settings);
        let (mut proxies, mut replicas) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let proxy = Proxy::to(redis.port()).await;
            replicas.push(Replica::at_with(&proxy.url(), &all, protections).await);
            proxies.push(proxy);
        }
        let world = World { redis, proxies, replicas, bound: Duration::from_secs(1), began: Instant::now() };
        world.whole().await;
        world
    }

    async fn whole(&self) {
        for replica in &self.replicas {
            replica.whole().await;
        }
    }

    /// Runs `fault` under `load`, and holds the history against the promise.
    pub async fn drill(mut self, name: &str, load: Load, fault: impl AsyncFnOnce(&mut World)) {
        let (report, verdict) = self.judge(name, load, fault).await;
        assert!(
            verdict.violations.is_empty(),
            "{name}: {:#?}",
            &verdict.violations[..verdict.violations.len().min(20)]
        );
        assert!(report.failed_gets.is_empty(), "{name}: Gets failed: {:?}", tally(&report.failed_gets));
        for replica in self.replicas {
            // Nothing is left waiting for a connection that is gone.
            within(Duration::from_secs(2), replica.stop()).await;
        }
        assert!(verdict.operations > 500, "{name}: too little load to say anything: {}", verdict.operations);
    }

    /// Runs `fault` under `load`, lets everything recover, and asks the checker.
    pub async fn judge(&mut self, name: &str, load: Load, fault: impl AsyncFnOnce(&mut World)) -> (Report, Verdict) {
        let channels: Vec<_> = self.replicas.iter().map(|replica| replica.channel.clone()).collect();
        self.began = Instant::now();
        let running = Running::begin(load, &channels);
        sleep(Duration::from_millis(300)).await;
        fault(self).await;
        let healed = Instant::now();
        self.whole().await;
        let recovery = healed.elapsed();
        // The load goes on past the bound, so that what a fault left behind shows.
        sleep(self.bound + Duration::from_millis(300)).await;
        let report = running.end().await;
        let verdict = checker::check(&report.history, self.bound);
        print_row(name, &report, &verdict, recovery);
        (report, verdict)
    }

    /// Time left of the drill.
    pub fn goes_on(&self) -> bool {
        self.began.elapsed() < length()
    }
}

fn tally(codes: &[Code]) -> Vec<(Code, usize)> {
    let mut tally: Vec<(Code, usize)> = Vec::new();
    for code in codes {
        match tally.iter_mut().find(|(known, _)| known == code) {
            Some((_, count)) => *count += 1,
            None => tally.push((*code, 1)),
        }
    }
    tally
}

fn print_row(name: &str, report: &Report, verdict: &Verdict, recovery: Duration) {
    let worst = verdict.staleness.last().copied().unwrap_or_default();
    let p999 =
        verdict.staleness.get(verdict.staleness.len().saturating_sub(1) * 999 / 1000).copied().unwrap_or_default();
    println!(
        "{name:60} {:>8} ops {:>8} fresh {:>3} violations  stale worst {worst:>8.1?} p99.9 {p999:>8.1?}  recovery {recovery:>8.1?}  slowest get {:>8.1?}  write errors {:?}",
        verdict.operations,
        verdict.fresh,
        verdict.violations.len(),
        report.slowest_get,
        tally(&report.failed_writes),
    );
}
