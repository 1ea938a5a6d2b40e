//! What the bus carries: one change of one partition, and the echo of an audit.

use bytes::Bytes;

use super::version::Version;
use crate::cache::key::Key;

/// One write or invalidation, as published by the script that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The partition whose number line this is on.
    pub partition: u16,
    /// Its position there.
    pub version: Version,
    /// What changed.
    pub change: Change,
    /// True when this replica made the change.
    pub own: bool,
}

/// What changed. Everything named is older than the message's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Keys of one namespace were written or removed.
    Keys {
        /// The namespace.
        namespace: Bytes,
        /// The keys.
        keys: Vec<Bytes>,
    },
    /// A whole namespace was invalidated.
    Namespace(Bytes),
}

impl Change {
    /// Keys of one namespace.
    pub fn of_keys(keys: &[Key]) -> Change {
        let namespace = keys.first().map_or_else(String::new, |key| key.namespace().name().to_owned());
        Change::Keys {
            namespace: namespace.into(),
            keys: keys.iter().map(|key| Bytes::copy_from_slice(key.bytes())).collect(),
        }
    }

    /// The same in memory of its own: as it came it is a slice of a larger buffer, which it would keep alive.
    pub fn compact(&self) -> Change {
        match self {
            Change::Namespace(namespace) => Change::Namespace(Bytes::copy_from_slice(namespace)),
            Change::Keys { namespace, keys } => Change::Keys {
                namespace: Bytes::copy_from_slice(namespace),
                keys: keys.iter().map(|key| Bytes::copy_from_slice(key)).collect(),
            },
        }
    }
}

/// The counters of partitions at one instant in Redis, come back through the subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Position of each partition that was read.
    pub positions: Vec<(u16, Version)>,
}

/// Where buses deliver. Calls about one partition come one after another and in the order of its subscription.
pub trait BusSink: Send + Sync + 'static {
    /// A message arrived.
    fn apply(&self, message: Message);
    /// A message of one of `partitions` arrived that cannot be read.
    fn undecodable(&self, partitions: &[u16]);
    /// Messages of `partitions` were dropped on the way from the connection to here.
    fn overran(&self, partitions: &[u16]);
    /// An audit of `partitions` is about to be sent; its echo will carry the nonce returned.
    fn audit_begins(&self, partitions: &[u16]) -> u64;
    /// An audit's echo came back. Returns whether it counts: not if the subscription was lost since.
    fn echo(&self, nonce: u64, echo: Echo) -> bool;
    /// The subscription to `partitions` was lost.
    fn disconnected(&self, partitions: &[u16]);
}
