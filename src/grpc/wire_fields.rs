//! Writes fields of responses as prost encodes them, without building the generated messages.

use std::time::Duration;

use bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::convert::{stale_reason, tier_of};
use crate::cache::clock::Moment;
use crate::cache::entry::CachedEntry;
use crate::cache::tiered::{Stale, Tier};
use crate::cache::version::Version;

/// Most bytes of an `EntryInfo` without tags: a version, three durations, and five small fields.
pub(super) const MAX_INFO_BYTES: usize = 160;
/// Most bytes of a token of one position. A version and a `Stale` are shorter.
pub(super) const MAX_TOKEN_BYTES: usize = 64;

/// How an entry was found.
#[derive(Clone, Copy)]
pub(super) struct HitContext {
    pub tier: Tier,
    pub stale: Option<Stale>,
    pub at: Moment,
}

/// Writes the fields of an `EntryInfo` without tags.
pub(super) fn put_entry_info(held: &CachedEntry, found: HitContext, to: &mut impl BufMut) {
    let (entry, HitContext { tier, stale, at }) = (&held.entry, found);
    let mut space = [0; MAX_TOKEN_BYTES];
    put_bytes(1, written(&mut space, |to| put_version(entry.version, to)), to);
    put_duration(2, at.since(entry.written_at), to);
    if entry.expires_at != Moment::FOREVER {
        put_duration(3, entry.expires_at.since(at), to);
    }
    put_number(4, tier_of(tier) as u64, to);
    if let Some(Stale { reason, staleness }) = stale {
        let stale = written(&mut space, |to| {
            put_number(1, stale_reason(reason) as u64, to);
            put_duration(2, staleness, to);
        });
        put_bytes(5, stale, to);
    }
    if at >= entry.due_at {
        put_number(6, 1, to);
    }
    if let Some(source_version) = entry.source_version {
        put_number(7, source_version, to);
    }
}

/// Writes the tags of an `EntryInfo`.
pub(super) fn put_tags(held: &CachedEntry, to: &mut impl BufMut) {
    held.entry.tags.iter().for_each(|tag| put_bytes(8, String::from_utf8_lossy(tag).as_bytes(), to));
}

/// Returns the part of `space` that `write` fills.
pub(super) fn written(space: &mut [u8], write: impl FnOnce(&mut &mut [u8])) -> &[u8] {
    let (capacity, mut rest) = (space.len(), &mut *space);
    write(&mut rest);
    let unused = rest.len();
    &space[..capacity - unused]
}

/// Writes a field that has a length.
pub(super) fn put_bytes(field: u32, bytes: &[u8], to: &mut impl BufMut) {
    put_head(field, bytes.len(), to);
    to.put_slice(bytes);
}

/// Writes the number and the length of a field.
pub(super) fn put_head(field: u32, length: usize, to: &mut impl BufMut) {
    encode_key(field, WireType::LengthDelimited, to);
    encode_varint(length as u64, to);
}

/// Writes a number.
pub(super) fn put_number(field: u32, number: u64, to: &mut impl BufMut) {
    encode_key(field, WireType::Varint, to);
    encode_varint(number, to);
}

/// Writes a version as its text.
pub(super) fn put_version(version: Version, to: &mut impl BufMut) {
    version.spell(|part| to.put_slice(part.as_bytes()));
}

/// Returns the size of a number of a field below 16 and of its value or length.
pub(super) fn head_size(number: usize) -> usize {
    1 + encoded_len_varint(number as u64)
}

/// Returns the size of a field below 16 with so many bytes.
pub(super) fn field_size(length: usize) -> usize {
    head_size(length) + length
}

/// Writes a `google.protobuf.Duration`, which is present also if it is zero.
fn put_duration(field: u32, duration: Duration, to: &mut impl BufMut) {
    let numbers = [duration.as_secs(), duration.subsec_nanos().into()];
    let size = |number: &u64| if *number == 0 { 0 } else { 1 + encoded_len_varint(*number) };
    put_head(field, numbers.iter().map(size).sum(), to);
    for (number, field) in numbers.into_iter().zip(1..).filter(|(number, _)| *number != 0) {
        put_number(field, number, to);
    }
}
