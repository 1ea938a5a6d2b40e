//! Encoding of entries in Redis and of messages on the bus.
//!
//! Decoding is total: `None`, never a panic.
//!
//! Entry: `T`, format 1, epoch u64, sequence u64, written (Redis's clock, us) u64, time to live
//! (ms, 0 no end) u64, stale window (ms) u64, soft time to live (ms, 0 none) u64, time to which
//! reads may extend it (us, 0 none) u64, time when it was marked stale (us, 0 not) u64, version
//! of its source u64, cost (ms) u32, flags u8 (1 known absent, 2 the source has a version),
//! encoding u8 (0 plain, 1 Zstandard, 2 LZ4), plain size u32, size of the tags u16, size of the
//! content type u8, the tags each with its size u8, content type, value.
//!
//! Message: format 1, kind u8, partition u16, origin u64, ticket u64 (0: no barrier), epoch u64,
//! sequence u64, published (us) u64, effect u8, namespace with its size u8, then each key with its
//! size u16 and its tags with theirs u16, or each selector: kind u8, size u16, bytes. Echo: format
//! 1, kind u8, nonce u64, then partition u16, epoch u64 and sequence u64 of each. Confirmation:
//! format 1, kind u8, ticket u64, partition u16, replica u64. All numbers big-endian.

use bytes::{BufMut, Bytes};

use super::compression::is_known;
use super::stored_entry::StoredEntry;
use crate::cache::entry::{Content, NewEntry, Tags};
use crate::cache::invalidation::selector::Selector;
use crate::cache::policy::limits::MAX_CONTENT_TYPE_BYTES;
use crate::cache::tier::bus::{Change, ChangedKey, Covers, Echo, Effect, Message};
use crate::cache::version::Version;

const ENTRY_MAGIC: [u8; 2] = *b"T\x01";
const KNOWN_ABSENT: u8 = 1;
const HAS_SOURCE: u8 = 2;
const WIRE_FORMAT: u8 = 1;
const KEYS: u8 = 1;
const SELECTED: u8 = 2;
const ECHO: u8 = 3;
const CONFIRMATION: u8 = 4;
/// Effects of a message that releases a lease; the second one because the fill failed.
///
/// Such a message has no position of its own.
const RELEASED: u8 = 5;
const FAILED: u8 = 6;

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
    let value = bytes.split_off(bytes.len() - reader.0.len());
    let content = match flags & KNOWN_ABSENT {
        0 if is_known(encoding, value.len(), plain as usize) => Content::Value(value),
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
    })
}

/// The size of an entry's value as it is stored, bytes.
pub fn stored_size(bytes: &[u8]) -> Option<usize> {
    let (tags, content_type) = (bytes.get(84..86)?.try_into().ok()?, usize::from(*bytes.get(86)?));
    let head = HEADER + usize::from(u16::from_be_bytes(tags)) + content_type;
    bytes.len().checked_sub(head).filter(|_| bytes.starts_with(&ENTRY_MAGIC))
}

