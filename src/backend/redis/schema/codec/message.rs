//! Encoding of messages on the bus.

use bytes::{BufMut, Bytes};

use super::byte_reader::ByteReader;
use super::entry::read_tags;
use super::entry_layout::{KEY_ID_SIZE, MAC_SIZE};
use crate::backend::redis::schema::crypto::{KeyId, MessageFields, Protection, Refusal};
use crate::cache::invalidation::selector::Selector;
use crate::cache::tier::bus::{Change, ChangedKey, Covers, Echo, Effect, Message};

/// Format of messages without MACs.
pub(super) const WIRE_FORMAT: u8 = 1;
/// Format of signed messages.
pub(super) const SIGNED_FORMAT: u8 = 2;
pub(super) const KEYS: u8 = 1;
pub(super) const SELECTED: u8 = 2;
const ECHO: u8 = 3;
const CONFIRMATION: u8 = 4;
/// Effect of a message of writes.
pub const SET: u8 = 1;
/// Effect of a message of removals.
pub const REMOVED: u8 = 2;
/// Effect of a message of entries that were marked stale.
pub const MARKED: u8 = 3;
/// Effect of a message of an entry whose life was shortened.
pub const SHORTENED: u8 = 4;
/// Effects of a message that releases a lease; the second one because the fill failed.
///
/// Such a message has no position of its own.
pub const RELEASED: u8 = 5;
/// See [`RELEASED`].
pub const FAILED: u8 = 6;

/// Encodes a namespace, for messages.
pub fn named(namespace: &str) -> Vec<u8> {
    let mut name = vec![namespace.len() as u8];
    name.put_slice(namespace.as_bytes());
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

/// The head of an echo: everything before its positions. With keys for MACs it has a proof, which
/// cannot be guessed.
pub fn echo_head(nonce: u64, protection: &Protection) -> Vec<u8> {
    let mut head = vec![if protection.signs() { SIGNED_FORMAT } else { WIRE_FORMAT }, ECHO];
    head.put_u64(nonce);
    if protection.signs() {
        head.put_slice(&protection.echo_proof(nonce));
    }
    head
}

/// Encodes the numbers of partitions, for an echo.
pub fn partition_numbers(partitions: &[u16]) -> Vec<u8> {
    partitions.iter().flat_map(|partition| partition.to_be_bytes()).collect()
}

/// Encodes the confirmation to `origin` that this replica has applied the message of `partition`
/// with `ticket`.
pub fn confirmation(ticket: u64, partition: u16, replica: u64, origin: u64, protection: &Protection) -> Vec<u8> {
    let mut confirmation = vec![if protection.signs() { SIGNED_FORMAT } else { WIRE_FORMAT }, CONFIRMATION];
    confirmation.put_u64(ticket);
    confirmation.put_u16(partition);
    confirmation.put_u64(replica);
    protection.seal_confirmation(origin, &mut confirmation);
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

/// The receiver of a message.
#[derive(Clone, Copy)]
pub struct Receiver<'a> {
    /// This replica.
    pub replica: u64,
    /// The keys that verify messages.
    pub protection: &'a Protection,
    /// The earliest time that Redis's clock may show, microseconds, if it is known.
    pub now_micros: Option<u64>,
}

/// The signature of a message, apart from the MACs of its keys.
struct Signature<'a> {
    key_id: KeyId,
    void_after: u64,
    /// The MAC of the selectors.
    selectors_mac: &'a [u8],
}

/// Decodes a message, and verifies it.
pub fn decode_message(bytes: &Bytes, receiver: Receiver<'_>) -> Result<Published, Refusal> {
    let (published, is_signed) = decode_and_verify(bytes, receiver).ok_or(Refusal::Damaged)??;
    if !is_signed && receiver.protection.requires_mac() { Err(Refusal::Unsigned) } else { Ok(published) }
}

