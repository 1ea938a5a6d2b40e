//! Log of the invalidations by selector in one namespace.
//!
//! The log keeps the positions of the last invalidations by selector and partition. Invalidations
//! do not touch entries; a Get judges its entry by the log.
//!
//! Memory is bounded, in number for a namespace and in bytes for all of them. Forgotten
//! invalidations leave a floor: entries known before it count as invalidated and have to be fetched
//! again.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::coverage::{Coverage, EntryFacts, LastInvalidation};
use super::log_budget::{Budget, BudgetMember};
use super::log_table::{MAX_PATTERNS, Table};
use super::selector::Selector;
use super::table_half::{MARK_BYTES, Row};
use crate::cache::clock::Moment;
use crate::cache::stats::Counter;
use crate::cache::version::Version;
use crate::sync::RwLock;

/// Log of the invalidations by selector in one namespace.
pub struct InvalidationLog {
    /// Number of changes of each partition. A reader reads only this if nothing has changed.
    changes: Box<[AtomicU64]>,
    table: RwLock<Table>,
    /// Most prefixes and tags of one half of the table.
    limit: usize,
    /// Bytes of the prefixes and tags.
    bytes: AtomicUsize,
    /// Number of times that remembered prefixes and tags were dropped for want of room.
    overflows: Counter,
    budget: Arc<Budget>,
}

// === impl InvalidationLog ===

impl InvalidationLog {
    /// Creates an empty log. It keeps at least `limit` prefixes and tags, and at most twice as
    /// many. Their bytes count in `budget`, which may halve the log.
    pub fn within(budget: &Arc<Budget>, partitions: u16, limit: usize) -> Arc<InvalidationLog> {
        let log = Arc::new(InvalidationLog {
            changes: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
            table: RwLock::default(),
            limit: limit.max(1),
            bytes: AtomicUsize::new(0),
            overflows: Counter::default(),
            budget: budget.clone(),
        });
        budget.join(&log);
        log
    }

    /// Returns the number of changes of `partition`.
    pub fn changes(&self, partition: u16) -> u64 {
        self.changes[usize::from(partition)].load(Ordering::Acquire)
    }

    /// Returns the last invalidation of any kind in `partition`.
    pub fn latest(&self, partition: u16) -> Version {
        self.read().latest.get(usize::from(partition)).copied().unwrap_or(Version::ZERO)
    }

    /// Records that `selector` removed entries of `partition` at `version`; or, if `marked_at` is
    /// given, marked them stale at that time.
    pub fn record(&self, partition: u16, selector: &Selector, version: Version, marked_at: Option<Moment>) {
        let mut table = self.write();
        table.allocate(self.changes.len());
        let at = usize::from(partition);
        let rotations = table.rotations;
        let row = table.row(selector, self.changes.len(), self.limit);
        let Some(row) = row else { return };
        let marks = usize::from(row[at].marked.is_some());
        if row[at].add(version, marked_at) {
            let marks = usize::from(row[at].marked.is_some()) - marks;
            table.latest[at] = table.latest[at].max(version);
            if matches!(selector, Selector::Prefix(_) | Selector::Tag(_)) {
                table.young.bytes += marks * MARK_BYTES;
                table.young.reach(at, version, self.changes.len());
            }
            self.changed(partition);
        }
        self.overflows.add(table.rotations - rotations);
        self.weigh(&table);
        drop(table);
        self.budget.enforce();
    }

    /// Returns how many times remembered prefixes and tags were dropped for want of room: entries
    /// known before them count as invalidated since then.
    pub fn overflows(&self) -> u64 {
        self.overflows.get()
    }

    fn weigh(&self, table: &Table) {
        let bytes = table.young.bytes + table.old.bytes;
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        self.budget.update_used(before, bytes);
    }

    /// Forgets the invalidations of `partition`, whose number line starts over below them.
    pub fn forget(&self, partition: u16) {
        let mut table = self.write();
        table.forget(usize::from(partition));
        self.weigh(&table);
        self.changed(partition);
    }

    /// Returns true if the log can keep another pattern.
    pub fn has_room_for(&self, pattern: &[u8]) -> bool {
        let table = self.read();
        table.patterns.len() < MAX_PATTERNS || table.patterns.iter().any(|(bytes, ..)| bytes == pattern)
    }

    /// Returns the patterns, with the positions of their last invalidations by partition.
    pub fn patterns(&self) -> Vec<(Bytes, Vec<Version>)> {
        let table = self.read();
        let positions = |row: &Row| row.iter().map(LastInvalidation::latest).collect();
        table.patterns.iter().map(|(bytes, _, row)| (bytes.clone(), positions(row))).collect()
    }

    /// Drops `pattern` if everything that it selected is reclaimed: its invalidations are not newer
    /// than `versions`, by partition.
    pub fn drop_reclaimed(&self, pattern: &[u8], versions: &[Version]) {
        let mut table = self.write();
        table.patterns.retain(|(bytes, _, row)| {
            bytes != pattern || row.iter().zip(versions).any(|(last, version)| last.latest() > *version)
        });
    }

    /// Returns how the log covers `judged`, and the number of changes that the result takes into
    /// account.
    pub fn judge(&self, judged: &EntryFacts<'_>) -> (Coverage, u64) {
        let table = self.read();
        // Under the lock, so that the number counts exactly the content of the table.
        (table.judge(judged), self.changes(judged.partition))
    }

    /// Returns a selector that covers `judged`, as far as the log remembers it.
    pub fn cause(&self, judged: &EntryFacts<'_>) -> Option<Selector> {
        self.read().cause(judged)
    }

    fn changed(&self, partition: u16) {
        self.changes[usize::from(partition)].fetch_add(1, Ordering::Release);
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write()
    }
}

impl BudgetMember for InvalidationLog {
    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Forgets the older half of the prefixes and tags. Entries known before the last of these have
    /// to be fetched again.
    fn halve(&self) {
        let mut table = self.write();
        table.halve(self.changes.len());
        self.overflows.inc();
        self.weigh(&table);
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
