//! `Local`, the store of a replica without Redis: sequences and conditions in its own memory.

use std::future::ready;
use std::sync::{Arc, MutexGuard};
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use super::partition::{LocalLease, LocalPartition, LocalPartitions};
use super::sweep::Sweep;
use crate::cache::clock::{Clock, Moment};
use crate::cache::coherence::Coherence;
use crate::cache::entry::{CachedEntry, Tags};
use crate::cache::key::{Key, KeyRef};
use crate::cache::stats::LabeledHistograms;
use crate::cache::tier::bus::{BusSink, Change, ChangedKey, Message};
use crate::cache::tier::{BoxFuture, L1, L2Report, TierStatus};
use crate::cache::version::Version;

/// Store of a replica that runs without Redis.
pub struct Local {
    epoch: u64,
    partitions: Arc<LocalPartitions>,
    pub(super) sweep: Arc<Sweep>,
    pub(super) l1: Arc<dyn L1>,
    pub(super) coherence: Arc<Coherence>,
    pub(super) clock: Arc<dyn Clock>,
}

// === impl Local ===

impl Local {
    /// Starts a new epoch on every partition. Always fresh: there are no other replicas.
    pub fn new(l1: Arc<dyn L1>, coherence: Arc<Coherence>, clock: Arc<dyn Clock>) -> Local {
        let micros = clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let epoch = u64::try_from(micros).unwrap_or(1).max(1);
        coherence.prove_forever(Version::new(epoch, 0));
        let partitions = Arc::new(LocalPartitions::new(coherence.partitions()));
        let sweep = Arc::new(Sweep::new(l1.clone(), coherence.clone(), partitions.clone(), clock.clone()));
        Local { epoch, partitions, sweep, l1, coherence, clock }
    }

    /// Returns the epoch of this run.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn lock(&self, partition: u16) -> MutexGuard<'_, LocalPartition> {
        self.partitions.lock(partition)
    }

    /// Returns the entry of `key`, also an expired or invalidated one, unless L1 may drop it. No other
    /// tier keeps entries here.
    pub(super) fn kept(&self, key: KeyRef<'_>, now: Moment) -> Option<Arc<CachedEntry>> {
        self.l1.get(key).filter(|held| now < held.kept_until())
    }

    /// Returns the entry of `key`, expired or not, unless it is invalidated.
    pub(super) fn stored_entry(&self, key: KeyRef<'_>) -> Option<Arc<CachedEntry>> {
        self.kept(key, self.clock.now()).filter(|held| !self.coherence.covers(key, held))
    }

    pub(super) fn live(&self, key: KeyRef<'_>) -> Option<Arc<CachedEntry>> {
        self.stored_entry(key).filter(|held| held.entry.lives(self.clock.now()) && held.marked_at().is_none())
    }

    pub(super) fn position(&self, state: &LocalPartition) -> Version {
        Version::new(self.epoch, state.sequence)
    }

    /// Takes the next sequence and announces the change.
    pub(super) fn advance(&self, state: &mut LocalPartition, partition: u16, change: Change) -> Version {
        state.sequence += 1;
        let version = self.position(state);
        self.coherence.apply(Message { partition, version, change, own: true });
        version
    }

    /// Returns a changed key, with the tags that its entry had until now.
    pub(super) fn changed(&self, state: &LocalPartition, key: &Key) -> ChangedKey {
        let tags = match self.l1.get(key.as_ref()).filter(|_| state.tagged) {
            Some(held) => held.entry.tags.clone(),
            None if state.tagged => Tags::unknown(),
            None => Tags::default(),
        };
        ChangedKey { key: Bytes::copy_from_slice(key.bytes()), tags }
    }

    /// Returns the lease of `key`, unless something that covers it, or one of `tags`, was
    /// invalidated since it was granted.
    pub(super) fn lease<'a>(
        &self,
        state: &'a LocalPartition,
        key: &Key,
        tags: [&Tags; 2],
    ) -> Option<(&'a LocalLease, Moment)> {
        let partition = self.coherence.partition_of(key.as_ref());
        let lease = state.leases.get(key, self.clock.now());
        lease.filter(|(lease, _)| tags.iter().all(|tags| lease.holds(partition, key, tags)))
    }
}

impl TierStatus for Local {
    fn report(&self) -> L2Report {
        L2Report::default()
    }

    fn operations(&self) -> Option<&LabeledHistograms> {
        None
    }

    fn halted(&self) -> Option<String> {
        None
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}
