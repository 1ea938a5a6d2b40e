//! What a look at one key finds in a tier, and why that is not served.

use std::time::Duration;

use bytes::Bytes;

use crate::cache::entry::Entry;
use crate::cache::invalidation::selector::Selector;
use crate::cache::version::Version;

/// What the shared tier holds under a key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inspected {
    /// Position of the partition.
    pub position: Version,
    /// What is stored.
    pub stored: Option<Stored>,
    /// For how long somebody's lease on the key holds yet.
    pub lease: Option<Duration>,
}

/// What is stored under a key, whether it may be answered or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The entry; none: it cannot be read as one.
    pub entry: Option<Entry>,
    /// Bytes of the value.
    pub size: u64,
    /// Bytes of the value as they are stored.
    pub stored_size: u64,
    /// Why it is not served.
    pub not_served: Option<NotServed>,
}

/// Why an entry is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotServed {
    /// Something is switched off.
    Off(Off),
    /// Its time to live passed so long ago.
    Expired(Duration),
    /// It was marked stale so long ago.
    Marked(Duration),
    /// It was invalidated with what covers it.
    Invalidated(InvalidationCause),
    /// Memory keeps entries no longer than this.
    TooLong(Duration),
    /// It was stored while the shared tier was switched off.
    Alone,
    /// What would have made it out of date may have been missed: it was last known to be current so long ago.
    Suspect(Duration),
    /// It is of an epoch that does not count, or not yet.
    Epoch,
    /// It is damaged or foreign.
    Unreadable,
}

/// What an entry was invalidated with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidationCause {
    /// Its whole namespace.
    Namespace,
    /// A prefix of its key; none: it is not known which.
    Prefix(Option<Bytes>),
    /// This tag.
    Tag(Bytes),
    /// This pattern.
    Pattern(Bytes),
    /// That is not known here.
    Unknown,
}

/// What is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// The cache, for the whole service.
    Service,
    /// The cache, for the namespace.
    Namespace,
    /// Memory.
    L1,
    /// The shared tier.
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
