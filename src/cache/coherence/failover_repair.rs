//! Repair after failovers: invalidates again the last changes that a new primary may lack.
//!
//! Until every replica has done so, or is not waited for any more, L2 answers with nothing from
//! before the failover.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::change_log::Lost;
use super::coherence::Coherence;
use super::failover::PendingFailover;
use crate::cache::clock::Clock;
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::{Key, KeyRef};
use crate::cache::namespace::{Namespace, Namespaces};
use crate::cache::tier::bus::{Change, Effect};
use crate::cache::tier::{L2, L2Error, Mode, Removal, Settlement, Takeover};
use crate::cache::version::Version;

/// Most partitions repaired at once, to leave the new primary capacity for requests.
const MAX_CONCURRENT_PARTITIONS: usize = 32;
/// First and longest pause before a retry, or before the other replicas are checked again.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// Timeout of one step.
const STEP_TIMEOUT: Duration = Duration::from_secs(1);
/// Most keys of one step.
const MAX_KEYS_PER_STEP: usize = 500;

/// Settles failovers as they occur.
pub struct FailoverRepair {
    coherence: Arc<Coherence>,
    l2: Arc<dyn L2>,
    namespaces: Arc<Namespaces>,
    clock: Arc<dyn Clock>,
    slots: Semaphore,
}

// === impl FailoverRepair ===

impl FailoverRepair {
    /// Builds the repair. It starts with `run`.
    pub fn new(
        coherence: Arc<Coherence>,
        l2: Arc<dyn L2>,
        namespaces: Arc<Namespaces>,
        clock: Arc<dyn Clock>,
    ) -> FailoverRepair {
        FailoverRepair { coherence, l2, namespaces, clock, slots: Semaphore::new(MAX_CONCURRENT_PARTITIONS) }
    }

    /// Settles failovers until `stop` is cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        let _: Option<()> = stop.run_until_cancelled(self.settle_all()).await;
    }

    /// Settles failovers concurrently: one that waits for other replicas delays no other.
    async fn settle_all(&self) {
        let mut in_flight = FuturesUnordered::new();
        let mut partitions = BTreeSet::new();
        loop {
            tokio::select! {
                () = self.coherence.failover_began() => {}
                Some(partition) = in_flight.next() => {
                    partitions.remove(&partition);
                }
            }
            for takeover in self.coherence.pending_failovers() {
                if partitions.insert(takeover.partition) {
                    in_flight.push(async move {
                        self.settle(takeover).await;
                        takeover.partition
                    });
                }
            }
        }
    }

    /// Settles one failover, unless another follows it.
    async fn settle(&self, takeover: PendingFailover) {
        if self.coherence.is_failover(takeover) {
            self.coherence.counters.failovers.inc();
        }
        let mut repaired = None;
        let (mut pause, longest) = RETRY_PAUSES;
        while self.coherence.is_pending(takeover) {
            let slot = self.slots.acquire().await;
            match self.try_to_settle(takeover, &mut repaired).await {
                Ok(true) => return self.coherence.mark_settled(takeover, repaired == Some(Settlement::Forgotten)),
                Ok(false) => {}
                Err(error) => tracing::debug!(partition = takeover.partition, %error, "failover not settled yet"),
            }
            drop(slot);
            sleep(pause).await;
            pause = (2 * pause).min(longest);
        }
    }

    /// Tries to settle a failover, and returns whether every replica has settled it.
    ///
    /// This replica's own repair is done once.
    async fn try_to_settle(
        &self,
        takeover: PendingFailover,
        repaired: &mut Option<Settlement>,
    ) -> Result<bool, L2Error> {
        let PendingFailover { partition, epoch } = takeover;
        let deadline = || self.clock.now().plus(STEP_TIMEOUT);
        let settlement = match *repaired {
            Some(settlement) => settlement,
            None if !self.coherence.repairs() => Settlement::Cold,
            None => match self.l2.takeover(partition, epoch, deadline()).await? {
                Takeover::Anew => return Ok(true),
                Takeover::From { prior, trusted_from } => self.repair(takeover, prior, trusted_from).await?,
            },
        };
        *repaired = Some(settlement);
        self.l2.settle(partition, epoch, settlement, deadline()).await
    }

    async fn repair(
        &self,
        takeover: PendingFailover,
        prior: Version,
        trusted_from: u64,
    ) -> Result<Settlement, L2Error> {
        match self.coherence.lost(takeover, prior, trusted_from) {
            Lost::Changes(changes) => {
                self.invalidate_again(takeover.partition, &changes).await?;
                Ok(Settlement::Repaired)
            }
            Lost::Unknown => {
                let partition = takeover.partition;
                tracing::warn!(partition, %prior, "failover may have lost unremembered changes: older entries are dropped");
                Ok(Settlement::Forgotten)
            }
        }
    }

    async fn invalidate_again(&self, partition: u16, changes: &[Change]) -> Result<(), L2Error> {
        let mut keys: BTreeMap<&Bytes, Vec<&Bytes>> = BTreeMap::new();
        for change in changes {
            keys.entry(&change.namespace).or_default().extend(change.keys());
            if let Some(namespace) = self.namespace(&change.namespace).filter(|_| !change.selectors().is_empty()) {
                match self.invalidate_selected_again(partition, &namespace, change).await {
                    // There is no room for another pattern: invalidate more rather than less.
                    Err(L2Error::TooMany { .. }) => {
                        let all = Change::of_selected(Effect::Removed, &namespace, &[Selector::Namespace]);
                        self.invalidate_selected_again(partition, &namespace, &all).await?;
                    }
                    done => done?,
                }
            }
        }
        for (name, mut names) in keys {
            let Some(namespace) = self.namespace(name) else { continue };
            names.sort_unstable();
            names.dedup();
            let keys: Vec<Key> = names.iter().map(|name| KeyRef::new(&namespace, name).to_key()).collect();
            for keys in keys.chunks(MAX_KEYS_PER_STEP) {
                let removals: Vec<Removal> =
                    keys.iter().map(|key| Removal { key: key.clone(), source_version: None }).collect();
                let deadline = self.clock.now().plus(STEP_TIMEOUT);
                let removed = self.l2.remove(partition, &removals, Mode::Remove, deadline.into()).await?;
                keys.iter().for_each(|key| self.coherence.apply_own_change(key, removed.version, Effect::Removed));
                self.coherence.record_acknowledged(partition, removed.version, &Change::of_keys(Effect::Removed, keys));
                self.coherence.counters.repaired.add(keys.len() as u64);
            }
        }
        Ok(())
    }

    async fn invalidate_selected_again(
        &self,
        partition: u16,
        namespace: &Arc<Namespace>,
        change: &Change,
    ) -> Result<(), L2Error> {
        let mode = if change.effect == Effect::Marked { Mode::MarkStale } else { Mode::Remove };
        let deadline = self.clock.now().plus(STEP_TIMEOUT);
        let version = self.l2.invalidate(partition, namespace, change.selectors(), mode, deadline.into()).await?;
        self.coherence.apply_own_invalidation(namespace, partition, change.selectors(), version, change.effect);
        self.coherence.record_acknowledged(partition, version, change);
        self.coherence.counters.repaired.inc();
        Ok(())
    }

    fn namespace(&self, name: &Bytes) -> Option<Arc<Namespace>> {
        std::str::from_utf8(name).ok().and_then(|name| self.namespaces.get_to_read("namespace", name).ok())
    }
}
