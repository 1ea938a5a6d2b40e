//! Invalidate: L2 applies the change, then L1 of this replica, then it is acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::cache::{Tiered, TieredInner};
use super::types::{Invalidate, Invalidated, Target};
use crate::cache::error::CacheError;
use crate::cache::invalidation::selector::Selector;
use crate::cache::namespace::Namespace;
use crate::cache::tier::{CallContext, L2Error, Mode, Removal};
use crate::cache::token::Token;

// === impl Tiered ===

impl Tiered {
    /// Removes entries. A caller that disconnects does not interrupt it.
    pub async fn invalidate(&self, invalidate: Invalidate) -> Result<Invalidated, CacheError> {
        self.invalidate_with_permit(invalidate, None).await
    }

    /// Invalidates like `invalidate`, with one of the `permits` for its steps.
    pub(super) async fn invalidate_with_permit(
        &self,
        invalidate: Invalidate,
        permits: Option<Arc<Semaphore>>,
    ) -> Result<Invalidated, CacheError> {
        let namespace = invalidate.namespace.clone();
        let started_at = self.0.clock.now();
        let cache = self.clone();
        let answer = self.owned(async move { cache.remove(invalidate, permits).await }).await;
        match &answer {
            Ok(_) => namespace.counters.invalidations.inc(),
            Err(_) => namespace.counters.invalidate_errors.inc(),
        }
        self.0.latencies.invalidate.observe(self.0.clock.now().since(started_at));
        answer
    }

    async fn remove(&self, invalidate: Invalidate, permits: Option<Arc<Semaphore>>) -> Result<Invalidated, CacheError> {
        let shared = &*self.0;
        invalidate.namespace.admit()?;
        let permit = match permits {
            Some(permits) => permits.acquire_owned().await.ok(),
            None => None,
        };
        let deadline = shared.clock.now().plus(shared.config.write_timeout).min(invalidate.deadline);
        let barrier = shared.open_barrier(invalidate.barrier);
        let (mode, context) = (invalidate.mode, barrier.context(deadline));
        let removed = match invalidate.target {
            Target::Keys(removals) => shared.remove_keys(removals, mode, context).await,
            Target::Selected(selectors) => {
                shared.remove_selected(&invalidate.namespace, &selectors, mode, context).await
            }
        };
        drop(permit);
        let removed = removed.map_err(|error| shared.error(error, invalidate.deadline))?;
        let partitions: Vec<u16> = removed.token.partitions().collect();
        shared.await_barrier(barrier, &partitions, invalidate.deadline).await?;
        Ok(removed)
    }
}

// === impl TieredInner ===

impl TieredInner {
    /// Removes keys: one step for each partition, all concurrently. Steps that succeed take effect
    /// even if another fails.
    async fn remove_keys(
        &self,
        removals: Vec<Removal>,
        mode: Mode,
        context: CallContext,
    ) -> Result<Invalidated, L2Error> {
        let mut by_partition: BTreeMap<u16, Vec<Removal>> = BTreeMap::new();
        for removal in removals {
            by_partition.entry(self.coherence.partition_of(removal.key.as_ref())).or_default().push(removal);
        }
        let steps = by_partition.iter().map(|(partition, removals)| async {
            Ok((*partition, self.backing.remove(*partition, removals, mode, context).await?))
        });
        let mut answer = Invalidated { removed: Some(0), token: Token::default() };
        for (partition, done) in all_or_longest_unknown(join_all(steps).await)? {
            let removed = done.removed.iter().filter(|removed| **removed).count() as u64;
            answer.removed = answer.removed.map(|before| before + removed);
            answer.token.add(partition, done.version);
        }
        Ok(answer)
    }

    async fn remove_selected(
        &self,
        namespace: &Arc<Namespace>,
        selectors: &[Selector],
        mode: Mode,
        context: CallContext,
    ) -> Result<Invalidated, L2Error> {
        let steps = self.backing.invalidate(namespace, selectors, mode, context).await;
        let mut token = Token::default();
        for (partition, version) in all_or_longest_unknown(steps)? {
            token.add(partition, version);
        }
        Ok(Invalidated { removed: None, token })
    }
}

/// Returns every result, or the error whose outcome is unknown for longest.
fn all_or_longest_unknown<T>(results: Vec<Result<T, L2Error>>) -> Result<Vec<T>, L2Error> {
    let unknown_for = |error: &L2Error| match error {
        L2Error::Unavailable { outcome_unknown_for, .. } => *outcome_unknown_for,
        L2Error::Full | L2Error::OverQuota(_) | L2Error::Busy { .. } | L2Error::TooMany { .. } | L2Error::Halted(_) => {
            None
        }
    };
    let (mut done, mut failed) = (Vec::with_capacity(results.len()), Vec::new());
    for result in results {
        match result {
            Ok(value) => done.push(value),
            Err(error) => failed.push(error),
        }
    }
    match failed.into_iter().max_by_key(unknown_for) {
        None => Ok(done),
        Some(error) => Err(error),
    }
}
