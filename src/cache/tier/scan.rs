//! A search for keys in the tier that has all entries, step by step.

use bytes::Bytes;

/// A search for the keys of entries.
#[derive(Clone, Copy, Debug)]
pub struct KeyScan<'a> {
    /// The namespace. `None` for all.
    pub namespace: Option<&'a str>,
    /// Common beginning of the keys. Only with a namespace.
    pub begin: &'a str,
    /// Position from which to continue.
    pub at: &'a ScanPosition,
    /// Approximate number of keys that the step looks at.
    pub count: u32,
}

/// Progress of a search: the parts that were searched, and a cursor in the next one.
///
/// A part is a primary, or a shard of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPosition {
    /// Identifies the parts. Another set of parts is searched from its beginning. 0 at the
    /// beginning.
    pub generation: u64,
    /// Number of parts that were searched to the end.
    pub part: usize,
    /// The cursor. 0 at the beginning of a part.
    pub cursor: u64,
}

/// Result of one step of a search.
///
/// A key whose entry is there during the whole search is found by one of its steps at least.
#[derive(Debug, Default)]
pub struct ScannedKeys {
    /// Position at which the step began. Another one than requested if the parts have changed: their
    /// beginning.
    pub at: ScanPosition,
    /// Keys found. One may be found twice. Their entries may have expired or been invalidated.
    pub keys: Vec<ScannedKey>,
    /// Position from which to continue. `None` at the end.
    pub next: Option<ScanPosition>,
}

/// A key that a search found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScannedKey {
    /// Name of the namespace.
    pub namespace: Box<str>,
    /// The key.
    pub key: Bytes,
}
