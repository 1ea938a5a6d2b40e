//! What was invalidated in a namespace, as memory remembers it: by selector and partition the positions of its last invalidations. Nothing is
//! done to entries; they are judged by it when they are asked for.
//!
//! Memory is bounded, in number for a namespace and in bytes for all of them. What is forgotten leaves a floor: what was known before it has
//! to be asked for again.

use std::collections::HashMap;
use std::mem::size_of;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::log_budget::{Budget, BudgetMember};
use super::pattern::Pattern;
use super::selector::{Selector, prefixes};
use crate::cache::clock::Moment;
use crate::cache::version::Version;

/// Patterns of a namespace that are remembered.
pub const MAX_PATTERNS: usize = 16;

/// What was invalidated in one namespace.
pub struct InvalidationLog {
    /// For each partition, how often what is known of it changed. All that is read when nothing has.
    changes: Box<[AtomicU64]>,
    table: RwLock<Table>,
    /// Most prefixes and tags of a generation.
    limit: usize,
    /// Bytes of the prefixes and tags.
    bytes: AtomicUsize,
    budget: Arc<Budget>,
}

/// What is to be judged: what was written at `version` was known to be current at `position`.
pub struct EntryFacts<'a> {
    /// The partition of the key.
    pub partition: u16,
    /// The key.
    pub key: &'a [u8],
    /// Its tags.
    pub tags: &'a [Bytes],
    /// When it was written.
    pub version: Version,
    /// Up to where it was known not to be invalidated.
    pub position: Version,
    /// When it was known to be current at that position.
    pub known_at: Moment,
}

/// How something is covered by what was invalidated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Not at all.
    Clear,
    /// It is marked stale, since then at the latest.
    Marked(Moment),
    /// It is gone; or it may be, and has to be asked for again.
    Gone,
}

/// One selector in one partition.
#[derive(Clone, Default)]
struct LastInvalidation {
    removed: Version,
    marked: Option<Box<Mark>>,
}

/// The last time that what is selected was marked stale.
#[derive(Clone)]
struct Mark {
    version: Version,
    at: Moment,
    /// The time before that.
    before: Version,
}

/// One selector, by partition.
type Row = Box<[LastInvalidation]>;

/// Bytes of a prefix or tag beside its name and its row: its place in a table, of which as many may be free, and what the allocator adds.
const ROW_OVERHEAD_BYTES: usize = 2 * (size_of::<(Bytes, Row)>() + 1) + 48;
/// Bytes of a mark: on the heap, with what the allocator adds.
const MARK_BYTES: usize = size_of::<Mark>() + 16;

struct Table {
    whole: Row,
    young: TableHalf,
    old: TableHalf,
    patterns: Vec<(Bytes, Pattern, Row)>,
    /// Whatever was known before it has to be asked for again, by partition.
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

// === impl Tombstones ===

impl InvalidationLog {
    /// Nothing was invalidated. `limit` prefixes and tags are remembered at least, twice as many at most.
    /// Their bytes count in `budget`.
    pub fn new(partitions: u16, limit: usize, budget: Arc<Budget>) -> InvalidationLog {
        let changes = (0..partitions).map(|_| AtomicU64::new(0)).collect();
        InvalidationLog { changes, table: RwLock::default(), limit: limit.max(1), bytes: AtomicUsize::new(0), budget }
    }

    /// How often what is known of `partition` changed.
    pub fn changes(&self, partition: u16) -> u64 {
        self.changes[usize::from(partition)].load(Ordering::Acquire)
    }

    /// The last invalidation of any kind in `partition`.
    pub fn latest(&self, partition: u16) -> Version {
        self.read().latest.get(usize::from(partition)).copied().unwrap_or(Version::ZERO)
    }

    /// What `selector` selects in `partition` was removed at `version`; or, at that moment, marked stale.
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

    /// Forgets what is known of `partition`: for a number line that starts over below it.
    pub fn forget(&self, partition: u16) {
        let mut table = self.write();
        table.forget(usize::from(partition));
        self.weigh(&table);
        self.changed(partition);
    }

    /// Whether another pattern can be remembered beside those at work.
    pub fn has_room_for(&self, pattern: &[u8]) -> bool {
        let table = self.read();
        table.patterns.len() < MAX_PATTERNS || table.patterns.iter().any(|(bytes, ..)| bytes == pattern)
    }

    /// The patterns that are remembered, with the positions of their last invalidations by partition.
    pub fn patterns(&self) -> Vec<(Bytes, Vec<Version>)> {
        let table = self.read();
        let positions = |row: &Row| row.iter().map(LastInvalidation::latest).collect();
        table.patterns.iter().map(|(bytes, _, row)| (bytes.clone(), positions(row))).collect()
    }

    /// Nothing that `pattern` selected up to `versions`, by partition, is left.
    pub fn drop_reclaimed(&self, pattern: &[u8], versions: &[Version]) {
        let mut table = self.write();
        table.patterns.retain(|(bytes, _, row)| {
            bytes != pattern || row.iter().zip(versions).any(|(stone, version)| stone.latest() > *version)
        });
    }

    /// How `judged` is covered, and the number of changes that this takes into account.
    pub fn judge(&self, judged: &EntryFacts<'_>) -> (Coverage, u64) {
        let table = self.read();
        // Under the lock, so that it counts exactly what the table has.
        (table.judge(judged), self.changes(judged.partition))
    }

