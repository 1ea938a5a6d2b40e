//! Entries: what was set, and what memory keeps of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::clock::Moment;
use super::coherence::version::Version;
use super::namespace::Namespace;

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A value.
    Value(Bytes),
    /// The thing is known not to exist.
    KnownAbsent,
}

impl Content {
    /// Bytes of the value; none for a negative entry.
    pub fn len(&self) -> usize {
        match self {
            Content::Value(value) => value.len(),
            Content::KnownAbsent => 0,
        }
    }

    /// True without bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a Set asks to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// What it says.
    pub content: Content,
    /// Content type; empty when none was given.
    pub content_type: Box<str>,
    /// Time to live.
    pub ttl: Duration,
}

/// An entry as a tier answered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The write that made it.
    pub version: Version,
    /// What it says.
    pub content: Content,
    /// Content type; empty when none was given.
    pub content_type: Box<str>,
    /// When it was written, as far as this machine's clock can say. Only to be shown.
    pub written_at: Moment,
    /// When it ends. Never later than in the shared tier.
    pub expires_at: Moment,
}

/// An entry with what its freshness is judged by.
pub struct Held {
    /// The entry.
    pub entry: Entry,
    /// Position of the partition when the entry was known to be current.
    pub position: Version,
    /// The partition's generation when the making of this began; once it has moved on, the entry is suspect.
    pub generation: u64,
    /// When the entry was known to be current.
    pub known_at: Moment,
    /// The namespace.
    pub namespace: Arc<Namespace>,
}
