//! Selectors: what an invalidation covers, other than by key.

use bytes::Bytes;

/// Selects entries of a namespace without naming their keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// All of them.
    Namespace,
    /// Those below these segments, without a separator at the end.
    Prefix(Bytes),
    /// Those with this tag.
    Tag(Bytes),
    /// Those whose key matches.
    Pattern(Bytes),
}

impl Selector {
    /// The bytes it is made of.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Selector::Namespace => &[],
            Selector::Prefix(bytes) | Selector::Tag(bytes) | Selector::Pattern(bytes) => bytes,
        }
    }

    /// The same in memory of its own.
    pub fn compact(&self) -> Selector {
        match self {
            Selector::Namespace => Selector::Namespace,
            Selector::Prefix(bytes) => Selector::Prefix(Bytes::copy_from_slice(bytes)),
            Selector::Tag(bytes) => Selector::Tag(Bytes::copy_from_slice(bytes)),
            Selector::Pattern(bytes) => Selector::Pattern(Bytes::copy_from_slice(bytes)),
        }
    }
}
