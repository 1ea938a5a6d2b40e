//! Port of L1: the memory of this replica.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::cache::entry::CachedEntry;
use crate::cache::key::{Key, KeyRef};
use crate::cache::stats::L1Counts;

/// The memory of this replica.
///
/// A dumb map with limits of bytes, for all and for each namespace: it decides only which entries to
/// evict. It may drop any entry at
/// any time. The caller orders inserts and removals of one key; `get` runs beside them and takes no
/// lock that all keys share.
pub trait L1: Send + Sync + 'static {
    /// Returns the entry of `key`, fresh or not.
    fn get(&self, key: KeyRef<'_>) -> Option<Arc<CachedEntry>>;
    /// Inserts an entry, until it has expired and its namespace's stale window has passed, or
    /// memory is short.
    ///
    /// If it is not taken, any earlier entry is removed all the same.
    fn insert(&self, key: Key, held: Arc<CachedEntry>) -> Result<(), NotTaken>;
    /// Removes the entry of `key`.
    fn remove(&self, key: KeyRef<'_>);
    /// Visits entries until `visit` breaks: all that are present throughout, and some of the
    /// others.
    fn each(&self, visit: &mut dyn FnMut(&Key, &Arc<CachedEntry>) -> ControlFlow<()>);
    /// Returns copies of the entries in one of its parts, by number. `None` beyond the last part. An
    /// entry stays in its part.
    fn part(&self, number: usize) -> Option<Vec<(Key, Arc<CachedEntry>)>>;
    /// Returns the current usage.
    fn usage(&self) -> L1Usage;
}

/// Reason why L1 did not take an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// It is too large.
    TooLarge,
    /// It is larger than the quota of its namespace, which has this many bytes.
    OverQuota(u64),
}

/// Usage of L1, and counts of the entries that it dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct L1Usage {
    /// Entries now; may lag by pending maintenance.
    pub entries: u64,
    /// Bytes now, with overhead.
    pub bytes: u64,
    /// Limit of bytes.
    pub max_bytes: u64,
    /// Counts of the entries that it dropped or did not take.
    pub counts: L1Counts,
}

// === impl L1Usage ===

impl L1Usage {
    /// Returns the counts since `earlier`, with the usage of now.
    pub fn since(&self, earlier: &L1Usage) -> L1Usage {
        L1Usage { counts: self.counts.since(&earlier.counts), ..*self }
    }
}

/// Inserts an entry. One that is larger than the quota of its namespace is counted.
pub fn insert_counted(l1: &dyn L1, key: &Key, held: &Arc<CachedEntry>) -> Result<(), NotTaken> {
    let inserted = l1.insert(key.clone(), held.clone());
    if matches!(inserted, Err(NotTaken::OverQuota(_))) {
        held.namespace.counters.over_quota.inc();
    }
    inserted
}
