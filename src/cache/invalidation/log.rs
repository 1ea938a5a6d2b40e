//! Log of the invalidations by selector in one namespace.
//!
//! The log keeps the positions of the last invalidations by selector and partition. Invalidations
//! do not touch entries; a Get judges its entry by the log.
//!
//! Memory is bounded, in number for a namespace and in bytes for all of them. Forgotten
//! invalidations leave a floor: entries known before it count as invalidated and have to be fetched
//! again.

use std::collections::HashMap;
use std::mem::size_of;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::log_budget::{Budget, BudgetMember};
use super::pattern::Pattern;
use super::selector::{Selector, prefixes};
use crate::cache::clock::Moment;
use crate::cache::version::Version;
use crate::sync::RwLock;

/// Most patterns that the log of a namespace keeps.
pub const MAX_PATTERNS: usize = 16;

/// Log of the invalidations by selector in one namespace.
pub struct InvalidationLog {
    /// Number of changes of each partition. A reader reads only this if nothing has changed.
    changes: Box<[AtomicU64]>,
    table: RwLock<Table>,
    /// Most prefixes and tags of one half of the table.
    limit: usize,
    /// Bytes of the prefixes and tags.
    bytes: AtomicUsize,
    budget: Arc<Budget>,
}

/// Facts of an entry to be judged: written at `version`, and known to be current at `position`.
pub struct EntryFacts<'a> {
    /// The partition of the key.
    pub partition: u16,
    /// The key.
    pub key: &'a [u8],
    /// Its tags.
    pub tags: &'a [Bytes],
    /// Version of its write.
    pub version: Version,
    /// Position up to which it is known not to be invalidated.
    pub position: Version,
    /// Time at which it was known to be current at `position`.
    pub known_at: Moment,
}

/// How the log covers an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// No invalidation covers it.
    Clear,
    /// Marked stale, at this time or earlier.
    Marked(Moment),
    /// Invalidated; or possibly so, and to be fetched again.
    Gone,
}

/// Last invalidations of one selector in one partition.
#[derive(Clone, Default)]
struct LastInvalidation {
    removed: Version,
    marked: Option<Box<Mark>>,
}

/// The last time that a selector marked entries stale.
#[derive(Clone)]
struct Mark {
    version: Version,
    at: Moment,
    /// Version of the mark before that.
    before: Version,
}

/// Last invalidations of one selector, by partition.
type Row = Box<[LastInvalidation]>;

/// Bytes of a prefix or tag beside its name and row: its place in a hash table, which may be half
/// empty, and the overhead of the allocator.
const ROW_OVERHEAD_BYTES: usize = 2 * (size_of::<(Bytes, Row)>() + 1) + 48;
/// Bytes of a mark: on the heap, with the overhead of the allocator.
const MARK_BYTES: usize = size_of::<Mark>() + 16;

struct Table {
    whole: Row,
    young: TableHalf,
    old: TableHalf,
    patterns: Vec<(Bytes, Pattern, Row)>,
    /// Positions by partition; entries known before them have to be fetched again.
    floor: Box<[Version]>,
    /// The last invalidation of any kind, by partition.
    latest: Box<[Version]>,
}

#[derive(Default)]
struct TableHalf {
    prefixes: HashMap<Bytes, Row>,
    tags: HashMap<Bytes, Row>,
    latest: Box<[Version]>,
    /// Bytes of the prefixes and tags.
    bytes: usize,
}

// === impl InvalidationLog ===

impl InvalidationLog {
    /// Creates an empty log. It keeps at least `limit` prefixes and tags, and at most twice as
    /// many. Their bytes count in `budget`.
    pub fn new(partitions: u16, limit: usize, budget: Arc<Budget>) -> InvalidationLog {
        let changes = (0..partitions).map(|_| AtomicU64::new(0)).collect();
        InvalidationLog { changes, table: RwLock::default(), limit: limit.max(1), bytes: AtomicUsize::new(0), budget }
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
        let Some(row) = table.row(selector, self.changes.len(), self.limit) else { return };
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
        self.weigh(&table);
        drop(table);
        self.budget.enforce();
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
        self.weigh(&table);
    }
}

// === impl Table ===

impl Default for Table {
    fn default() -> Self {
        let (whole, floor, latest) = Default::default();
        Table { whole, young: TableHalf::default(), old: TableHalf::default(), patterns: Vec::new(), floor, latest }
    }
}

impl Table {
    fn allocate(&mut self, partitions: usize) {
        if self.latest.is_empty() {
            self.floor = vec![Version::ZERO; partitions].into();
            self.latest = vec![Version::ZERO; partitions].into();
        }
    }

    /// Returns the row of `selector`, with room made for it.
    fn row(&mut self, selector: &Selector, partitions: usize, limit: usize) -> Option<&mut Row> {
        let empty = || vec![LastInvalidation::default(); partitions].into_boxed_slice();
        let row = match selector {
            Selector::Namespace => &mut self.whole,
            Selector::Pattern(bytes) => self.pattern(bytes)?,
            Selector::Prefix(bytes) | Selector::Tag(bytes) => {
                let known = self.young.of(selector).is_some_and(|rows| rows.contains_key(bytes));
                if !known && self.young.len() >= limit {
                    self.rotate_halves();
                }
                self.young.row(selector, partitions)?
            }
        };
        if row.is_empty() {
            *row = empty();
        }
        Some(row)
    }

