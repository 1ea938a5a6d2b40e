//! What the tests stand on: a Redis of their own, replicas in this process, a proxy that hurts the way between them.

mod answers;
mod authority;
mod cluster;
mod collector;
mod impostor;
mod process;
mod proxy;
mod redis;
mod replica;
mod resp;
mod scrape;
mod sentinels;
mod watcher;
mod wire;

use std::future::Future;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout};

pub use answers::{Answer, Refusal, Seen, invalidate_key, set_request, whole_namespace};
pub use authority::Authority;
pub use cluster::Cluster;
pub use collector::Collector;
pub use impostor::Impostor;
pub use proxy::{Class, Direction, Proxy};
pub use redis::{Redis, free_port};
pub use replica::{Fleet, Replica};
pub use resp::{Reply, command, command_as};
pub use scrape::Scrape;
pub use sentinels::Sentinels;
pub use watcher::{Sight, Watcher, quick};
pub use wire::{Unfinished, Wire, connect_from, framed, one_message};

/// Longest time that anything observable may take to come about.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// What a loaded machine may take on top of a limit that the service promises. These tests tell an end from a hang; how fast something
/// is, is measured by drills and benches.
const SLOW_MACHINE_ALLOWANCE: Duration = Duration::from_secs(10);

/// The staleness bound of tests about it.
pub const MAX_STALENESS: Duration = Duration::from_millis(500);

/// Allowed on top of a bound for the scheduling of a loaded machine: of the test, not of the promise.
pub const SCHEDULING_ALLOWANCE: Duration = Duration::from_millis(400);

/// Settings of tests about the staleness bound.
pub const SHORT_BOUND: &[(&str, &str)] = &[("coherence.max_staleness", "500ms")];

/// Deployments of six processes and more that one test process runs at once.
static DEPLOYMENT_SLOTS: Semaphore = Semaphore::const_new(2);

/// Waits for room for another deployment, which ends when this goes.
async fn room() -> SemaphorePermit<'static> {
    DEPLOYMENT_SLOTS.acquire().await.expect("never closed")
}

/// Looks until `check` holds; fails when it does not in good time.
#[track_caller]
pub fn eventually(what: &str, check: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    eventually_within(WAIT_TIMEOUT, what, check)
}

/// The same with a patience of its own.
#[track_caller]
pub fn eventually_within(
    patience: Duration,
    what: &str,
    mut check: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let looking = async {
            while !check().await {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(patience, looking).await.is_err() {
            panic!("{caller}: not within {patience:?}: {what}");
        }
    }
}

/// Checks over and over until `moment` that `check` holds.
pub async fn always_until(moment: Instant, mut check: impl AsyncFnMut()) {
    while Instant::now() < moment {
        check().await;
        sleep(Duration::from_millis(5)).await;
    }
}

/// The result of `work`, which the service promises within `promised`. No other assertion is about how long something takes: where a slower
/// way to the same result exists, a test shows which one was taken by what it leaves behind, or makes that way take longer than any
/// machine does.
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

/// With or without Redis: for scenarios that hold in both.
pub struct Mode {
    redis: Option<Redis>,
}

impl Mode {
    pub fn alone() -> Mode {
        Mode { redis: None }
    }

    pub async fn with_redis() -> Mode {
        Mode { redis: Some(Redis::start().await) }
    }

    pub fn is_alone(&self) -> bool {
        self.redis.is_none()
    }

    /// A replica that is ready.
    pub async fn replica(&self, settings: &[(&str, &str)]) -> Replica {
        match &self.redis {
            Some(redis) => Replica::on(redis, settings).await,
            None => Replica::start(settings).await,
        }
    }
}

/// Makes two tests of each scenario, which is an `async fn(Mode)`.
macro_rules! in_both_modes {
    ($($scenario:ident),+ $(,)?) => {
        mod alone {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                super::$scenario(crate::harness::Mode::alone()).await;
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
