//! Compression of values in Redis.
//!
//! Each value names its encoding, so it stays readable under any policy.

use bytes::Bytes;

use super::stored_entry::StoredEntry;
use crate::cache::entry::Content;
use crate::cache::policy::Compression;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const LZ4: u8 = 2;

/// The fastest level of Zstandard: a cache is written about as often as it is read.
const ZSTD_LEVEL: i32 = 1;

/// A value as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Encoding, as entries store it.
    pub encoding: u8,
    /// The bytes.
    pub bytes: Bytes,
}

impl Packed {
    /// A value without compression.
    pub fn plain(bytes: Bytes) -> Packed {
        Packed { encoding: PLAIN, bytes }
    }

    /// Compresses a value, unless that would not make it smaller.
    pub fn pack(value: Bytes, compression: Compression) -> Packed {
        let packed = match compression {
            Compression::None => None,
            Compression::Zstd => zstd::bulk::compress(&value, ZSTD_LEVEL).ok().map(|bytes| (ZSTD, bytes)),
            Compression::Lz4 => Some((LZ4, lz4_flex::block::compress(&value))),
        };
        match packed {
            Some((encoding, bytes)) if bytes.len() < value.len() => Packed { encoding, bytes: bytes.into() },
            _ => Packed::plain(value),
        }
    }
}

/// Returns true if an entry may name this encoding, for `stored` bytes that were `plain` bytes.
pub(crate) fn is_known(encoding: u8, stored: usize, plain: usize) -> bool {
    match encoding {
        PLAIN => stored == plain,
        ZSTD | LZ4 => stored < plain,
        _ => false,
    }
}

impl StoredEntry {
    /// Returns true if the value has to be decompressed.
    pub fn is_packed(&self) -> bool {
        self.encoding != PLAIN
    }

    /// Decompresses the value.
    ///
    /// `None` if the result would not have exactly the size in the header, or a size over `limit`:
    /// nothing larger is ever allocated.
    pub fn unpack(mut self, limit: usize) -> Option<StoredEntry> {
        if let Content::Value(value) = &self.content
            && self.is_packed()
        {
            let size = Some(self.plain_size).filter(|size| *size <= limit)?;
            let plain = match self.encoding {
                ZSTD => zstd::bulk::decompress(value, size).ok(),
                LZ4 => lz4_flex::block::decompress(value, size).ok(),
                _ => None,
            };
            let plain = plain.filter(|plain| plain.len() == size)?;
            (self.content, self.encoding) = (Content::Value(plain.into()), PLAIN);
        }
        Some(self)
    }
}
