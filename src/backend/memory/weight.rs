//! Weight of an entry: the bytes that it costs the process, with what the allocator rounds up.

use super::shard::Slot;
use crate::cache::entry::{CachedEntry, Content, Details};

/// Two reference counts before the content of an `Arc`.
const ARC: usize = 2 * size_of::<usize>();
/// Bytes that a value or tag costs once it has been answered: its shared reference count.
const SHARED: usize = 32;
/// A tag in the list of tags.
const TAG: usize = size_of::<bytes::Bytes>();
/// A slot with its control byte, in a table that is two thirds full: between two doublings a table
/// is 7/16 to 7/8 full.
const SLOT: usize = (size_of::<Slot>() + 1) * 3 / 2;
/// Bytes that the blocks of an entry leave unused in the allocator's pages: measured, see
/// `an_entry_costs_its_counted_weight`.
const PAGES: usize = 32;
/// A hash in the list of its namespace, which may be a third full.
const LISTED: usize = 3 * size_of::<u32>();

/// Bytes that every entry costs beyond its key, value, content type and details.
pub const OVERHEAD: usize = SLOT + LISTED + PAGES + allocated(ARC + size_of::<CachedEntry>());

/// Returns the bytes that an entry of `key` costs.
pub fn weight(key: &[u8], held: &CachedEntry) -> u64 {
    let entry = &held.entry;
    let value = match &entry.content {
        Content::Value(value) if !value.is_empty() => allocated(value.len()) + SHARED,
        Content::Value(_) | Content::KnownAbsent => 0,
    };
    let details = if entry.details.is_empty() { 0 } else { allocated(size_of::<Details>()) + tags(entry) };
    (OVERHEAD + allocated(ARC + key.len()) + value + allocated(entry.content_type.len()) + details) as u64
}

fn tags(details: &Details) -> usize {
    let tags = details.tags.as_slice();
    let list = if tags.is_empty() { 0 } else { allocated(ARC + tags.len() * TAG) };
    list + tags.iter().map(|tag| allocated(tag.len())).sum::<usize>()
}

/// Returns the bytes of a block of the allocator for `size` bytes: mimalloc has classes in steps of
/// 16 up to 128, and four classes from each power of two to the next.
const fn allocated(size: usize) -> usize {
    let step = match size {
        0..=128 => 16,
        _ => size.next_power_of_two() / 8,
    };
    size.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_to_the_classes_of_the_allocator() {
        let sizes = [0, 1, 16, 17, 100, 128, 129, 161, 256, 257, 4096, 4097, 65_536, 65_537];
        let classes = [0, 16, 16, 32, 112, 128, 160, 192, 256, 320, 4096, 5120, 65_536, 81_920];
        assert_eq!(sizes.map(allocated), classes);
    }
}
