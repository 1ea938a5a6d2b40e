//! A drill: replicas on one Redis under load, a fault, and the checker's verdict.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::balanced::Name;
use super::checker::{self, Verdict};
use super::harness::{Proxy, Redis, Replica, eventually, within};
use super::load::{Load, Report, Running};
use super::report::{Footprint, Row, count, tally};
use twintier::cache::coherence::safeguards::Safeguards;

/// Three replicas on a deployment of Redis.
pub struct World<R = Redis> {
    pub redis: R,
    /// Proxy between each replica and Redis, if there is one.
    pub proxies: Vec<Proxy>,
    pub replicas: Vec<Replica>,
    pub bound: Duration,
    /// Name that its clients are balanced over. `None` if they call every replica directly.
    pub name: Option<Name>,
    /// Longest time in which a replica stops after the drill.
    pub stop_timeout: Duration,
    faults: usize,
    began: Instant,
    recovery: Duration,
}

/// The service's own defaults, in place of the harness's long timeouts.
pub const SETTINGS: &[(&str, &str)] = &[
    ("coherence.max_staleness", "1s"),
    ("redis.read_timeout", "200ms"),
    ("redis.write_timeout", "1s"),
    ("redis.unresponsive_after", "350ms"),
    ("redis.connect_timeout", "1s"),
];

/// Fewest operations of a drill. The load continues until there are more, on a machine of any
/// speed.
const MIN_OPERATIONS: u64 = 500;

/// Time for which a drill injects faults: seconds in `make test`, minutes in `make drills`.
pub fn length() -> Duration {
    Duration::from_secs_f64(requested_seconds().unwrap_or(3.0))
}

/// True if drills run alone and at the requested length.
pub fn at_length() -> bool {
    requested_seconds().is_some()
}

fn requested_seconds() -> Option<f64> {
    std::env::var("DRILL_SECONDS").ok().map(|text| text.parse().expect("DRILL_SECONDS is a number"))
}

pub const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A key that the primary wrote before it died and that no replica received. It is in the slot of
/// partition 0, like all data that these drills lose.
pub const MARK: &str = "{0}:mark";

/// Kills a primary with writes that it acknowledged during `meanwhile` and did not replicate. The
/// `replicas` are frozen, and their connections closed, so that no data waits in them.
pub async fn kill_with_unreplicated_writes(
    nodes: &mut [Redis],
    primary: usize,
    replicas: &[usize],
    meanwhile: impl Future<Output = ()>,
) {
    replicas.iter().for_each(|replica| nodes[*replica].freeze());
    nodes[primary].cli(&["CLIENT", "KILL", "TYPE", "REPLICA"]).await;
    nodes[primary].cli(&["SET", MARK, "written"]).await;
    meanwhile.await;
    nodes[primary].kill9();
    replicas.iter().for_each(|replica| nodes[*replica].thaw());
}

/// Defines the test of a drill: its name, load, world and faults.
macro_rules! drill {
    ($name:ident, $load:expr, $world:expr, |$it:ident| $fault:block) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let world = $world.await;
            world.drill(stringify!($name), $load, async |$it: &mut $crate::drill::World<_>| $fault).await;
        }
    };
}
pub(crate) use drill;

impl World {
    pub async fn new(settings: &[(&str, &str)]) -> World {
        World::on(Redis::start().await, settings).await
    }

    pub async fn on(redis: Redis, settings: &[(&str, &str)]) -> World {
        World::with(redis, settings, Safeguards::default()).await
    }

    /// Starts a world with these safeguards, and waits for Redis.
    pub async fn with(redis: Redis, settings: &[(&str, &str)], safeguards: Safeguards) -> World {
        let world = World::waiting(redis, settings, safeguards).await;
        world.wait_until_proven().await;
        world
    }

    /// Starts a world with these safeguards. Does not wait for Redis.
    pub async fn waiting(redis: Redis, settings: &[(&str, &str)], safeguards: Safeguards) -> World {
        let (mut proxies, mut replicas) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let proxy = Proxy::to(redis.port()).await;
            replicas.push(Replica::connected_to_with(&proxy.url(), &[SETTINGS, settings].concat(), safeguards).await);
            proxies.push(proxy);
        }
        World::of(redis, proxies, replicas)
    }
}

