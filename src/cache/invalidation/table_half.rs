//! Half of an invalidation log's table: prefixes and tags of one age, with their bytes.

use std::collections::HashMap;
use std::mem::size_of;

use bytes::Bytes;

use super::coverage::{LastInvalidation, Mark};
use super::selector::Selector;
use crate::cache::version::Version;

/// Last invalidations of one selector, by partition.
pub(super) type Row = Box<[LastInvalidation]>;

/// Bytes of a prefix or tag beside its name and row: its place in a hash table, which may be half
/// empty, and the overhead of the allocator.
pub(super) const ROW_OVERHEAD_BYTES: usize = 2 * (size_of::<(Bytes, Row)>() + 1) + 48;
/// Bytes of a mark: on the heap, with the overhead of the allocator.
pub(super) const MARK_BYTES: usize = size_of::<Mark>() + 16;

#[derive(Default)]
pub(super) struct TableHalf {
    pub(super) prefixes: HashMap<Bytes, Row>,
    pub(super) tags: HashMap<Bytes, Row>,
    pub(super) latest: Box<[Version]>,
    /// Bytes of the prefixes and tags.
    pub(super) bytes: usize,
}

// === impl TableHalf ===

impl TableHalf {
    pub(super) fn reach(&mut self, partition: usize, version: Version, partitions: usize) {
        if self.latest.is_empty() {
            self.latest = vec![Version::ZERO; partitions].into();
        }
        self.latest[partition] = self.latest[partition].max(version);
    }

    pub(super) fn len(&self) -> usize {
        self.prefixes.len() + self.tags.len()
    }

    pub(super) fn of(&self, selector: &Selector) -> Option<&HashMap<Bytes, Row>> {
        match selector {
            Selector::Prefix(_) => Some(&self.prefixes),
            Selector::Tag(_) => Some(&self.tags),
            Selector::Namespace | Selector::Pattern(_) => None,
        }
    }

    /// Returns the row of a prefix or tag. A new one is counted.
    pub(super) fn row(&mut self, selector: &Selector, partitions: usize) -> Option<&mut Row> {
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

    pub(super) fn rows(&self) -> impl Iterator<Item = (&Bytes, &Row)> {
        self.prefixes.iter().chain(&self.tags)
    }

    /// Counts positions and bytes anew.
    pub(super) fn weigh(&mut self, partitions: usize) {
        let marks = |row: &Row| row.iter().filter(|last| last.marked.is_some()).count();
        self.bytes = self.rows().map(|(name, row)| weight(name, partitions) + marks(row) * MARK_BYTES).sum();
        self.latest = self.reached(partitions).into();
    }

    /// Returns the last invalidation of all rows, by partition.
    pub(super) fn reached(&self, partitions: usize) -> Vec<Version> {
        let mut reached = vec![Version::ZERO; partitions];
        self.rows().for_each(|(_, row)| raise(&mut reached, row.iter().map(LastInvalidation::latest)));
        reached
    }
}

/// Raises each of `positions` to the one of `others`.
pub(super) fn raise(positions: &mut [Version], others: impl Iterator<Item = Version>) {
    positions.iter_mut().zip(others).for_each(|(position, other)| *position = other.max(*position));
}

/// Returns the last invalidation of a row, in any partition.
pub(super) fn newest(row: &Row) -> Version {
    row.iter().map(LastInvalidation::latest).max().unwrap_or(Version::ZERO)
}

/// Returns the bytes of a prefix or tag without marks.
pub(super) fn weight(name: &Bytes, partitions: usize) -> usize {
    let row = partitions * size_of::<LastInvalidation>();
    // The size classes of the allocator lie an eighth apart.
    name.len() + row + row / 8 + ROW_OVERHEAD_BYTES
}
