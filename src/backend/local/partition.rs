//! State of the partitions of a service that runs with no Redis: sequences, leases, remembered
//! requests.

use std::sync::MutexGuard;
use std::time::Duration;

use crate::cache::clock::Moment;
use crate::cache::entry::Tags;
use crate::cache::expiring_map::ExpiringMap;
use crate::cache::invalidation::{Coverage, EntryFacts};
use crate::cache::key::Key;
use crate::cache::tier::{ConditionFailure, LeaseId, RequestId};
use crate::cache::version::Version;
use crate::sync::Mutex;

/// Time for which requests, and versions of invalidated sources, are remembered.
pub(super) const REMEMBERED: Duration = Duration::from_secs(300);
/// Most remembered requests, sources and granted leases of a partition.
const PLACES: usize = 512;

/// State of all partitions, each with its own lock.
pub(super) struct LocalPartitions(Box<[Mutex<LocalPartition>]>);

impl LocalPartitions {
    pub(super) fn new(partitions: u16) -> LocalPartitions {
        let partition = || LocalPartition {
            sequence: 0,
            tagged: false,
            leases: ExpiringMap::new(PLACES),
            requests: ExpiringMap::new(PLACES),
            sources: ExpiringMap::new(PLACES),
        };
        LocalPartitions((0..partitions).map(|_| Mutex::new(partition())).collect())
    }

    pub(super) fn lock(&self, partition: u16) -> MutexGuard<'_, LocalPartition> {
        self.0[usize::from(partition)].lock()
    }
}

/// Sequence of one partition, and what is remembered beside its entries.
pub(super) struct LocalPartition {
    pub(super) sequence: u64,
    /// True if an entry ever had tags.
    pub(super) tagged: bool,
    pub(super) leases: ExpiringMap<Key, LocalLease>,
    pub(super) requests: ExpiringMap<(Key, RequestId), WriteOutcome>,
    pub(super) sources: ExpiringMap<Key, u64>,
}

impl LocalPartition {
    pub(super) fn remember_source(&mut self, key: &Key, source: u64, now: Moment) {
        let newest = self.sources.get(key, now).map_or(source, |(before, _)| source.max(*before));
        self.sources.insert(key.clone(), newest, now.plus(REMEMBERED), now);
    }
}

/// Result of a request: the version stored, or why none was, with that of the live entry.
pub(super) type WriteOutcome = Result<Version, (ConditionFailure, Option<Version>)>;

/// A lease. Its id is `None` during a pause, in which no caller gets it.
#[derive(Clone, Copy)]
pub(super) struct LocalLease {
    pub(super) id: Option<LeaseId>,
    pub(super) granted_at: Moment,
    pub(super) position: Version,
}

impl LocalLease {
    /// True if nothing that covers `key` or one of `tags` was invalidated since the lease was
    /// granted.
    pub(super) fn holds(&self, partition: u16, key: &Key, tags: &Tags) -> bool {
        let (version, position, known_at) = (self.position, self.position, self.granted_at);
        let judged = EntryFacts { partition, key: key.bytes(), tags: tags.as_slice(), version, position, known_at };
        key.namespace().invalidation_log().judge(&judged).0 == Coverage::Clear
    }
}
