//! Keys: a namespace and the caller's bytes. Their hash decides the partition and the stripe.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::namespace::Namespace;

/// A borrowed key, as a request names it.
#[derive(Clone, Copy)]
pub struct KeyRef<'a> {
    /// The namespace.
    pub namespace: &'a Arc<Namespace>,
    /// The caller's bytes.
    pub bytes: &'a [u8],
    hash: u64,
}

/// An owned key, as the tiers hold it.
#[derive(Clone)]
pub struct Key {
    namespace: Arc<Namespace>,
    bytes: Arc<[u8]>,
    hash: u64,
}

/// Returns the digest of a key in a namespace that may be unknown, as [`KeyRef::digest`] has it.
pub fn digest(namespace: &str, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, xxh3_64(namespace.as_bytes()))
}

impl<'a> KeyRef<'a> {
    /// Creates the key `bytes` of `namespace`.
    pub fn new(namespace: &'a Arc<Namespace>, bytes: &'a [u8]) -> Self {
        KeyRef { namespace, bytes, hash: xxh3_64_with_seed(bytes, namespace.seed) }
    }

    /// Copies the key into an owned one.
    pub fn to_key(self) -> Key {
        Key { namespace: self.namespace.clone(), bytes: self.bytes.into(), hash: self.hash }
    }

    /// Returns the partition, of `partitions`. It is part of the protocol: the same in every
    /// replica and release.
    pub fn partition(self, partitions: u16) -> u16 {
        (self.hash % u64::from(partitions)) as u16
    }

    /// Returns the hash, which replaces the key where it must not be shown.
    pub fn digest(self) -> u64 {
        self.hash
    }

    /// Returns a number independent of the partition, for stripes inside of it.
    pub fn stripe(self) -> usize {
        (self.hash >> 40) as usize
    }
}

impl Key {
    /// Creates the key `bytes` of `namespace`.
    pub fn new(namespace: Arc<Namespace>, bytes: Arc<[u8]>) -> Key {
        let hash = KeyRef::new(&namespace, &bytes).hash;
        Key { namespace, bytes, hash }
    }

    /// Borrows the key.
    pub fn as_ref(&self) -> KeyRef<'_> {
        KeyRef { namespace: &self.namespace, bytes: &self.bytes, hash: self.hash }
    }

    /// The namespace.
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// The caller's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The caller's bytes, to be shared.
    pub fn shared_bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }
}

// Equality and hash agree between Key and KeyRef, so that a KeyRef looks up a table of Keys. The
// table hashes the bytes under its own random seed: anybody can compute `hash`, so it must not
// decide where a table puts a key.
impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.namespace.id);
        state.write(self.bytes);
    }
}

impl PartialEq for KeyRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.namespace.id == other.namespace.id && self.bytes == other.bytes
    }
}

impl Eq for KeyRef<'_> {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for Key {}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace.name(), self.bytes.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::policy::NamespacePolicy;

    #[test]
    fn partitions_are_part_of_the_protocol_and_do_not_move() {
        let namespace = Arc::new(Namespace::new("default", 0, NamespacePolicy::default(), 64));
        let other = Arc::new(Namespace::new("other", 1, NamespacePolicy::default(), 64));
        let partitions: Vec<u16> =
            ["a", "b", "user:42"].iter().map(|key| KeyRef::new(&namespace, key.as_bytes()).partition(64)).collect();
        assert_eq!(partitions, PINNED);
        assert_ne!(KeyRef::new(&other, b"a").hash, KeyRef::new(&namespace, b"a").hash);
    }

    const PINNED: [u16; 3] = [63, 55, 6];

    #[test]
    fn the_same_bytes_in_another_namespace_are_another_key() {
        let one = Arc::new(Namespace::new("one", 0, NamespacePolicy::default(), 64));
        let two = Arc::new(Namespace::new("two", 1, NamespacePolicy::default(), 64));
        assert!(KeyRef::new(&one, b"k").to_key() != KeyRef::new(&two, b"k").to_key());
        assert!(KeyRef::new(&one, b"k").to_key() == KeyRef::new(&one, b"k").to_key());
    }
}
