//! Table of an invalidation log: the last invalidations of each selector, by partition.

use std::collections::HashMap;

use bytes::Bytes;

use super::coverage::{Coverage, EntryFacts, LastInvalidation};
use super::pattern::Pattern;
use super::selector::{Selector, prefixes};
use super::table_half::{Row, TableHalf, newest, raise};
use crate::cache::version::Version;

/// Most patterns that the log of a namespace keeps.
pub const MAX_PATTERNS: usize = 16;

pub(super) struct Table {
    pub(super) whole: Row,
    pub(super) young: TableHalf,
    pub(super) old: TableHalf,
    pub(super) patterns: Vec<(Bytes, Pattern, Row)>,
    /// Positions by partition; entries known before them have to be fetched again.
    pub(super) floor: Box<[Version]>,
    /// The last invalidation of any kind, by partition.
    pub(super) latest: Box<[Version]>,
    /// Number of times that an old half with content was dropped for a further selector.
    pub(super) rotations: u64,
}

// === impl Table ===

impl Default for Table {
    fn default() -> Self {
        let (whole, floor, latest) = Default::default();
        Table {
            whole,
            young: TableHalf::default(),
            old: TableHalf::default(),
            patterns: Vec::new(),
            floor,
            latest,
            rotations: 0,
        }
    }
}

impl Table {
    pub(super) fn allocate(&mut self, partitions: usize) {
        if self.latest.is_empty() {
            self.floor = vec![Version::ZERO; partitions].into();
            self.latest = vec![Version::ZERO; partitions].into();
        }
    }

    /// Returns the row of `selector`, with room made for it.
    pub(super) fn row(&mut self, selector: &Selector, partitions: usize, limit: usize) -> Option<&mut Row> {
        let empty = || vec![LastInvalidation::default(); partitions].into_boxed_slice();
        let row = match selector {
            Selector::Namespace => &mut self.whole,
            Selector::Pattern(bytes) => self.pattern(bytes)?,
            Selector::Prefix(bytes) | Selector::Tag(bytes) => {
                let known = self.young.of(selector).is_some_and(|rows| rows.contains_key(bytes));
                if !known && self.young.len() >= limit {
                    self.rotations += u64::from(self.old.len() > 0);
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
    pub(super) fn halve(&mut self, partitions: usize) {
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

    pub(super) fn forget(&mut self, partition: usize) {
        let halves = [&mut self.young, &mut self.old].into_iter();
        let rows = halves.flat_map(|rows| rows.prefixes.values_mut().chain(rows.tags.values_mut()));
        let rows = rows.chain(self.patterns.iter_mut().map(|(_, _, row)| row)).chain([&mut self.whole]);
        rows.filter_map(|row| row.get_mut(partition)).for_each(|last| *last = LastInvalidation::default());
        let partitions = self.latest.len();
        [&mut self.young, &mut self.old].into_iter().for_each(|rows| rows.weigh(partitions));
        let positions = [&mut self.floor, &mut self.latest, &mut self.young.latest, &mut self.old.latest];
        positions.into_iter().filter_map(|by| by.get_mut(partition)).for_each(|position| *position = Version::ZERO);
    }

    pub(super) fn judge(&self, judged: &EntryFacts<'_>) -> Coverage {
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

    pub(super) fn cause(&self, judged: &EntryFacts<'_>) -> Option<Selector> {
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
