//! An entry as Redis holds it: [`StoredEntry`].

use crate::cache::entry::{Content, Tags};
use crate::cache::version::Version;

/// An entry as Redis holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// The write that made it.
    pub version: Version,
    /// When, by Redis's clock, microseconds.
    pub written_micros: u64,
    /// Time to live when written or touched, milliseconds; 0: for ever.
    pub ttl_millis: u64,
    /// How long past that it is kept, milliseconds.
    pub window_millis: u64,
    /// Soft time to live, milliseconds; 0: none.
    pub soft_millis: u64,
    /// To when reading may prolong its life, by Redis's clock, microseconds; 0: not at all.
    pub slide_micros: u64,
    /// When it was marked stale, by Redis's clock, microseconds; 0: it was not.
    pub marked_micros: u64,
    /// Version of its source.
    pub source_version: Option<u64>,
    /// What it cost to make, milliseconds.
    pub cost_millis: u32,
    /// What it says. A value is as it is stored, until it is unpacked.
    pub content: Content,
    /// How the value is packed.
    pub encoding: u8,
    /// Bytes of the value unpacked.
    pub plain_size: usize,
    /// Content type.
    pub content_type: Box<str>,
    /// Tags.
    pub tags: Tags,
}
