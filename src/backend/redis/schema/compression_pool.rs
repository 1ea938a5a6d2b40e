//! Prepares values for Redis, and opens them again: compression, encryption and MAC. Large values use
//! the blocking pool.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::codec::entry_header;
use super::codec::entry_layout::{SEAL_SIZE, SIGNED};
use super::compression::Packed;
use super::crypto::{EncryptionError, Protection, Refusal};
use super::stored_entry::StoredEntry;
use crate::cache::entry::{Content, NewEntry};
use crate::cache::key::{Key, KeyRef};
use crate::cache::policy::Compression;
use crate::cache::tier::Write;

/// Size of a value above which the blocking pool is used, bytes.
const OFFLOAD_ABOVE_BYTES: usize = 64 * 1024;

/// Compresses the value of a write as the policy of its namespace says, then encrypts and seals it
/// as `protection` says. The life of the entry begins at `now_micros` of Redis's clock.
pub async fn pack(write: &Write, protection: &Arc<Protection>, now_micros: u64) -> Result<Packed, EncryptionError> {
    let compression = compression_of(write);
    let plain = match &write.entry.content {
        Content::Value(value) => value.clone(),
        Content::KnownAbsent => Bytes::new(),
    };
    if protection.writes_plainly() {
        if compression == Compression::None {
            return Ok(Packed::plain(plain));
        }
        if plain.len() <= OFFLOAD_ABOVE_BYTES {
            return Ok(Packed::pack(plain, compression));
        }
        let packing = plain.clone();
        return Ok(spawn_blocking(move || Packed::pack(packing, compression)).await.unwrap_or(Packed::plain(plain)));
    }
    if plain.len() <= OFFLOAD_ABOVE_BYTES {
        return protect(write.key.as_ref(), &write.entry, compression, protection, now_micros);
    }
    let (key, entry, protection) = (write.key.clone(), write.entry.clone(), protection.clone());
    let protecting = move || protect(key.as_ref(), &entry, compression, &protection, now_micros);
    spawn_blocking(protecting).await.unwrap_or(Err(EncryptionError))
}

/// Verifies and decrypts an entry that was read for `key`, and decompresses its value to `limit`
/// bytes at most. `now_micros` is the earliest time that Redis's clock may show.
pub async fn open(
    stored: StoredEntry,
    key: KeyRef<'_>,
    protection: &Arc<Protection>,
    (limit, now_micros): (usize, Option<u64>),
) -> Result<StoredEntry, Refusal> {
    let needs_work = stored.is_packed() || stored.signed.is_some();
    if !needs_work || stored.plain_size.max(stored.content.len()) <= OFFLOAD_ABOVE_BYTES {
        return open_here(stored, key, protection, (limit, now_micros));
    }
    let (key, protection): (Key, _) = (key.to_key(), protection.clone());
    let opening = move || open_here(stored, key.as_ref(), &protection, (limit, now_micros));
    spawn_blocking(opening).await.unwrap_or(Err(Refusal::Damaged))
}

fn open_here(
    stored: StoredEntry,
    key: KeyRef<'_>,
    protection: &Protection,
    (limit, now_micros): (usize, Option<u64>),
) -> Result<StoredEntry, Refusal> {
    let stored = protection.verify_entry(key, stored, now_micros)?;
    let stored = protection.decrypt(key, stored)?;
    stored.unpack(limit).ok_or(Refusal::Damaged)
}

fn compression_of(write: &Write) -> Compression {
    let policy = write.key.namespace().policy();
    let is_small = (write.entry.content.len() as u64) < policy.compression_threshold;
    if is_small { Compression::None } else { policy.compression }
}

fn protect(
    key: KeyRef<'_>,
    entry: &NewEntry,
    compression: Compression,
    protection: &Protection,
    now_micros: u64,
) -> Result<Packed, EncryptionError> {
    let mut packed = match &entry.content {
        Content::Value(value) => {
            let packed = Packed::pack(value.clone(), compression);
            protection.encrypt(key, packed, value.len())?
        }
        Content::KnownAbsent => Packed::plain(Bytes::new()),
    };
    if protection.signs() {
        packed.encoding |= SIGNED;
        let mut bytes = Vec::with_capacity(packed.bytes.len() + SEAL_SIZE);
        bytes.extend_from_slice(&packed.bytes);
        // Reads extend a sliding entry to its longest life.
        let lifetime = entry.lifetime.ttl.map(|ttl| entry.lifetime.sliding.map_or(ttl, |longest| longest.max(ttl)));
        let end_micros = Protection::latest_end(now_micros, lifetime);
        protection.seal_entry(key, &entry_header(entry, packed.encoding), &mut bytes, end_micros);
        packed.bytes = bytes.into();
    }
    Ok(packed)
}
