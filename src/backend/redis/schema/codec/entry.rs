//! Encoding of entries, and of leases.

use bytes::{BufMut, Bytes};

use super::byte_reader::ByteReader;
use super::entry_layout::{
    COMPRESSION, ENCRYPTED, ENVELOPE_SIZE, EXTENDED, HEADER, MAX_PROTECTION_SIZE, SEAL_SIZE, SIGNED, WRITTEN_BY_SCRIPT,
};
use crate::backend::redis::schema::compression::is_known;
use crate::backend::redis::schema::stored_entry::{SignedBytes, StoredEntry};
use crate::cache::entry::{Content, NewEntry, Tags};
use crate::cache::policy::limits::MAX_CONTENT_TYPE_BYTES;
use crate::cache::version::Version;

/// The first bytes of an entry.
pub const ENTRY_MAGIC: [u8; 2] = *b"T\x01";
const KNOWN_ABSENT: u8 = 1;
const HAS_SOURCE: u8 = 2;
/// The header of an entry after version and time.
///
/// The script puts those before it, and the value, encoded as `encoding` says, after it.
pub fn entry_header(entry: &NewEntry, encoding: u8) -> Vec<u8> {
    let millis = |duration: std::time::Duration| duration.as_millis() as u64;
    let tags: usize = entry.tags.iter().map(|tag| 1 + tag.len()).sum();
    let mut header = Vec::with_capacity(61 + tags + entry.content_type.len());
    header.put_u64(entry.lifetime.ttl.map_or(0, |ttl| millis(ttl).max(1)));
    header.put_u64(millis(entry.lifetime.stale_window));
    header.put_u64(entry.lifetime.soft_ttl.map_or(0, millis));
    header.put_bytes(0, 16);
    header.put_u64(entry.source_version.unwrap_or(0));
    header.put_u32(0);
    let absent = if entry.content == Content::KnownAbsent { KNOWN_ABSENT } else { 0 };
    header.put_u8(absent | if entry.source_version.is_some() { HAS_SOURCE } else { 0 });
    header.put_u8(encoding);
    header.put_u32(entry.content.len() as u32);
    header.put_u16(tags as u16);
    header.put_u8(entry.content_type.len() as u8);
    header.put_slice(&tag_list(&entry.tags));
    header.put_slice(entry.content_type.as_bytes());
    header
}

/// Decodes an entry. `None` if it is damaged or foreign.
///
/// A seal is not verified, and a value not decrypted.
pub fn decode_entry(mut bytes: Bytes) -> Option<StoredEntry> {
    let mut reader = ByteReader(&bytes);
    if reader.take(2)? != ENTRY_MAGIC {
        return None;
    }
    let version = reader.version()?;
    let (written_micros, ttl_millis, window_millis) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let (soft_millis, slide_micros, marked_micros) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let (source, cost_millis) = (reader.u64()?, reader.u32()?);
    let (flags, encoding, plain) = (reader.u8()?, reader.u8()?, reader.u32()?);
    let (tags, content_type) = (usize::from(reader.u16()?), usize::from(reader.u8()?));
    let tags = read_tags(&bytes, reader.take(tags)?)?;
    let content_type = std::str::from_utf8(reader.take(content_type)?).ok()?.into();
    let header_size = bytes.len() - reader.0.len();
    let (seals, encoding) = (encoding & (SIGNED | EXTENDED), encoding & !(SIGNED | EXTENDED));
    let signed = (seals != 0).then(|| SignedBytes {
        bytes: bytes.slice(WRITTEN_BY_SCRIPT..),
        header_size: header_size - WRITTEN_BY_SCRIPT,
        is_extended: seals & EXTENDED != 0,
    });
    let mut value = bytes.split_off(header_size);
    value.truncate(value.len().checked_sub(size_of_seals(seals)?)?);
    let content = match flags & KNOWN_ABSENT {
        0 if is_possible(encoding, value.len(), plain as usize) => Content::Value(value),
        KNOWN_ABSENT if encoding == 0 && value.is_empty() => Content::KnownAbsent,
        _ => return None,
    };
    let source_version = (flags & HAS_SOURCE != 0).then_some(source);
    Some(StoredEntry {
        version,
        written_micros,
        ttl_millis,
        window_millis,
        soft_millis,
        slide_micros,
        marked_micros,
        source_version,
        cost_millis,
        content,
        encoding,
        plain_size: plain as usize,
        content_type,
        tags,
        signed,
        latest_end_micros: None,
    })
}

/// The size of the seals at the end of an entry. `None` if there cannot be such.
fn size_of_seals(seals: u8) -> Option<usize> {
    match seals {
        0 => Some(0),
        SIGNED => Some(SEAL_SIZE),
        EXTENDED => None,
        _ => Some(2 * SEAL_SIZE),
    }
}

