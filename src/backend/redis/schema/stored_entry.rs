//! An entry as Redis holds it: [`StoredEntry`].

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
    /// Encoding of the value.
    pub encoding: u8,
    /// Size of the plain value, bytes.
    pub plain_size: usize,
    /// Content type.
    pub content_type: Box<str>,
    /// Tags.
    pub tags: Tags,
}
