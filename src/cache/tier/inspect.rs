//! Result of inspecting one key in a tier, and why its entry is not served.

use std::time::Duration;

use bytes::Bytes;

use crate::cache::entry::Entry;
use crate::cache::invalidation::selector::Selector;
use crate::cache::version::Version;

/// Contents of L2 under a key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inspected {
    /// Position of the partition.
    pub position: Version,
    /// The stored entry.
    pub stored: Option<Stored>,
    /// Remaining time of the lease on the key.
    pub lease: Option<Duration>,
}

/// A stored entry, servable or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The entry. `None` if it cannot be decoded.
    pub entry: Option<Entry>,
    /// Bytes of the value.
    pub size: u64,
    /// Bytes of the value as stored.
    pub stored_size: u64,
    /// Reason why it is not served.
    pub not_served: Option<NotServed>,
}

/// Reason why an entry is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotServed {
    /// Something is switched off.
    Off(Off),
    /// It expired this long ago.
    Expired(Duration),
    /// It was marked stale this long ago.
    Marked(Duration),
    /// It was invalidated by a selector.
    Invalidated(InvalidationCause),
    /// L1 keeps entries no longer than this.
    TooLong(Duration),
    /// It was stored while L2 was switched off.
    Alone,
    /// It is unproven: it was last known to be current this long ago.
    Suspect(Duration),
    /// Its epoch does not count, or not yet.
    Epoch,
    /// It is damaged or foreign.
    Unreadable,
}

/// Selector that invalidated an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidationCause {
    /// Its whole namespace.
    Namespace,
    /// A prefix of its key. `None` if it is unknown which.
    Prefix(Option<Bytes>),
    /// This tag.
    Tag(Bytes),
    /// This pattern.
    Pattern(Bytes),
    /// Unknown at this replica.
    Unknown,
}

/// A switch that is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// The cache, for the whole service.
    Service,
    /// The cache, for the namespace.
    Namespace,
    /// L1.
    L1,
    /// L2.
    L2,
}

impl From<Selector> for InvalidationCause {
    fn from(selector: Selector) -> InvalidationCause {
        match selector {
            Selector::Namespace => InvalidationCause::Namespace,
            Selector::Prefix(prefix) => InvalidationCause::Prefix(Some(prefix)),
            Selector::Tag(tag) => InvalidationCause::Tag(tag),
            Selector::Pattern(pattern) => InvalidationCause::Pattern(pattern),
        }
    }
}
