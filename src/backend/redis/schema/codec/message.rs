//! Encoding of messages on the bus.

use bytes::{BufMut, Bytes};

use super::byte_reader::ByteReader;
use super::entry::read_tags;
use crate::cache::invalidation::selector::Selector;
use crate::cache::tier::bus::{Change, ChangedKey, Covers, Echo, Effect, Message};

const WIRE_FORMAT: u8 = 1;
const KEYS: u8 = 1;
const SELECTED: u8 = 2;
const ECHO: u8 = 3;
const CONFIRMATION: u8 = 4;
/// Effect of a message of writes.
const SET: u8 = 1;
/// Effects of a message that releases a lease; the second one because the fill failed.
///
/// Such a message has no position of its own.
pub(super) const RELEASED: u8 = 5;
pub(super) const FAILED: u8 = 6;

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

/// The message of writes after its position and time, up to their keys.
pub fn set_effect(namespace: &str) -> Vec<u8> {
    let mut message = vec![SET, namespace.len() as u8];
    message.put_slice(namespace.as_bytes());
    message
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
        SET => Some(Effect::Set),
        2 => Some(Effect::Removed),
        3 => Some(Effect::Marked),
        4 => Some(Effect::Shortened),
        RELEASED | FAILED => None,
        _ => return None,
    };
    let length = usize::from(reader.u8()?);
    let namespace = bytes.slice_ref(reader.take(length)?);
    let covers = match kind {
        KEYS => Covers::Keys(read_keys(&mut reader, bytes)?),
        SELECTED => Covers::Selected(read_selectors(&mut reader, bytes)?),
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

/// Reads keys with their tags, up to the end.
fn read_keys(reader: &mut ByteReader<'_>, bytes: &Bytes) -> Option<Vec<ChangedKey>> {
    let mut keys = Vec::new();
    while !reader.0.is_empty() {
        let length = usize::from(reader.u16()?);
        let key = bytes.slice_ref(reader.take(length)?);
        let length = usize::from(reader.u16()?);
        keys.push(ChangedKey { key, tags: read_tags(bytes, reader.take(length)?)? });
    }
    (!keys.is_empty()).then_some(keys)
}

/// Reads selectors, up to the end.
fn read_selectors(reader: &mut ByteReader<'_>, bytes: &Bytes) -> Option<Vec<Selector>> {
    let mut selectors = Vec::new();
    while !reader.0.is_empty() {
        let kind = reader.u8()?;
        let length = usize::from(reader.u16()?);
        let name = bytes.slice_ref(reader.take(length)?);
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
