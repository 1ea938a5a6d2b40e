//! Waits of a Get with a lease: in a round, and for room for its answer.

use tokio::time::timeout;

use super::cache::TieredInner;
use super::types::{Get, GetAnswer, GetOutcome};
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::lease::LeaseStatus;
use crate::cache::lease::waiters::{WaitResult, Waiter};

/// The wait of one Get in a lease round.
#[derive(Clone, Copy)]
pub(super) struct RoundWait {
    /// True if this Get began the round: so far it waits for the shared tier only.
    pub(super) started_round: bool,
    /// True if it waits for another caller.
    pub(super) wait: bool,
    /// True if it has an answer to fall back to while leases are paused.
    pub(super) has_fallback: bool,
    /// End of its wait.
    pub(super) deadline: Moment,
}

/// Result of waiting for room for an answer.
pub(super) enum Room {
    /// There was room without a wait.
    Now,
    /// There is room after a wait. Time has passed, so the answer has to be looked up again.
    Later,
    /// There was no room in time.
    Never,
}

// === impl TieredInner ===

impl TieredInner {
    /// Waits in a round for one Get.
    ///
    /// A Get that only requests the lease keeps its slot; one that waits for another caller gives
    /// it back. Also returns the error if the Get may not wait.
    pub(super) async fn wait_in_round(
        &self,
        get: &Get<'_>,
        round_wait: RoundWait,
        waiter: &Waiter,
    ) -> (Option<WaitResult>, Option<CacheError>) {
        let RoundWait { started_round, wait, .. } = round_wait;
        let waiting = wait.then(|| self.leases.counters.waiting.inc_guard());
        if started_round || !wait {
            let result = self.wait_for_offer(RoundWait { wait: false, ..round_wait }, waiter).await;
            if !(wait && matches!(result, Some(WaitResult::Status(_)))) {
                return (result, None);
            }
        }
        let refused = get.slot.and_then(|slot| slot.wait().err());
        let _waiting = waiting.filter(|_| refused.is_none());
        let round_wait = RoundWait { wait: refused.is_none(), ..round_wait };
        (self.wait_for_offer(round_wait, waiter).await, refused)
    }

    /// Waits for the result of a round for one Get, until its deadline. `None` if it timed out.
    async fn wait_for_offer(&self, round_wait: RoundWait, waiter: &Waiter) -> Option<WaitResult> {
        let RoundWait { wait, has_fallback, deadline, .. } = round_wait;
        let remaining = deadline.since(self.clock.now());
        let draining = async {
            self.draining.cancelled().await;
            waiter.wait(|_| true).await
        };
        let result = async {
            tokio::select! {
                biased;
                result = waiter.wait(|status| !wait || (has_fallback && status == LeaseStatus::Paused)) => result,
                result = draining => result,
            }
        };
        timeout(remaining, result).await.ok()
    }

    /// Waits until there is room for an answer. The answer may be sent as it is only if there was
    /// room without a wait.
    pub(super) async fn room(&self, get: &Get<'_>, answer: &GetAnswer, deadline: Moment) -> Room {
        let (Some(slot), GetOutcome::Hit { held, .. }) = (get.slot, &answer.outcome) else { return Room::Now };
        let remaining = deadline.since(self.clock.now());
        match timeout(remaining, slot.wait_for_answer_room(held.entry.content.len())).await {
            Ok(true) => Room::Now,
            Ok(false) => Room::Later,
            Err(_) => Room::Never,
        }
    }

    /// Returns the answer of `look` once there is room for it. `None` if there is no answer, or no
    /// room in time.
    pub(super) async fn with_room(
        &self,
        get: &Get<'_>,
        deadline: Moment,
        look: impl Fn() -> Option<GetAnswer>,
    ) -> Option<GetAnswer> {
        loop {
            let answer = look()?;
            match self.room(get, &answer, deadline).await {
                Room::Now => return Some(answer),
                Room::Later => {}
                Room::Never => return None,
            }
        }
    }
}