impl<R> World<R> {
    /// Wraps replicas that exist already.
    pub fn of(redis: R, proxies: Vec<Proxy>, replicas: Vec<Replica>) -> World<R> {
        let (bound, recovery) = (Duration::from_secs(1), Duration::ZERO);
        let stop_timeout = Duration::from_secs(2);
        World { redis, proxies, replicas, bound, name: None, stop_timeout, faults: 0, began: Instant::now(), recovery }
    }

    /// Starts three replicas that reach Redis by `url`, without proxies.
    pub async fn connected_to(redis: R, url: &str, settings: &[(&str, &str)]) -> World<R> {
        World::connected_to_with(redis, url, settings, Safeguards::default()).await
    }

    /// Starts three replicas that reach Redis by `url`, with these safeguards.
    pub async fn connected_to_with(redis: R, url: &str, settings: &[(&str, &str)], safeguards: Safeguards) -> World<R> {
        let mut replicas = Vec::new();
        for _ in 0..3 {
            replicas.push(Replica::connected_to_with(url, &[SETTINGS, settings].concat(), safeguards).await);
        }
        let world = World::of(redis, Vec::new(), replicas);
        world.wait_until_proven().await;
        world
    }

    /// Starts three replicas as child processes with these environment variables.
    pub async fn of_processes(redis: R, url: &str, environment: &[(String, String)]) -> World<R> {
        let mut replicas = Vec::new();
        for _ in 0..3 {
            replicas.push(Replica::process(url, SETTINGS, environment).await);
        }
        let world = World::of(redis, Vec::new(), replicas);
        world.wait_until_proven().await;
        world
    }

    /// Waits until every replica is healthy and proven.
    pub async fn wait_until_proven(&self) {
        for replica in &self.replicas {
            replica.wait_until_proven().await;
        }
    }

    /// Waits until every replica is healthy and proven after a fault, and records the duration.
    pub async fn wait_for_recovery(&mut self) {
        let healed = Instant::now();
        self.wait_until_proven().await;
        self.recovery = self.recovery.max(healed.elapsed());
    }

    /// Runs `fault` under `load`, and asserts that the history keeps the promises.
    pub async fn drill(mut self, name: &str, load: Load, fault: impl AsyncFnOnce(&mut World<R>)) {
        let (report, verdict) = self.judge(name, load, fault).await;
        count(self.faults, &verdict);
        let some = &verdict.violations[..verdict.violations.len().min(20)];
        assert!(some.is_empty(), "{name}: {} violations: {some:#?}", verdict.violations.len());
        assert!(report.failed_gets.is_empty(), "{name}: Gets failed: {}", tally(report.failed_gets.iter()));
        assert!(report.failed_calls.is_empty(), "{name}: calls failed: {}", tally(report.failed_calls.iter()));
        for replica in self.replicas {
            // No call may still wait on a closed connection.
            within(self.stop_timeout, replica.stop()).await;
        }
    }

    /// Runs `fault` under `load`, waits for recovery, and checks the history.
    pub async fn judge(&mut self, name: &str, load: Load, fault: impl AsyncFnOnce(&mut World<R>)) -> (Report, Verdict) {
        let channels: Vec<_> = self.replicas.iter().map(|replica| replica.channel.clone()).collect();
        let before = Footprint::now();
        self.began = Instant::now();
        let running = match &self.name {
            Some(name) => Running::balanced(load, name),
            None => Running::begin(load, &channels),
        };
        sleep(Duration::from_millis(300)).await;
        fault(self).await;
        self.wait_for_recovery().await;
        // The load continues beyond the bound, to show late effects of the fault.
        sleep(self.bound + Duration::from_millis(300)).await;
        eventually("there are enough operations", async || running.operations() > MIN_OPERATIONS).await;
        let report = running.end().await;
        let after = Footprint::now().without(&report);
        let verdict = checker::check(&report.history, self.bound);
        let (bound, faults, recovery) = (self.bound, self.faults, self.recovery);
        Row { name, bound, faults, report: &report, verdict: &verdict, recovery, before, after }.print();
        (report, verdict)
    }

    /// True if there is time for another fault. Counts it.
    pub fn has_time(&mut self) -> bool {
        let has_time = self.began.elapsed() < length();
        self.faults += usize::from(has_time);
        has_time
    }

    /// Counts a fault that lasts for this time.
    pub async fn hold_fault(&mut self, time: Duration) {
        self.faults += 1;
        sleep(time).await;
    }

    /// Continues the load without a fault for a while.
    pub async fn hold_load(&self) {
        sleep(length()).await;
    }
}
