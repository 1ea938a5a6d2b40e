//! Bytes in Redis and on the bus. Decoding is total: whatever is damaged or foreign is `None`, never a panic.
//!
//! Entry: `T`, format 1, epoch u64, sequence u64, written (Redis's clock, us) u64, time to live (ms) u64, kind u8 (0 value, 1 known absent),
//! content type length u8, content type, value. Message: format 1, kind u8, partition u16, origin u64, ticket u64 (0: nobody waits),
//! epoch u64, sequence u64, published (us) u64, namespace length u8, namespace, then each key with its length u16. Echo: format 1, kind u8,
//! nonce u64, then partition u16, epoch u64 and sequence u64 of each. Confirmation: format 1, kind u8, ticket u64, partition u16,
//! replica u64. All numbers big-endian.

use bytes::{BufMut, Bytes};

use crate::cache::coherence::message::{Change, Echo, Message};
use crate::cache::coherence::version::Version;
use crate::cache::entry::{Content, NewEntry};
use crate::cache::key::Key;

const ENTRY_MAGIC: [u8; 2] = *b"T\x01";
const WIRE_FORMAT: u8 = 1;
const KEYS: u8 = 1;
const NAMESPACE: u8 = 2;
const ECHO: u8 = 3;
const CONFIRMATION: u8 = 4;

/// An entry as Redis holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// The write that made it.
    pub version: Version,
    /// When, by Redis's clock, microseconds.
    pub written_micros: u64,
    /// Time to live when written, milliseconds.
    pub ttl_millis: u64,
    /// What it says.
    pub content: Content,
    /// Content type.
    pub content_type: Box<str>,
}

/// What follows version and time in an entry's header; the script puts those before it, the value after it.
pub fn entry_header(entry: &NewEntry) -> Vec<u8> {
    let mut header = Vec::with_capacity(10 + entry.content_type.len());
    header.put_u64(entry.ttl.as_millis() as u64);
    header.put_u8(u8::from(entry.content == Content::KnownAbsent));
    header.put_u8(entry.content_type.len() as u8);
    header.put_slice(entry.content_type.as_bytes());
    header
}

/// Reads an entry.
pub fn decode_entry(mut bytes: Bytes) -> Option<StoredEntry> {
    let mut reader = Reader(&bytes);
    if reader.take(2)? != ENTRY_MAGIC {
        return None;
    }
    let version = reader.version()?;
    let (written_micros, ttl_millis) = (reader.u64()?, reader.u64()?);
    let kind = reader.u8()?;
    let length = usize::from(reader.u8()?);
    let content_type = std::str::from_utf8(reader.take(length)?).ok()?.into();
    let value = bytes.split_off(bytes.len() - reader.0.len());
    let content = match kind {
        0 => Content::Value(value),
        1 if value.is_empty() => Content::KnownAbsent,
        _ => return None,
    };
    Some(StoredEntry { version, written_micros, ttl_millis, content, content_type })
}

/// Bytes at the start of an entry that [`decode_head`] needs.
pub const HEAD: usize = 26;

/// Reads version and time of writing (microseconds) from the start of an entry.
pub fn decode_head(bytes: &[u8]) -> Option<(Version, u64)> {
    let mut reader = Reader(bytes);
    if reader.take(2)? != ENTRY_MAGIC {
        return None;
    }
    Some((reader.version()?, reader.u64()?))
}

/// A version as a script compares it.
pub fn version_bytes(version: Version) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    bytes.put_u64(version.epoch);
    bytes.put_u64(version.sequence);
    bytes
}

/// Reads a version as a script returned it.
pub fn decode_version(bytes: &[u8]) -> Option<Version> {
    Reader(bytes).version()
}

/// The part of a message before its position.
pub fn message_head(namespace_wide: bool, partition: u16, origin: u64, ticket: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(20);
    head.put_u8(WIRE_FORMAT);
    head.put_u8(if namespace_wide { NAMESPACE } else { KEYS });
    head.put_u16(partition);
    head.put_u64(origin);
    head.put_u64(ticket);
    head
}

/// The part of a message after its position: what changed.
pub fn message_tail<'a>(namespace: &str, keys: impl IntoIterator<Item = &'a Key>) -> Vec<u8> {
    let mut tail = Vec::with_capacity(64);
    tail.put_u8(namespace.len() as u8);
    tail.put_slice(namespace.as_bytes());
    for key in keys {
        tail.put_u16(key.bytes().len() as u16);
        tail.put_slice(key.bytes());
    }
    tail
}

/// The part of an echo before its positions.
pub fn echo_head(nonce: u64) -> Vec<u8> {
    let mut head = vec![WIRE_FORMAT, ECHO];
    head.put_u64(nonce);
    head
}

/// The numbers of partitions, as a script puts them into an echo.
pub fn partition_numbers(partitions: &[u16]) -> Vec<u8> {
    partitions.iter().flat_map(|partition| partition.to_be_bytes()).collect()
}

/// Says that this replica has applied the message of `partition` that carried `ticket`.
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

/// A message as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// What it says.
    pub message: Message,
    /// When, by the clock of its Redis, microseconds.
    pub micros: u64,
    /// The replica that published it.
    pub origin: u64,
    /// Under which its origin waits for confirmations.
    pub ticket: Option<u64>,
}

/// Reads a message.
pub fn decode_message(bytes: &Bytes, own: u64) -> Option<Published> {
    let mut reader = Reader(bytes);
    if reader.u8()? != WIRE_FORMAT {
        return None;
    }
    let kind = reader.u8()?;
    let partition = reader.u16()?;
    let (origin, ticket) = (reader.u64()?, reader.u64()?);
    let version = reader.version()?;
    let micros = reader.u64()?;
    let length = usize::from(reader.u8()?);
    let namespace = bytes.slice_ref(reader.take(length)?);
    let change = match kind {
        KEYS => Change::Keys { namespace, keys: reader.keys(bytes)? },
        NAMESPACE if reader.0.is_empty() => Change::Namespace(namespace),
        _ => return None,
    };
    let message = Message { partition, version, change, own: origin == own };
    Some(Published { message, micros, origin, ticket: (ticket != 0).then_some(ticket) })
}

/// What is meant for one replica only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Private {
    /// The echo of an audit, by its nonce.
    Echo(u64, Echo),
    /// A replica has applied a message.
    Confirmation {
        /// Under which this replica waits.
        ticket: u64,
        /// The partition of the message.
        partition: u16,
        /// The replica that has applied it.
        replica: u64,
    },
}

/// Reads what is meant for one replica only.
pub fn decode_private(bytes: &[u8]) -> Option<Private> {
    let mut reader = Reader(bytes);
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

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    /// Within what Lua's doubles hold exactly: nothing else was written by a script.
    fn version(&mut self) -> Option<Version> {
        let (epoch, sequence) = (self.u64()?, self.u64()?);
        (epoch <= Version::MAX.epoch && sequence <= Version::MAX.sequence).then(|| Version::new(epoch, sequence))
    }

    fn keys(&mut self, bytes: &Bytes) -> Option<Vec<Bytes>> {
        let mut keys = Vec::new();
        while !self.0.is_empty() {
            let length = usize::from(self.u16()?);
            keys.push(bytes.slice_ref(self.take(length)?));
        }
        (!keys.is_empty()).then_some(keys)
    }
}

#[cfg(test)]
mod tests;
