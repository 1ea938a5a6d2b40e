//! Packs values on their way to Redis and unpacks them on their way back. What is much work is done beside the tasks that answer.

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::compression::Packed;
use super::stored_entry::StoredEntry;
use crate::cache::entry::Content;
use crate::cache::policy::Compression;
use crate::cache::tier::Write;

/// Bytes from which on a value is much work.
const MUCH: usize = 64 * 1024;

/// The value of an entry as its namespace wants it stored.
pub async fn pack(write: &Write) -> Packed {
    let Content::Value(value) = &write.entry.content else { return Packed::plain(Bytes::new()) };
    let (compression, threshold) = {
        let policy = write.key.namespace().policy();
        (policy.compression, policy.compression_threshold)
    };
    if compression == Compression::None || (value.len() as u64) < threshold {
        return Packed::plain(value.clone());
    }
    let plain = value.clone();
    match value.len() > MUCH {
        true => spawn_blocking(move || Packed::pack(plain, compression)).await.unwrap_or(Packed::plain(value.clone())),
        false => Packed::pack(plain, compression),
    }
}

/// An entry with its value as it was before it was packed. None when that cannot be had within `limit`.
pub async fn unpack(stored: StoredEntry, limit: usize) -> Option<StoredEntry> {
    match stored.is_packed() && stored.plain_size > MUCH {
        true => spawn_blocking(move || stored.unpack(limit)).await.ok().flatten(),
        false => stored.unpack(limit),
    }
}
