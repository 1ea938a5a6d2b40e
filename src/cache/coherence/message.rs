//! What the bus carries: one change of one partition, and the echo of an audit.

use bytes::Bytes;

use super::version::Version;

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

/// The counters of partitions at one instant in Redis, come back through the subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Position of each partition that was read.
    pub positions: Vec<(u16, Version)>,
}

/// Where a bus delivers. Calls come from one task and in the order of the subscription.
pub trait BusSink: Send + Sync + 'static {
    /// A message arrived.
    fn apply(&self, message: Message);
    /// A message arrived that cannot be read.
    fn undecodable(&self);
    /// Messages were dropped on the way from the connection to here.
    fn overran(&self);
    /// An audit is about to be sent; its echo will carry the nonce returned.
    fn audit_begins(&self) -> u64;
    /// An audit's echo came back. Returns whether it counts: not if the subscription was lost since.
    fn echo(&self, nonce: u64, echo: Echo) -> bool;
    /// The subscription was lost.
    fn disconnected(&self);
}
