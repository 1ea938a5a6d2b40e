//! Set: L2 applies the write, then L1 of this replica, then it is acknowledged.

use std::future::Future;

use super::backing::Backing;
use super::cache::Tiered;
use super::types::{Set, SetAnswer, SetOutcome};
use super::uninterrupted::Uninterrupted;
use crate::cache::error::CacheError;
use crate::cache::stats::NamespaceCounters;
use crate::cache::tier::{Condition, L2Error, Write};

impl NamespaceCounters {
    pub(super) fn count_set(&self, answer: &Result<SetAnswer, CacheError>) {
        match answer {
            Ok(SetAnswer { outcome: SetOutcome::Stored, .. }) => self.sets_stored.inc(),
            Ok(SetAnswer { outcome: SetOutcome::Disabled, .. }) => {}
            Ok(SetAnswer { outcome: SetOutcome::LeaseVoid | SetOutcome::SourceVersionOlder, .. }) => {
                self.sets_void.inc();
            }
            Ok(_) => self.sets_condition_failed.inc(),
            Err(_) => self.set_errors.inc(),
        }
    }
}

/// Returns the bytes of key and value.
pub(super) fn written_bytes(write: &Write) -> usize {
    write.key.bytes().len() + write.entry.content.len()
}

// === impl Tiered ===

impl Tiered {
    /// Writes one entry. A caller that disconnects does not interrupt it.
    pub async fn set(&self, set: Set) -> Result<SetAnswer, CacheError> {
        let namespace = set.write.key.namespace().clone();
        let started_at = self.0.clock.now();
        let cache = self.clone();
        let answer = self.owned(async move { cache.write_and_settle(set).await }).await;
        namespace.counters.count_set(&answer);
        self.0.latencies.set.observe(self.0.clock.now().since(started_at));
        answer
    }

    /// Runs `work` so that a disconnect does not interrupt it. Without L2 it cannot be interrupted
    /// anyway.
    pub(super) async fn owned<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, CacheError>> + Send + 'static,
    ) -> Result<T, CacheError> {
        if let Backing::Standalone(_) = self.0.backing {
            return work.await;
        }
        Uninterrupted::new(work, &self.0.tasks).await.unwrap_or_else(|_| {
            tracing::error!("write panicked");
            Err(CacheError::Internal)
        })
    }

    async fn write_and_settle(&self, set: Set) -> Result<SetAnswer, CacheError> {
        let Condition::Lease(lease) = set.write.condition else { return self.write(set).await };
        let key = set.write.key.clone();
        let answer = self.write(set).await;
        self.settle_lease(&key, lease, answer.as_ref()).await;
        answer
    }

    async fn write(&self, set: Set) -> Result<SetAnswer, CacheError> {
        let shared = &*self.0;
        let Set { write, barrier, deadline } = set;
        let partition = shared.coherence.partition_of(write.key.as_ref());
        let namespace = write.key.namespace();
        let switches = shared.switches(namespace);
        if !switches.enabled {
            return Ok(SetAnswer::DISABLED);
        }
        namespace.admit()?;
        namespace.charge(written_bytes(&write));
        if !switches.l2 {
            return Ok(shared.write_l1_only(&write)?);
        }
        shared.admit_l2_bytes(namespace, written_bytes(&write))?;
        let timeout = shared.write_timeout(deadline);
        let barrier = shared.open_barrier(barrier);
        let writes = std::slice::from_ref(&write);
        let step = shared.backing.write(partition, writes, barrier.context(timeout)).await;
        let answer =
            step.and_then(|answers| answers.into_iter().next().unwrap_or(Err(L2Error::unavailable("no answer"))));
        let answer = answer.map_err(|error| shared.error(error, deadline))?;
        if answer.outcome == SetOutcome::Stored {
            shared.await_barrier(barrier, &[partition], deadline).await?;
        }
        Ok(answer)
    }
}
