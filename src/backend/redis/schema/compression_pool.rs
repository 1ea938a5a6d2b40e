//! Compresses and decompresses values; large ones on the blocking pool.

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::compression::Packed;
use super::stored_entry::StoredEntry;
use crate::cache::entry::Content;
use crate::cache::policy::Compression;
use crate::cache::tier::Write;

/// Size of a value above which the blocking pool is used, bytes.
const OFFLOAD_ABOVE_BYTES: usize = 64 * 1024;

/// Compresses the value of a write as the policy of its namespace says.
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
    if value.len() > OFFLOAD_ABOVE_BYTES {
        spawn_blocking(move || Packed::pack(plain, compression)).await.unwrap_or(Packed::plain(value.clone()))
    } else {
        Packed::pack(plain, compression)
    }
}

/// Decompresses the value of an entry. `None` if that fails, or would exceed `limit`.
pub async fn unpack(stored: StoredEntry, limit: usize) -> Option<StoredEntry> {
    if stored.is_packed() && stored.plain_size > OFFLOAD_ABOVE_BYTES {
        spawn_blocking(move || stored.unpack(limit)).await.ok().flatten()
    } else {
        stored.unpack(limit)
    }
}
