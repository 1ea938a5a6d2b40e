//! Test harness: a Redis per test, replicas in this process, and a proxy with faults between them.

mod answers;
mod authority;
mod cluster;
mod collector;
pub mod frames;
mod impostor;
mod process;
mod proxy;
mod redis;
mod replica;
mod resp;
mod scrape;
mod sentinels;
mod tls;
mod watcher;
mod wire;

use std::future::Future;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout};

pub use answers::{Answer, Refusal, Seen, invalidate_key, set_request, whole_namespace};
pub use authority::{Authority, Subject};
pub use cluster::Cluster;
pub use collector::Collector;
pub use impostor::Impostor;
pub use proxy::{Class, Direction, Proxy};
pub use redis::{Redis, free_port};
pub use replica::{Fleet, Replica};
pub use resp::{Reply, command, command_as};
pub use scrape::Scrape;
pub use sentinels::Sentinels;
pub use tls::{TlsClient, TlsPair, TlsReplica};
pub use watcher::{WatchEvent, Watcher, with_short_heartbeats};
pub use wire::{Unfinished, Wire, connect_from, framed, one_message};

/// Longest wait for an expected state.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// Allowance for a loaded machine, added to a limit that the service promises. It is wide: tests
/// only distinguish an end from a hang. Drills and benches measure speed.
const SLOW_MACHINE_ALLOWANCE: Duration = Duration::from_secs(10);

/// Staleness bound of tests about staleness.
pub const MAX_STALENESS: Duration = Duration::from_millis(500);

/// Allowance for scheduling on a loaded machine, added to a bound. It belongs to the test, not to
/// the promise.
pub const SCHEDULING_ALLOWANCE: Duration = Duration::from_millis(400);

/// Settings with the short staleness bound [`MAX_STALENESS`].
pub const SHORT_BOUND: &[(&str, &str)] = &[("coherence.max_staleness", "500ms")];

/// Limit of concurrent deployments with six or more processes in one test process.
static DEPLOYMENT_SLOTS: Semaphore = Semaphore::const_new(2);

/// Waits for a slot for another deployment. The slot is free again when the permit is dropped.
async fn deployment_slot() -> SemaphorePermit<'static> {
    DEPLOYMENT_SLOTS.acquire().await.expect("never closed")
}

/// Polls until `check` returns true. Panics after [`WAIT_TIMEOUT`].
#[track_caller]
pub fn eventually(what: &str, check: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    eventually_within(WAIT_TIMEOUT, what, check)
}

/// Polls until `check` returns true. Panics after `limit`.
#[track_caller]
pub fn eventually_within(
    limit: Duration,
    what: &str,
    mut check: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let polling = async {
            while !check().await {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(limit, polling).await.is_err() {
            panic!("{caller}: not within {limit:?}: {what}");
        }
    }
}

/// Runs `check` repeatedly until `moment`.
pub async fn always_until(moment: Instant, mut check: impl AsyncFnMut()) {
    while Instant::now() < moment {
        check().await;
        sleep(Duration::from_millis(5)).await;
    }
}

/// Returns the result of `work`, which the service promises within `promised`.
///
/// Only this function asserts a duration. If a slower way leads to the same result, a test tells
/// the ways apart by their effects, or makes the slower way longer than any machine takes.
#[track_caller]
pub fn within<T>(promised: Duration, work: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        match timeout(promised + SLOW_MACHINE_ALLOWANCE, work).await {
            Ok(result) => result,
            Err(_) => {
                panic!("{caller}: no result within {promised:?}, and {SLOW_MACHINE_ALLOWANCE:?} for a loaded machine")
            }
        }
    }
}

/// With or without Redis, for scenarios that hold in both modes.
pub struct Mode {
    redis: Option<Redis>,
}

impl Mode {
    pub fn standalone() -> Mode {
        Mode { redis: None }
    }

    pub async fn with_redis() -> Mode {
        Mode { redis: Some(Redis::start().await) }
    }

    pub fn is_standalone(&self) -> bool {
        self.redis.is_none()
    }

    /// Starts a replica, and waits until it is ready.
    pub async fn replica(&self, settings: &[(&str, &str)]) -> Replica {
        match &self.redis {
            Some(redis) => Replica::on(redis, settings).await,
            None => Replica::start(settings).await,
        }
    }
}

/// Generates two tests for each scenario, which is an `async fn(Mode)`.
macro_rules! in_both_modes {
    ($($scenario:ident),+ $(,)?) => {
        mod alone {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                super::$scenario(crate::harness::Mode::standalone()).await;
            })+
        }
        mod with_redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                super::$scenario(crate::harness::Mode::with_redis().await).await;
            })+
        }
    };
}
pub(crate) use in_both_modes;
