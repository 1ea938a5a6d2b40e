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
    /// The way of each replica to Redis, where there is one way.
    pub proxies: Vec<Proxy>,
    pub replicas: Vec<Replica>,
    pub bound: Duration,
    /// What its clients are balanced over; none: they speak to every replica by itself.
    pub name: Option<Name>,
    /// Longest time in which a replica ends when all is over.
    pub ending: Duration,
    faults: usize,
    began: Instant,
    recovery: Duration,
}

/// The service's own defaults, where the harness is more patient.
pub const SETTINGS: &[(&str, &str)] = &[
    ("coherence.max_staleness", "1s"),
    ("redis.read_timeout", "200ms"),
    ("redis.write_timeout", "1s"),
    ("redis.unresponsive_after", "350ms"),
    ("redis.connect_timeout", "1s"),
];

/// So many operations say something, however slow the machine is: the load goes on until there are
/// more.
const ENOUGH: u64 = 500;

/// How long a drill's faults last: seconds in `make test`, minutes in `make drills`.
pub fn length() -> Duration {
    Duration::from_secs_f64(demanded().unwrap_or(3.0))
}

/// Whether drills have the machine for themselves and all the time that was asked for.
pub fn at_length() -> bool {
    demanded().is_some()
}

fn demanded() -> Option<f64> {
    std::env::var("DRILL_SECONDS").ok().map(|text| text.parse().expect("DRILL_SECONDS is a number"))
}

pub const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A key that the last life of a primary wrote and nobody else got. In the slot of partition 0, as
/// is all that these drills lose.
pub const MARK: &str = "{0}:mark";

/// Kills a primary with writes that it acknowledged `meanwhile` and nobody else has: `replicas` are
/// frozen, and their connections ended so that nothing waits there for them.
pub async fn dies_ahead(nodes: &mut [Redis], primary: usize, replicas: &[usize], meanwhile: impl Future<Output = ()>) {
    replicas.iter().for_each(|replica| nodes[*replica].freeze());
    nodes[primary].cli(&["CLIENT", "KILL", "TYPE", "REPLICA"]).await;
    nodes[primary].cli(&["SET", MARK, "written"]).await;
    meanwhile.await;
    nodes[primary].kill9();
    replicas.iter().for_each(|replica| nodes[*replica].thaw());
}

/// Makes a test of a drill: its name, its load, its world, and what goes wrong there.
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

    /// The same with the given protections.
    pub async fn with(redis: Redis, settings: &[(&str, &str)], protections: Safeguards) -> World {
        let world = World::waiting(redis, settings, protections).await;
        world.wait_until_proven().await;
        world
    }

    /// The same without waiting for Redis.
    pub async fn waiting(redis: Redis, settings: &[(&str, &str)], protections: Safeguards) -> World {
        let (mut proxies, mut replicas) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let proxy = Proxy::to(redis.port()).await;
            replicas.push(Replica::connected_to_with(&proxy.url(), &[SETTINGS, settings].concat(), protections).await);
            proxies.push(proxy);
        }
        World::of(redis, proxies, replicas)
    }
}

impl<R> World<R> {
    /// Replicas that were made elsewhere.
    pub fn of(redis: R, proxies: Vec<Proxy>, replicas: Vec<Replica>) -> World<R> {
        let (bound, recovery) = (Duration::from_secs(1), Duration::ZERO);
        let ending = Duration::from_secs(2);
        World { redis, proxies, replicas, bound, name: None, ending, faults: 0, began: Instant::now(), recovery }
    }

    /// Three replicas that reach Redis by `url` and not through proxies.
    pub async fn connected_to(redis: R, url: &str, settings: &[(&str, &str)]) -> World<R> {
        World::connected_to_with(redis, url, settings, Safeguards::default()).await
    }

    /// The same with the given protections.
    pub async fn connected_to_with(
        redis: R,
        url: &str,
        settings: &[(&str, &str)],
        protections: Safeguards,
    ) -> World<R> {
        let mut replicas = Vec::new();
        for _ in 0..3 {
            replicas.push(Replica::connected_to_with(url, &[SETTINGS, settings].concat(), protections).await);
        }
        let world = World::of(redis, Vec::new(), replicas);
        world.wait_until_proven().await;
        world
    }

    /// Three replicas that are processes of their own, with these variables in the environment of
    /// each.
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

    /// Waits for the same after a fault, and notes how long that took.
    pub async fn recovers(&mut self) {
        let healed = Instant::now();
        self.wait_until_proven().await;
        self.recovery = self.recovery.max(healed.elapsed());
    }

    /// Runs `fault` under `load`, and holds the history against the promise.
    pub async fn drill(mut self, name: &str, load: Load, fault: impl AsyncFnOnce(&mut World<R>)) {
        let (report, verdict) = self.judge(name, load, fault).await;
        count(self.faults, &verdict);
        let some = &verdict.violations[..verdict.violations.len().min(20)];
        assert!(some.is_empty(), "{name}: {} violations: {some:#?}", verdict.violations.len());
        assert!(report.failed_gets.is_empty(), "{name}: Gets failed: {}", tally(report.failed_gets.iter()));
        assert!(report.failed_calls.is_empty(), "{name}: calls failed: {}", tally(report.failed_calls.iter()));
        for replica in self.replicas {
            // Nothing is left waiting for a connection that is gone.
            within(self.ending, replica.stop()).await;
        }
    }

    /// Runs `fault` under `load`, lets everything recover, and asks the checker.
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
        self.recovers().await;
        // The load goes on past the bound, so that what a fault left behind shows.
        sleep(self.bound + Duration::from_millis(300)).await;
        eventually("there is enough load to say something", async || running.operations() > ENOUGH).await;
        let report = running.end().await;
        let after = Footprint::now().without(&report);
        let verdict = checker::check(&report.history, self.bound);
        let (bound, faults, recovery) = (self.bound, self.faults, self.recovery);
        Row { name, bound, faults, report: &report, verdict: &verdict, recovery, before, after }.print();
        (report, verdict)
    }

    /// Whether there is time for another fault, which is counted.
    pub fn goes_on(&mut self) -> bool {
        let goes_on = self.began.elapsed() < length();
        self.faults += usize::from(goes_on);
        goes_on
    }

    /// Lets one fault, which is counted, last for a while.
    pub async fn lasts(&mut self, time: Duration) {
        self.faults += 1;
        sleep(time).await;
    }

    /// Lets the load go on without a fault.
    pub async fn rests(&self) {
        sleep(length()).await;
    }
}