    /// Forgets the older half of the prefixes and tags: the old half of the table, and the older
    /// half of the young one if the old one is smaller.
    fn halve(&mut self, partitions: usize) {
        let is_half = self.old.bytes >= self.young.bytes;
        self.rotate_halves();
        if is_half {
            return;
        }
        let mut ages: Vec<Version> = self.old.rows().map(|(_, row)| newest(row)).collect();
        if ages.is_empty() {
            return;
        }
        let middle = (ages.len() - 1) / 2;
        let middle = *ages.select_nth_unstable(middle).1;
        let mut older = std::mem::take(&mut self.old);
        let is_newer = |_: &Bytes, row: &mut Row| newest(row) > middle;
        self.young.prefixes = older.prefixes.extract_if(is_newer).collect();
        self.young.tags = older.tags.extract_if(is_newer).collect();
        self.young.weigh(partitions);
        raise(&mut self.floor, older.reached(partitions).into_iter());
    }

    fn pattern(&mut self, bytes: &Bytes) -> Option<&mut Row> {
        let found = self.patterns.iter().position(|(pattern, ..)| pattern == bytes);
        let index = match found {
            Some(index) => index,
            None => {
                // A pattern that cannot be parsed is not from a replica.
                let pattern = Pattern::new(bytes).ok()?;
                if self.patterns.len() >= MAX_PATTERNS {
                    let (_, _, row) = self.patterns.remove(0);
                    raise(&mut self.floor, row.iter().map(LastInvalidation::latest));
                }
                self.patterns.push((bytes.clone(), pattern, Row::default()));
                self.patterns.len() - 1
            }
        };
        Some(&mut self.patterns[index].2)
    }

    /// Makes the young half the old one, and forgets the old one.
    fn rotate_halves(&mut self) {
        let forgotten = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        raise(&mut self.floor, forgotten.latest.iter().copied());
    }

    fn forget(&mut self, partition: usize) {
        let halves = [&mut self.young, &mut self.old].into_iter();
        let rows = halves.flat_map(|rows| rows.prefixes.values_mut().chain(rows.tags.values_mut()));
        let rows = rows.chain(self.patterns.iter_mut().map(|(_, _, row)| row)).chain([&mut self.whole]);
        rows.filter_map(|row| row.get_mut(partition)).for_each(|last| *last = LastInvalidation::default());
        let partitions = self.latest.len();
        [&mut self.young, &mut self.old].into_iter().for_each(|rows| rows.weigh(partitions));
        let positions = [&mut self.floor, &mut self.latest, &mut self.young.latest, &mut self.old.latest];
        positions.into_iter().filter_map(|by| by.get_mut(partition)).for_each(|position| *position = Version::ZERO);
    }

    fn judge(&self, judged: &EntryFacts<'_>) -> Coverage {
        let at = usize::from(judged.partition);
        match self.latest.get(at) {
            Some(latest) if judged.position < *latest => {}
            _ => return Coverage::Clear,
        }
        if judged.position < self.floor[at] {
            return Coverage::Gone;
        }
        let halves = [&self.young, &self.old];
        let below = prefixes(judged.key).flat_map(|prefix| halves.map(|rows| rows.prefixes.get(prefix)));
        let tagged = judged.tags.iter().flat_map(|tag| halves.map(|rows| rows.tags.get(tag)));
        let matched = self.patterns.iter().filter(|(_, pattern, row)| {
            row.get(at).is_some_and(|last| last.latest() > judged.version) && pattern.matches(judged.key)
        });
        let rows = below.chain(tagged).flatten().chain(matched.map(|(_, _, row)| row)).chain([&self.whole]);
        let covers = rows.filter_map(|row| row.get(at)).map(|last| last.covers(judged));
        covers.fold(Coverage::Clear, Coverage::and)
    }
}

impl Table {
    fn cause(&self, judged: &EntryFacts<'_>) -> Option<Selector> {
        let at = usize::from(judged.partition);
        let covers = |row: &Row| row.get(at).is_some_and(|last| last.covers(judged) != Coverage::Clear);
        let halves = [&self.young, &self.old];
        let in_any = |rows: fn(&TableHalf) -> &HashMap<Bytes, Row>, name: &[u8]| {
            halves.iter().any(|half| rows(half).get(name).is_some_and(covers))
        };
        if covers(&self.whole) {
            return Some(Selector::Namespace);
        }
        let prefix = prefixes(judged.key).find(|prefix| in_any(|rows| &rows.prefixes, prefix));
        let prefix = prefix.map(|prefix| Selector::Prefix(Bytes::copy_from_slice(prefix)));
        let tag = || judged.tags.iter().find(|tag| in_any(|rows| &rows.tags, tag)).cloned().map(Selector::Tag);
        let matches = |(_, pattern, row): &&(Bytes, Pattern, Row)| covers(row) && pattern.matches(judged.key);
        let pattern = || self.patterns.iter().find(matches).map(|(bytes, ..)| Selector::Pattern(bytes.clone()));
        prefix.or_else(tag).or_else(pattern)
    }
}

