//! Barrier: a change is acknowledged after the fleet has applied it.

use super::cache::TieredInner;
use super::types::Barrier;
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::tier::{CallContext, FleetBarrier, Timeout};

/// The barrier of one change, if one is requested.
pub(super) struct OpenBarrier<'a>(Option<Box<dyn FleetBarrier + 'a>>);

// === impl OpenBarrier ===

impl OpenBarrier<'_> {
    /// Returns the context of the change that has to pass it.
    pub(super) fn context(&self, timeout: impl Into<Timeout>) -> CallContext {
        let ticket = self.0.as_ref().map_or(0, |barrier| barrier.ticket());
        CallContext { timeout: timeout.into(), ticket }
    }
}

// === impl TieredInner ===

impl TieredInner {
    /// Opens a barrier, if one is requested.
    pub(super) fn open_barrier(&self, barrier: Barrier) -> OpenBarrier<'_> {
        OpenBarrier((barrier == Barrier::Fleet).then(|| self.backing.barrier()))
    }

    /// Waits at the barrier, if there is one. The change has taken effect even if this fails.
    pub(super) async fn await_barrier(
        &self,
        barrier: OpenBarrier<'_>,
        partitions: &[u16],
        deadline: Moment,
    ) -> Result<(), CacheError> {
        let OpenBarrier(Some(barrier)) = barrier else { return Ok(()) };
        let started_at = self.clock.now();
        let passed = barrier.passed(partitions, deadline).await;
        self.latencies.barrier.observe(self.clock.now().since(started_at));
        passed.map_err(|error| self.error(error, deadline))
    }
}
