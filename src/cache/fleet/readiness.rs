//! Readiness of a replica: what it loads before it is ready, and what makes it unready.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::health::{Health, NotReady};
use super::policy_sync::PolicySync;
use super::warm_start::WarmStart;
use crate::cache::tier::{L2State, TierStatus};
use crate::cache::tiered::Tiered;

/// Pause between two checks of the inputs of health.
const HEALTH_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Inputs of the health of a replica.
pub struct HealthInputs {
    /// The shared tier.
    pub l2: Arc<dyn TierStatus>,
    /// Time after which a replica is ready without Redis.
    pub grace: Duration,
    /// Cancelled when the drain begins.
    pub draining: CancellationToken,
    /// Cancelled when policies and the warm start are loaded.
    pub prepared: CancellationToken,
    /// The switch of `twintier drain`.
    pub drained: watch::Receiver<bool>,
}

/// Updates health until the drain: ready once Redis was healthy or `grace` is over; not ready while
/// ending, halted or drained.
pub async fn follow_health(health: &watch::Sender<Health>, mut inputs: HealthInputs) {
    let started_at = Instant::now();
    let mut settled = false;
    loop {
        let l2_state = inputs.l2.report().state;
        settled |= matches!(l2_state, L2State::Healthy | L2State::Disabled) || started_at.elapsed() >= inputs.grace;
        let ending = inputs.draining.is_cancelled();
        let waiting = !inputs.prepared.is_cancelled();
        let reasons = [
            (ending, NotReady::Ending),
            (inputs.l2.halted().is_some(), NotReady::Halted),
            (*inputs.drained.borrow_and_update(), NotReady::Drained),
            (waiting || !settled, NotReady::Starting),
        ];
        let not_ready = reasons.into_iter().find_map(|(holds, why)| holds.then_some(why));
        let now = Health { not_ready, l2: l2_state };
        health.send_if_modified(|state| std::mem::replace(state, now) != now);
        if ending {
            return;
        }
        tokio::select! {
            () = inputs.draining.cancelled() => {}
            Ok(()) = inputs.drained.changed() => {}
            () = inputs.prepared.cancelled(), if waiting => {}
            () = sleep(HEALTH_POLL_INTERVAL) => {}
        }
    }
}

/// Prepares readiness if Redis is reachable within `grace`: loads the policies changed at run time
/// and the warm start. Then keeps both running until cancelled.
pub async fn prepare(
    cache: Tiered,
    policies: Arc<PolicySync>,
    warm_start: Option<Arc<WarmStart>>,
    grace: Duration,
    prepared: CancellationToken,
) {
    if timeout(grace, cache.wait_until_proven()).await.is_ok() {
        policies.poll().await;
        if let Some(warm_start) = &warm_start {
            warm_start.load().await;
        }
    }
    prepared.cancel();
    let lists = async {
        if let Some(warm_start) = &warm_start {
            warm_start.publish_hot_keys_regularly().await;
        }
    };
    tokio::join!(policies.follow(), lists);
}
