//! An entry as Redis holds it: [`StoredEntry`].

use bytes::Bytes;

use crate::cache::entry::{Content, Tags};
use crate::cache::version::Version;

/// An entry as Redis holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Version of the write that stored it.
    pub version: Version,
    /// Time of writing by Redis's clock, microseconds.
    pub written_micros: u64,
    /// Time to live since it was written, milliseconds; 0: no end. Less if an earlier build touched
    /// it.
    pub ttl_millis: u64,
    /// Stale window, milliseconds.
    pub window_millis: u64,
    /// Soft time to live, milliseconds; 0: none.
    pub soft_millis: u64,
    /// Time until which reads may extend it, by Redis's clock, microseconds; 0: not sliding.
    pub slide_micros: u64,
    /// Time of marking by Redis's clock, microseconds; 0: not marked.
    pub marked_micros: u64,
    /// Version of its source.
    pub source_version: Option<u64>,
    /// Cost of the fill, milliseconds.
    pub cost_millis: u32,
    /// Content. A value is encoded as stored until it is decompressed.
    pub content: Content,
    /// Encoding of the value, without its seals.
    pub encoding: u8,
    /// Size of the plain value, bytes.
    pub plain_size: usize,
    /// Content type.
    pub content_type: Box<str>,
    /// Tags.
    pub tags: Tags,
    /// The signed bytes; `None` if it is not signed, or was verified.
    pub signed: Option<SignedBytes>,
    /// Latest end of its life by Redis's clock, microseconds, as its writer signed it. `None` if it
    /// has no end or none was verified.
    pub latest_end_micros: Option<u64>,
}

/// The bytes of an entry that its seals cover, with the seals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBytes {
    /// Header, value, and seals.
    pub bytes: Bytes,
    /// Size of the header, with tags and content type.
    pub header_size: usize,
    /// True if there is a seal of an extended end, too.
    pub is_extended: bool,
}