    /// What selects `judged` of what was invalidated since it was written, as far as that is remembered.
    pub fn cause(&self, judged: &EntryFacts<'_>) -> Option<Selector> {
        self.read().cause(judged)
    }

    fn changed(&self, partition: u16) {
        self.changes[usize::from(partition)].fetch_add(1, Ordering::Release);
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BudgetMember for InvalidationLog {
    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Forgets the older half of the prefixes and tags: what was known before the last of them has to be asked for again.
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

    /// The row of `selector`, with room made for it.
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

    /// Forgets the older half of the prefixes and tags: the old generation, if it is that, else the older half of the young one, too.
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
                // One that cannot be read was not made by a replica.
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

    /// The young generation becomes the old one, which is forgotten.
    fn rotate_halves(&mut self) {
        let forgotten = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        raise(&mut self.floor, forgotten.latest.iter().copied());
    }

    fn forget(&mut self, partition: usize) {
        let generations = [&mut self.young, &mut self.old].into_iter();
        let rows = generations.flat_map(|rows| rows.prefixes.values_mut().chain(rows.tags.values_mut()));
        let rows = rows.chain(self.patterns.iter_mut().map(|(_, _, row)| row)).chain([&mut self.whole]);
        rows.filter_map(|row| row.get_mut(partition)).for_each(|stone| *stone = LastInvalidation::default());
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
        let generations = [&self.young, &self.old];
        let below = prefixes(judged.key).flat_map(|prefix| generations.map(|rows| rows.prefixes.get(prefix)));
        let tagged = judged.tags.iter().flat_map(|tag| generations.map(|rows| rows.tags.get(tag)));
        let matched = self.patterns.iter().filter(|(_, pattern, row)| {
            row.get(at).is_some_and(|stone| stone.latest() > judged.version) && pattern.matches(judged.key)
        });
        let rows = below.chain(tagged).flatten().chain(matched.map(|(_, _, row)| row)).chain([&self.whole]);
        let covers = rows.filter_map(|row| row.get(at)).map(|stone| stone.covers(judged));
        covers.fold(Coverage::Clear, Coverage::and)
    }
}

impl Table {
    fn cause(&self, judged: &EntryFacts<'_>) -> Option<Selector> {
        let at = usize::from(judged.partition);
        let covers = |row: &Row| row.get(at).is_some_and(|stone| stone.covers(judged) != Coverage::Clear);
        let generations = [&self.young, &self.old];
        let in_any = |rows: fn(&TableHalf) -> &HashMap<Bytes, Row>, name: &[u8]| {
            generations.iter().any(|generation| rows(generation).get(name).is_some_and(covers))
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

/// The last invalidation of a row, in any partition.
fn newest(row: &Row) -> Version {
    row.iter().map(LastInvalidation::latest).max().unwrap_or(Version::ZERO)
}

/// Bytes of a prefix or tag without marks.
fn weight(name: &Bytes, partitions: usize) -> usize {
    name.len() + partitions * size_of::<LastInvalidation>() + ROW_OVERHEAD_BYTES
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

    /// The row of a prefix or tag, which is counted when it is new.
    fn row(&mut self, selector: &Selector, partitions: usize) -> Option<&mut Row> {
        let (rows, bytes) = match selector {
            Selector::Prefix(bytes) => (&mut self.prefixes, bytes),
            Selector::Tag(bytes) => (&mut self.tags, bytes),
            Selector::Namespace | Selector::Pattern(_) => return None,
        };
        if !rows.contains_key(bytes) {
            self.bytes += weight(bytes, partitions);
            // Not the message that it came with.
            rows.insert(Bytes::copy_from_slice(bytes), Row::default());
        }
        rows.get_mut(bytes)
    }

    fn rows(&self) -> impl Iterator<Item = (&Bytes, &Row)> {
        self.prefixes.iter().chain(&self.tags)
    }

    /// Counts all of it anew, positions and bytes.
    fn weigh(&mut self, partitions: usize) {
        let marks = |row: &Row| row.iter().filter(|stone| stone.marked.is_some()).count();
        self.bytes = self.rows().map(|(name, row)| weight(name, partitions) + marks(row) * MARK_BYTES).sum();
        self.latest = self.reached(partitions).into();
    }

    /// The last invalidation that the rows have, by partition.
    fn reached(&self, partitions: usize) -> Vec<Version> {
        let mut reached = vec![Version::ZERO; partitions];
        self.rows().for_each(|(_, row)| raise(&mut reached, row.iter().map(LastInvalidation::latest)));
        reached
    }
}

// === impl Stone ===

impl LastInvalidation {
    fn latest(&self) -> Version {
        self.marked.as_ref().map_or(self.removed, |mark| mark.version.max(self.removed))
    }

    /// False: that was known.
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
            // Since when it was marked the first time is not known: not before it was known to be current.
            Some(mark) if judged.version < mark.before => Coverage::Marked(judged.known_at.min(mark.at)),
            Some(mark) if judged.version < mark.version => Coverage::Marked(mark.at),
            _ => Coverage::Clear,
        }
    }
}

impl Coverage {
    /// Both.
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