/// Returns true if `stored` bytes of this encoding may be a value of `plain` bytes.
fn is_possible(encoding: u8, stored: usize, plain: usize) -> bool {
    if encoding & ENCRYPTED == 0 {
        return is_known(encoding, stored, plain);
    }
    encoding & !(ENCRYPTED | COMPRESSION) == 0
        && stored.checked_sub(ENVELOPE_SIZE).is_some_and(|stored| is_known(encoding & COMPRESSION, stored, plain))
}

/// The size of an entry's value as it is stored, bytes.
pub fn stored_size(bytes: &[u8]) -> Option<usize> {
    let (tags, content_type) = (bytes.get(84..86)?.try_into().ok()?, usize::from(*bytes.get(86)?));
    let head = HEADER + usize::from(u16::from_be_bytes(tags)) + content_type;
    bytes.len().checked_sub(head).filter(|_| bytes.starts_with(&ENTRY_MAGIC))
}

/// Returns the largest size of an entry that begins with `bytes`: compressed, it is smaller, and it
/// may lack seals.
pub fn size_in_head(bytes: &[u8]) -> Option<usize> {
    let plain = u32::from_be_bytes(bytes.get(80..84)?.try_into().ok()?) as usize;
    let (tags, content_type) = (bytes.get(84..86)?.try_into().ok()?, usize::from(*bytes.get(86)?));
    let head = HEADER + usize::from(u16::from_be_bytes(tags)) + content_type;
    let is_protected = bytes.get(79).is_some_and(|encoding| encoding & !COMPRESSION != 0);
    let protection = if is_protected { MAX_PROTECTION_SIZE } else { 0 };
    bytes.starts_with(&ENTRY_MAGIC).then_some(head + plain + protection)
}

/// The part of an entry's head that shows its end.
#[derive(Clone, Copy, Debug)]
pub struct HeadLife {
    /// Time of writing by Redis's clock, microseconds.
    pub written_micros: u64,
    /// Time to live, milliseconds; 0: no end.
    pub ttl_millis: u64,
    /// Stale window, milliseconds.
    pub window_millis: u64,
    /// Time until which reads may extend it, microseconds; 0: not sliding.
    pub slide_micros: u64,
    /// Time of marking, microseconds; 0: not marked.
    pub marked_micros: u64,
}

/// Decodes the life of an entry that begins with `bytes`.
pub fn life_in_head(bytes: &[u8]) -> Option<HeadLife> {
    let mut reader = ByteReader(bytes.get(..HEADER)?.strip_prefix(&ENTRY_MAGIC)?);
    reader.take(16)?;
    let (written_micros, ttl_millis, window_millis) = (reader.u64()?, reader.u64()?, reader.u64()?);
    reader.take(8)?;
    Some(HeadLife {
        written_micros,
        ttl_millis,
        window_millis,
        slide_micros: reader.u64()?,
        marked_micros: reader.u64()?,
    })
}

/// Bytes of a lease.
pub const LEASE_SIZE: usize = 40;

/// Decodes position and time (microseconds) at which a lease was granted.
///
/// `None` if the lease is held by no caller.
pub fn decode_lease(bytes: &[u8]) -> Option<(Version, u64)> {
    let mut reader = ByteReader(bytes);
    let id = reader.take(16)?;
    let granted = (reader.version()?, reader.u64()?);
    (reader.0.is_empty() && id != [0; 16]).then_some(granted)
}

/// Encodes tags, for a header or a message.
pub fn tag_list(tags: &Tags) -> Vec<u8> {
    let mut list = Vec::new();
    for tag in tags.iter() {
        list.put_u8(tag.len() as u8);
        list.put_slice(tag);
    }
    list
}

/// Decodes tags. They stay slices of `bytes`, of which `list` is a part.
pub fn read_tags(bytes: &Bytes, list: &[u8]) -> Option<Tags> {
    let (mut reader, mut tags) = (ByteReader(list), Vec::new());
    while !reader.0.is_empty() {
        let length = usize::from(reader.u8()?);
        let tag = bytes.slice_ref(reader.take(length)?);
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Some(Tags::new(tags))
}

/// Bytes at the start of an entry that [`decode_head`] needs: the head, and the largest number of
/// tags.
pub const HEAD: usize = HEADER + 64 * 256;
/// Returns the size of the largest entry whose value has at most `value_size` bytes.
pub const fn max_entry_size(value_size: usize) -> usize {
    HEAD + MAX_CONTENT_TYPE_BYTES + value_size + MAX_PROTECTION_SIZE
}

/// Decodes version, time of writing (microseconds) and tags from the start of an entry.
pub fn decode_head(bytes: &Bytes) -> Option<(Version, u64, Tags)> {
    let mut reader = ByteReader(bytes);
    if reader.take(2)? != ENTRY_MAGIC {
        return None;
    }
    let (version, written_micros) = (reader.version()?, reader.u64()?);
    let (header, list) = bytes.split_at_checked(HEADER)?;
    let tags = u16::from_be_bytes(header[HEADER - 3..HEADER - 1].try_into().ok()?);
    Some((version, written_micros, read_tags(bytes, list.get(..usize::from(tags))?)?))
}
