//! State of one replica's coherence: partitions, fence, audits, L1.

use std::sync::{Arc, Mutex};
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

/// What coherence is configured by.
#[derive(Clone, Copy, Debug)]
pub struct CoherenceConfig {
    /// Partitions of the deployment.
    pub partitions: u16,
    /// The staleness bound.
    pub max_staleness: Duration,
    /// Whether recent changes are remembered, to invalidate again those that a failover lost.
    pub repair: bool,
    /// Protections that are on.
    pub safeguards: Safeguards,
}

/// The coherence of one replica's memory.
pub struct Coherence {
    pub(super) config: CoherenceConfig,
    pub(crate) partitions: Box<[Partition]>,
    pub(super) fence: Fence,
    pub(super) audits: Audits,
    pub(super) l1: Arc<dyn L1>,
    pub(super) namespaces: Arc<Namespaces>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Told when a partition has an epoch of which the takeover is not settled.
    pub(super) failover_pending: Notify,
    pub(super) unswept: Mutex<SweepQueue>,
    /// Notified when memory is to be swept.
    pub(super) sweep_wanted: Notify,
    /// Watches.
    pub watches: Watches,
    /// Counts.
    pub counters: CoherenceCounters,
}

// === impl Coherence ===

impl Coherence {
    /// Nothing is proven yet.
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

    /// Number of partitions.
    pub fn partitions(&self) -> u16 {
        self.config.partitions
    }

    /// The partition of `key`.
    pub fn partition_of(&self, key: KeyRef<'_>) -> u16 {
        key.partition(self.config.partitions)
    }

    pub(crate) fn partition(&self, partition: u16) -> &Partition {
        &self.partitions[usize::from(partition)]
    }

    /// The rounds of those who want a lease in `partition`. Every change that is applied ends those it may be about.
    pub fn rounds(&self, partition: u16) -> &Rounds {
        &self.partition(partition).rounds
    }

    /// Something was heard of `key`: who waits for it looks again.
    pub fn end_round(&self, key: KeyRef<'_>, end: End) {
        self.partition(self.partition_of(key)).rounds.end(key, end);
    }

    /// Whether messages of `partition` are heard now.
    pub fn is_followed(&self, partition: u16) -> bool {
        self.partition(partition).live_epoch() != 0
    }

    /// Puts `entry` in the place of `held`, of which it is a variant. To be called under the key's stripe, or what stands for it.
    pub fn put(&self, key: &Key, held: &CachedEntry, entry: Entry) {
        let CachedEntry { position, generation, known_at, ref namespace, .. } = *held;
        let (namespace, covered) = (namespace.clone(), CoverageMemo::default());
        let held = CachedEntry { entry, position, generation, known_at, namespace, covered };
        // If it is not taken, it is gone, which any entry may be at any time.
        let _ = self.l1.insert(key.clone(), Arc::new(held));
    }

    pub(super) fn bump(&self, partition: &Partition, line: &mut PartitionState) {
        partition.bump(line);
        line.watchers.report_gap();
        self.counters.bumps.inc();
    }
}

/// The proofs of all partitions at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proofs {
    /// Partitions whose entries may be answered as fresh.
    pub proven: u16,
    /// Age of the oldest proof; none when a partition was never proven.
    pub oldest: Option<Duration>,
}

impl Coherence {
    /// How far memory is proven now.
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

    /// Proves every partition for good, from position `at`: for a service without a shared tier, where memory is all there is.
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
