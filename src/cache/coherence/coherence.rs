//! State of one replica's coherence: partitions, fence, audits, L1.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::audit::{Audits, dispatch_margin};
use super::fence::Fence;
use super::partition::{Partition, PartitionState};
use super::safeguards::Safeguards;
use super::sweep_queue::SweepQueue;
use super::watch::registry::Watches;
use crate::cache::clock::{Clock, Moment};
use crate::cache::entry::{CachedEntry, CoverageMemo, Entry};
use crate::cache::key::{Key, KeyRef};
use crate::cache::lease::waiters::{End, Rounds};
use crate::cache::namespace::Namespaces;
use crate::cache::stats::CoherenceCounters;
use crate::cache::tier::L1;
use crate::cache::version::Version;
use crate::sync::Mutex;

/// Configuration of [`Coherence`].
#[derive(Clone, Copy, Debug)]
pub struct CoherenceConfig {
    /// Number of partitions of the deployment.
    pub partitions: u16,
    /// The staleness bound.
    pub max_staleness: Duration,
    /// True if recent changes are remembered, to invalidate again those that a failover lost.
    pub repair: bool,
    /// Safeguards that are on.
    pub safeguards: Safeguards,
}

/// Coherence of the L1 of one replica.
pub struct Coherence {
    pub(super) config: CoherenceConfig,
    pub(crate) partitions: Box<[Partition]>,
    pub(super) fence: Fence,
    pub(super) audits: Audits,
    pub(super) l1: Arc<dyn L1>,
    pub(super) namespaces: Arc<Namespaces>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Notified when a partition is in an epoch whose failover is not settled.
    pub(super) failover_pending: Notify,
    pub(super) unswept: Mutex<SweepQueue>,
    /// Notified when L1 has to be swept.
    pub(super) sweep_wanted: Notify,
    /// The open watches.
    pub watches: Watches,
    /// Counters of messages, audits and fills.
    pub counters: CoherenceCounters,
}

// === impl Coherence ===

impl Coherence {
    /// Builds the coherence of an empty L1. No partition is proven yet.
    pub fn new(
        config: CoherenceConfig,
        l1: Arc<dyn L1>,
        namespaces: Arc<Namespaces>,
        clock: Arc<dyn Clock>,
    ) -> Coherence {
        Coherence {
            config,
            partitions: (0..config.partitions).map(|_| Partition::default()).collect(),
            fence: Fence::new(config.partitions),
            audits: Audits::default(),
            l1,
            namespaces,
            clock,
            failover_pending: Notify::new(),
            unswept: Mutex::default(),
            sweep_wanted: Notify::new(),
            watches: Watches::default(),
            counters: CoherenceCounters::default(),
        }
    }

    /// The staleness bound.
    pub fn max_staleness(&self) -> Duration {
        self.config.max_staleness
    }

    /// Returns the number of partitions.
    pub fn partitions(&self) -> u16 {
        self.config.partitions
    }

    /// Returns the partition of `key`.
    pub fn partition_of(&self, key: KeyRef<'_>) -> u16 {
        key.partition(self.config.partitions)
    }

    pub(crate) fn partition(&self, partition: u16) -> &Partition {
        &self.partitions[usize::from(partition)]
    }

    /// Returns the rounds of Gets that wait for a lease in `partition`. Every change that is
    /// applied ends those that it may concern.
    pub fn rounds(&self, partition: u16) -> &Rounds {
        &self.partition(partition).rounds
    }

    /// Ends the round of `key` after news of the key: its waiters look again.
    pub fn end_round(&self, key: KeyRef<'_>, end: End) {
        self.partition(self.partition_of(key)).rounds.end(key, end);
    }

    /// Returns true if messages of `partition` are received now.
    pub fn is_followed(&self, partition: u16) -> bool {
        self.partition(partition).live_epoch() != 0
    }

    /// Replaces `held` by `entry`, a variant of it. To be called under the key's stripe, or what
    /// stands for it.
    pub fn put(&self, key: &Key, held: &CachedEntry, entry: Entry) {
        let CachedEntry { position, generation, known_at, ref namespace, .. } = *held;
        let (namespace, covered) = (namespace.clone(), CoverageMemo::default());
        let held = CachedEntry { entry, position, generation, known_at, namespace, covered };
        // If L1 does not take it, it is gone, as any entry may be at any time.
        let _ = self.l1.insert(key.clone(), Arc::new(held));
    }

    pub(super) fn bump(&self, partition: &Partition, state: &mut PartitionState) {
        partition.bump(state);
        state.watchers.report_gap();
        self.counters.bumps.inc();
    }
}

/// The proofs of all partitions at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proofs {
    /// Number of partitions whose entries may be answered as fresh.
    pub proven: u16,
    /// Age of the oldest proof. `None` if a partition was never proven.
    pub oldest: Option<Duration>,
}

impl Coherence {
    /// Returns how much of L1 is proven now.
    pub fn proofs(&self) -> Proofs {
        let now = self.clock.now();
        let bound = self.config.max_staleness - dispatch_margin(self.config.max_staleness);
        let proven = |partition: &&Partition| now <= partition.proved_at().plus(bound);
        let oldest = self.partitions.iter().map(Partition::proved_at).min().unwrap_or(Moment::NEVER);
        Proofs {
            proven: self.partitions.iter().filter(proven).count() as u16,
            oldest: (oldest != Moment::NEVER).then(|| now.since(oldest)),
        }
    }

    /// Proves every partition without end, from position `at`: for a service without L2.
    pub fn prove_forever(&self, at: Version) {
        for partition in &self.partitions {
            partition.sync(&mut partition.state(), at);
            partition.prove(Moment::FOREVER);
        }
    }
}

#[cfg(test)]
#[path = "coherence_tests.rs"]
mod tests;