/// Returns the message, and true if it is signed. `None` if its form is another one.
fn decode_and_verify(bytes: &Bytes, receiver: Receiver<'_>) -> Option<Result<(Published, bool), Refusal>> {
    let mut reader = ByteReader(bytes);
    let is_signed = match reader.u8()? {
        WIRE_FORMAT => false,
        SIGNED_FORMAT => true,
        _ => return None,
    };
    let kind = reader.u8()?;
    let partition = reader.u16()?;
    let (origin, ticket) = (reader.u64()?, reader.u64()?);
    let signature = if is_signed { Some(read_signature(&mut reader, kind)?) } else { None };
    let version = reader.version()?;
    let micros = reader.u64()?;
    let number = reader.u8()?;
    let effect = match number {
        SET => Some(Effect::Set),
        REMOVED => Some(Effect::Removed),
        MARKED => Some(Effect::Marked),
        SHORTENED => Some(Effect::Shortened),
        RELEASED | FAILED => None,
        _ => return None,
    };
    let length = usize::from(reader.u8()?);
    let namespace = bytes.slice_ref(reader.take(length)?);
    let (protection, void_after) = (receiver.protection, signature.as_ref().map_or(0, |signed| signed.void_after));
    let fields = MessageFields { partition, origin, ticket, void_after, effect: number, namespace: &namespace };
    let mut verified = match &signature {
        Some(signed) if protection.verifies() => check_age(signed, micros, receiver.now_micros),
        _ => Ok(()),
    };
    let covers = match kind {
        KEYS => Covers::Keys(read_keys(&mut reader, bytes, is_signed, |key, mac| {
            if let (Some(signed), Ok(())) = (&signature, verified) {
                verified = protection.verify_key(signed.key_id, &fields, key, mac);
            }
        })?),
        SELECTED => {
            if let (Some(signed), Ok(())) = (&signature, verified) {
                verified = protection.verify_selectors(signed.key_id, &fields, reader.0, signed.selectors_mac);
            }
            Covers::Selected(read_selectors(&mut reader, bytes)?)
        }
        _ => return None,
    };
    let published = match (effect, covers) {
        (Some(effect), covers) => {
            let change = Change { namespace, effect, covers };
            let message = Message { partition, version, change, own: origin == receiver.replica };
            Published::Change { message, micros, origin, ticket: (ticket != 0).then_some(ticket) }
        }
        (None, Covers::Keys(keys)) => {
            let key = keys.into_iter().next()?.key;
            Published::Released { namespace, key, failed: number == FAILED }
        }
        (None, Covers::Selected(_)) => return None,
    };
    Some(verified.map(|()| (published, is_signed)))
}

fn read_signature<'a>(reader: &mut ByteReader<'a>, kind: u8) -> Option<Signature<'a>> {
    let key_id = reader.take(KEY_ID_SIZE)?.try_into().ok()?;
    let void_after = reader.u64()?;
    let selectors_mac = if kind == SELECTED { reader.take(MAC_SIZE)? } else { &[] };
    Some(Signature { key_id, void_after, selectors_mac })
}

/// Refuses a message that is void, or says that it was published when it was.
fn check_age(signed: &Signature<'_>, published: u64, now_micros: Option<u64>) -> Result<(), Refusal> {
    let is_void = published > signed.void_after || now_micros.is_some_and(|now| now > signed.void_after);
    if is_void { Err(Refusal::Expired) } else { Ok(()) }
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

/// Decodes a message on the channel of the receiver, and verifies it.
pub fn decode_private(bytes: &[u8], receiver: Receiver<'_>) -> Result<Private, Refusal> {
    let protection = receiver.protection;
    let (private, is_signed) = read_private(bytes, receiver).ok_or(Refusal::Damaged)??;
    let is_required = match private {
        // A replica reads no other echoes than its own.
        Private::Echo(..) => protection.signs(),
        Private::Confirmation { .. } => protection.requires_mac(),
    };
    if !is_signed && is_required { Err(Refusal::Unsigned) } else { Ok(private) }
}

fn read_private(bytes: &[u8], receiver: Receiver<'_>) -> Option<Result<(Private, bool), Refusal>> {
    let mut reader = ByteReader(bytes);
    let (format, kind) = (reader.u8()?, reader.u8()?);
    let is_signed = format == SIGNED_FORMAT;
    match (format, kind) {
        (WIRE_FORMAT | SIGNED_FORMAT, ECHO) => {
            let nonce = reader.u64()?;
            if is_signed && !receiver.protection.is_echo_proof(nonce, reader.take(MAC_SIZE)?) {
                return Some(Err(Refusal::Forged));
            }
            let mut positions = Vec::with_capacity(reader.0.len() / 18);
            while !reader.0.is_empty() {
                positions.push((reader.u16()?, reader.version()?));
            }
            Some(Ok((Private::Echo(nonce, Echo { positions }), is_signed)))
        }
        (WIRE_FORMAT | SIGNED_FORMAT, CONFIRMATION) => {
            let (ticket, partition, replica) = (reader.u64()?, reader.u16()?, reader.u64()?);
            let confirmed = &bytes[..bytes.len() - reader.0.len()];
            let confirmation = Private::Confirmation { ticket, partition, replica };
            if is_signed {
                let verified = receiver.protection.verify_confirmation(receiver.replica, confirmed, reader.0);
                return Some(verified.map(|()| (confirmation, true)));
            }
            reader.0.is_empty().then_some(Ok((confirmation, false)))
        }
        _ => None,
    }
}

/// Reads keys with their tags, up to the end. Calls `verify` with each key and its MAC, if the
/// message is signed.
fn read_keys(
    reader: &mut ByteReader<'_>,
    bytes: &Bytes,
    is_signed: bool,
    mut verify: impl FnMut(&[u8], &[u8]),
) -> Option<Vec<ChangedKey>> {
    let mut keys = Vec::new();
    while !reader.0.is_empty() {
        let length = usize::from(reader.u16()?);
        let key = bytes.slice_ref(reader.take(length)?);
        if is_signed {
            verify(&key, reader.take(MAC_SIZE)?);
        }
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