/// Returns the largest size of an entry that begins with `bytes`: compressed, it is smaller.
pub fn size_in_head(bytes: &[u8]) -> Option<usize> {
    let plain = u32::from_be_bytes(bytes.get(80..84)?.try_into().ok()?) as usize;
    let (tags, content_type) = (bytes.get(84..86)?.try_into().ok()?, usize::from(*bytes.get(86)?));
    let head = HEADER + usize::from(u16::from_be_bytes(tags)) + content_type;
    bytes.starts_with(&ENTRY_MAGIC).then_some(head + plain)
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

fn read_tags(bytes: &Bytes, list: &[u8]) -> Option<Tags> {
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
/// Bytes of an entry before its tags.
const HEADER: usize = 87;

/// Returns the size of the largest entry whose value has at most `value_size` bytes.
pub const fn max_entry_size(value_size: usize) -> usize {
    HEAD + MAX_CONTENT_TYPE_BYTES + value_size
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

/// Encodes a position and a time.
pub fn version_and_time(version: Version, micros: u64) -> Vec<u8> {
    let mut bytes = version_bytes(version);
    bytes.put_u64(micros);
    bytes
}

/// Encodes a version, as scripts compare it.
pub fn version_bytes(version: Version) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    bytes.put_u64(version.epoch);
    bytes.put_u64(version.sequence);
    bytes
}

/// Decodes a version from the reply of a script.
pub fn decode_version(bytes: &[u8]) -> Option<Version> {
    ByteReader(bytes).version()
}

/// Decodes consecutive positions.
pub fn decode_versions(bytes: &[u8]) -> Option<Vec<Version>> {
    bytes.chunks(16).map(decode_version).collect()
}

/// The head of a message: everything before its position.
pub fn message_head(selected: bool, partition: u16, origin: u64, ticket: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(20);
    head.put_u8(WIRE_FORMAT);
    head.put_u8(if selected { SELECTED } else { KEYS });
    head.put_u16(partition);
    head.put_u64(origin);
    head.put_u64(ticket);
    head
}

/// Encodes a namespace, for messages.
pub fn named(namespace: &str) -> Vec<u8> {
    let mut name = vec![namespace.len() as u8];
    name.put_slice(namespace.as_bytes());
    name
}

/// Encodes a key, for messages.
pub fn key_name(key: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(2 + key.len());
    name.put_u16(key.len() as u16);
    name.put_slice(key);
    name
}

/// Encodes selectors, for messages.
pub fn selector_list(selectors: &[Selector]) -> Vec<u8> {
    let mut list = Vec::new();
    for selector in selectors {
        list.put_u8(match selector {
            Selector::Namespace => 0,
            Selector::Prefix(_) => 1,
            Selector::Tag(_) => 2,
            Selector::Pattern(_) => 3,
        });
        list.put_u16(selector.bytes().len() as u16);
        list.put_slice(selector.bytes());
    }
    list
}

/// The head of an echo: everything before its positions.
pub fn echo_head(nonce: u64) -> Vec<u8> {
    let mut head = vec![WIRE_FORMAT, ECHO];
    head.put_u64(nonce);
    head
}

/// Encodes the numbers of partitions, for an echo.
pub fn partition_numbers(partitions: &[u16]) -> Vec<u8> {
    partitions.iter().flat_map(|partition| partition.to_be_bytes()).collect()
}

/// Encodes the confirmation that this replica has applied the message of `partition` with `ticket`.
pub fn confirmation(ticket: u64, partition: u16, replica: u64) -> Vec<u8> {
    let mut confirmation = vec![WIRE_FORMAT, CONFIRMATION];
    confirmation.put_u64(ticket);
    confirmation.put_u16(partition);
    confirmation.put_u64(replica);
    confirmation
}

/// The field of a counter that registers a replica.
pub fn replica_field(replica: u64) -> String {
    format!("r:{replica:016x}")
}

/// The replica that a field of a counter registers.
pub fn registered_replica(field: &str) -> Option<u64> {
    u64::from_str_radix(field.strip_prefix("r:")?, 16).ok()
}

/// A message on the channel of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// A change.
    Change {
        /// The change.
        message: Message,
        /// Time of publishing by the clock of its Redis, microseconds.
        micros: u64,
        /// The replica that published it.
        origin: u64,
        /// The ticket of its origin's barrier, if one waits.
        ticket: Option<u64>,
    },
    /// A released lease.
    Released {
        /// The namespace.
        namespace: Bytes,
        /// The key.
        key: Bytes,
        /// True if the fill failed.
        failed: bool,
    },
}

/// Decodes a message. `own` is this replica.
pub fn decode_message(bytes: &Bytes, own: u64) -> Option<Published> {
    let mut reader = ByteReader(bytes);
    if reader.u8()? != WIRE_FORMAT {
        return None;
    }
    let kind = reader.u8()?;
    let partition = reader.u16()?;
    let (origin, ticket) = (reader.u64()?, reader.u64()?);
    let version = reader.version()?;
    let micros = reader.u64()?;
    let effect = reader.u8()?;
    let failed = effect == FAILED;
    let effect = match effect {
        1 => Some(Effect::Set),
        2 => Some(Effect::Removed),
        3 => Some(Effect::Marked),
        4 => Some(Effect::Shortened),
        RELEASED | FAILED => None,
        _ => return None,
    };
    let length = usize::from(reader.u8()?);
    let namespace = bytes.slice_ref(reader.take(length)?);
    let covers = match kind {
        KEYS => Covers::Keys(reader.keys(bytes)?),
        SELECTED => Covers::Selected(reader.selectors(bytes)?),
        _ => return None,
    };
    match (effect, covers) {
        (Some(effect), covers) => {
            let change = Change { namespace, effect, covers };
            let message = Message { partition, version, change, own: origin == own };
            Some(Published::Change { message, micros, origin, ticket: (ticket != 0).then_some(ticket) })
        }
        (None, Covers::Keys(keys)) => {
            let key = keys.into_iter().next()?.key;
            Some(Published::Released { namespace, key, failed })
        }
        (None, Covers::Selected(_)) => None,
    }
}

/// A message on the channel of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Private {
    /// The echo of an audit, by its nonce.
    Echo(u64, Echo),
    /// A replica has applied a message.
    Confirmation {
        /// The ticket of this replica's barrier.
        ticket: u64,
        /// The partition of the message.
        partition: u16,
        /// The replica that has applied it.
        replica: u64,
    },
}

