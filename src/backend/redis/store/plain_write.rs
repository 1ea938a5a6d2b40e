//! Plain writes: those that no condition, tag or request id makes dependent on what is stored.
//!
//! Almost every write is one. They need no reading of the entry that they replace, so the writes of
//! many callers travel in one script.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::codec::Announcement;
use crate::backend::redis::schema::compression::Packed;
use crate::backend::redis::schema::keys::KeySchema;
use crate::cache::namespace::Namespace;
use crate::cache::tier::{Condition, Write};

/// Bytes of an entry before its header: they say which version it is, and when it was written.
const BEGINNING: usize = 26;
/// Size from which an entry has room for its beginning, as write_batch.lua has it.
const LARGE: usize = 512;
/// Bytes that a key takes in a message beside its own: its size, and that of its tags.
const KEY_OVERHEAD: usize = 4;

/// The plain writes of one caller to one partition, encoded for write_batch.lua.
pub(super) struct PlainWrite {
    /// The partition.
    pub partition: u16,
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// The entries, of different keys.
    pub entries: Vec<PlainEntry>,
}

/// One entry of a plain write.
pub(super) struct PlainEntry {
    /// Its name in Redis.
    pub name: Bytes,
    /// Hash of the key. Another key may have the same.
    pub digest: u64,
    /// Size of the key at the end of the name.
    key_size: usize,
    /// Time that it is kept (ms); 0 if it has no end.
    pub kept: u64,
    /// Header and value, with room for the beginning if they are large.
    pub bytes: Bytes,
}

/// Returns true if a write depends on nothing that is stored.
pub(super) fn is_plain(write: &Write) -> bool {
    let Write { entry, condition, request, .. } = write;
    *condition == Condition::None
        && request.is_none()
        && entry.tags.is_empty()
        && entry.source_version.is_none()
        && entry.lifetime.sliding.is_none()
}

// === impl PlainWrite ===

impl PlainWrite {
    /// Encodes writes of `namespace` and `partition`.
    pub fn new(
        keys: &KeySchema,
        namespace: &Arc<Namespace>,
        partition: u16,
        writes: &[Write],
        values: &[Packed],
    ) -> PlainWrite {
        let namespace = namespace.clone();
        let entries = writes.iter().zip(values).map(|(write, value)| PlainEntry::new(keys, write, value)).collect();
        PlainWrite { partition, namespace, entries }
    }

    /// The approximate number of its bytes on the wire.
    pub fn size(&self) -> usize {
        self.entries.iter().map(|entry| entry.name.len() + entry.key_size + entry.bytes.len()).sum()
    }
}

// === impl PlainEntry ===

impl PlainEntry {
    fn new(keys: &KeySchema, write: &Write, value: &Packed) -> PlainEntry {
        let header = codec::entry_header(&write.entry, value.encoding);
        let size = header.len() + value.bytes.len();
        let mut bytes = BytesMut::with_capacity(BEGINNING + size);
        if BEGINNING + size > LARGE {
            bytes.put_slice(&codec::ENTRY_MAGIC);
            bytes.put_bytes(0, BEGINNING - codec::ENTRY_MAGIC.len());
        }
        bytes.put_slice(&header);
        bytes.put_slice(&value.bytes);
        PlainEntry {
            name: keys.entry(write.key.as_ref()),
            digest: write.key.as_ref().digest(),
            key_size: write.key.bytes().len(),
            kept: kept_millis(write),
            bytes: bytes.freeze(),
        }
    }

    /// Adds the key to a message, without tags.
    pub fn announce(&self, announcement: &Announcement<'_>, message: &mut Vec<u8>) {
        message.reserve(KEY_OVERHEAD + self.key_size);
        announcement.add_key(&self.name[self.name.len() - self.key_size..], message);
        message.put_u16(0);
    }
}

/// The time that an entry is kept in Redis, milliseconds; 0 if it has no end.
pub(super) fn kept_millis(write: &Write) -> u64 {
    let lifetime = &write.entry.lifetime;
    lifetime.ttl.map_or(0, |ttl| (ttl + lifetime.stale_window).as_millis().max(1) as u64)
}