/// Raises each of `positions` to the one of `others`.
fn raise(positions: &mut [Version], others: impl Iterator<Item = Version>) {
    positions.iter_mut().zip(others).for_each(|(position, other)| *position = other.max(*position));
}

/// Returns the last invalidation of a row, in any partition.
fn newest(row: &Row) -> Version {
    row.iter().map(LastInvalidation::latest).max().unwrap_or(Version::ZERO)
}

/// Returns the bytes of a prefix or tag without marks.
fn weight(name: &Bytes, partitions: usize) -> usize {
    let row = partitions * size_of::<LastInvalidation>();
    // The size classes of the allocator lie an eighth apart.
    name.len() + row + row / 8 + ROW_OVERHEAD_BYTES
}

impl TableHalf {
    fn reach(&mut self, partition: usize, version: Version, partitions: usize) {
        if self.latest.is_empty() {
            self.latest = vec![Version::ZERO; partitions].into();
        }
        self.latest[partition] = self.latest[partition].max(version);
    }

    fn len(&self) -> usize {
        self.prefixes.len() + self.tags.len()
    }

    fn of(&self, selector: &Selector) -> Option<&HashMap<Bytes, Row>> {
        match selector {
            Selector::Prefix(_) => Some(&self.prefixes),
            Selector::Tag(_) => Some(&self.tags),
            Selector::Namespace | Selector::Pattern(_) => None,
        }
    }

    /// Returns the row of a prefix or tag. A new one is counted.
    fn row(&mut self, selector: &Selector, partitions: usize) -> Option<&mut Row> {
        let (rows, bytes) = match selector {
            Selector::Prefix(bytes) => (&mut self.prefixes, bytes),
            Selector::Tag(bytes) => (&mut self.tags, bytes),
            Selector::Namespace | Selector::Pattern(_) => return None,
        };
        if !rows.contains_key(bytes) {
            self.bytes += weight(bytes, partitions);
            // A copy, which does not keep the message alive.
            rows.insert(Bytes::copy_from_slice(bytes), Row::default());
        }
        rows.get_mut(bytes)
    }

    fn rows(&self) -> impl Iterator<Item = (&Bytes, &Row)> {
        self.prefixes.iter().chain(&self.tags)
    }

    /// Counts positions and bytes anew.
    fn weigh(&mut self, partitions: usize) {
        let marks = |row: &Row| row.iter().filter(|last| last.marked.is_some()).count();
        self.bytes = self.rows().map(|(name, row)| weight(name, partitions) + marks(row) * MARK_BYTES).sum();
        self.latest = self.reached(partitions).into();
    }

    /// Returns the last invalidation of all rows, by partition.
    fn reached(&self, partitions: usize) -> Vec<Version> {
        let mut reached = vec![Version::ZERO; partitions];
        self.rows().for_each(|(_, row)| raise(&mut reached, row.iter().map(LastInvalidation::latest)));
        reached
    }
}

// === impl LastInvalidation ===

impl LastInvalidation {
    fn latest(&self) -> Version {
        self.marked.as_ref().map_or(self.removed, |mark| mark.version.max(self.removed))
    }

    /// Records an invalidation. Returns false if it was known.
    fn add(&mut self, version: Version, marked_at: Option<Moment>) -> bool {
        let Some(at) = marked_at else {
            let newer = version > self.removed;
            self.removed = version.max(self.removed);
            return newer;
        };
        match &mut self.marked {
            Some(mark) if version <= mark.version => {
                let between = version > mark.before && version < mark.version;
                mark.before = if between { version } else { mark.before };
                between
            }
            marked => {
                let before = marked.as_ref().map_or(Version::ZERO, |mark| mark.version);
                *marked = Some(Box::new(Mark { version, at, before }));
                true
            }
        }
    }

    fn covers(&self, judged: &EntryFacts<'_>) -> Coverage {
        match &self.marked {
            _ if judged.version < self.removed => Coverage::Gone,
            // The time of the first mark is not known: it is not before the entry was known to be
            // current.
            Some(mark) if judged.version < mark.before => Coverage::Marked(judged.known_at.min(mark.at)),
            Some(mark) if judged.version < mark.version => Coverage::Marked(mark.at),
            _ => Coverage::Clear,
        }
    }
}

impl Coverage {
    /// Returns the stronger of both.
    fn and(self, other: Coverage) -> Coverage {
        match (self, other) {
            (Coverage::Gone, _) | (_, Coverage::Gone) => Coverage::Gone,
            (Coverage::Marked(one), Coverage::Marked(other)) => Coverage::Marked(one.min(other)),
            (Coverage::Clear, other) => other,
            (marked, Coverage::Clear) => marked,
        }
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