/// Decodes a message on the channel of one replica.
pub fn decode_private(bytes: &[u8]) -> Option<Private> {
    let mut reader = ByteReader(bytes);
    match (reader.u8()?, reader.u8()?) {
        (WIRE_FORMAT, ECHO) => {
            let nonce = reader.u64()?;
            let mut positions = Vec::with_capacity(reader.0.len() / 18);
            while !reader.0.is_empty() {
                positions.push((reader.u16()?, reader.version()?));
            }
            Some(Private::Echo(nonce, Echo { positions }))
        }
        (WIRE_FORMAT, CONFIRMATION) => {
            let (ticket, partition, replica) = (reader.u64()?, reader.u16()?, reader.u64()?);
            reader.0.is_empty().then_some(Private::Confirmation { ticket, partition, replica })
        }
        _ => None,
    }
}

/// Reads bytes from the front.
pub struct ByteReader<'a>(pub &'a [u8]);

impl<'a> ByteReader<'a> {
    /// Takes `length` bytes.
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// A number of two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A number of eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    /// A version within the range that Lua's doubles hold exactly: scripts write no other.
    pub fn version(&mut self) -> Option<Version> {
        let (epoch, sequence) = (self.u64()?, self.u64()?);
        Version::checked(epoch, sequence)
    }

    fn keys(&mut self, bytes: &Bytes) -> Option<Vec<ChangedKey>> {
        let mut keys = Vec::new();
        while !self.0.is_empty() {
            let length = usize::from(self.u16()?);
            let key = bytes.slice_ref(self.take(length)?);
            let length = usize::from(self.u16()?);
            keys.push(ChangedKey { key, tags: read_tags(bytes, self.take(length)?)? });
        }
        (!keys.is_empty()).then_some(keys)
    }

    fn selectors(&mut self, bytes: &Bytes) -> Option<Vec<Selector>> {
        let mut selectors = Vec::new();
        while !self.0.is_empty() {
            let kind = self.u8()?;
            let length = usize::from(self.u16()?);
            let name = bytes.slice_ref(self.take(length)?);
            selectors.push(match kind {
                0 if name.is_empty() => Selector::Namespace,
                1 => Selector::Prefix(name),
                2 => Selector::Tag(name),
                3 => Selector::Pattern(name),
                _ => return None,
            });
        }
        (!selectors.is_empty()).then_some(selectors)
    }
}

#[cfg(test)]
#[path = "format_1_tests.rs"]
mod format_one;
#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
