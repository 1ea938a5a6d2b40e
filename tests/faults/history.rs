//! History of clients' operations and their results.

use std::time::Duration;

use twintier::cache::version::Version;

/// Time since the start of the test, by its own clock.
pub type At = Duration;

/// One operation of one client at one replica, on one key.
#[derive(Clone, Debug)]
pub struct Operation {
    pub client: u16,
    pub replica: u8,
    pub key: u32,
    /// Time just before the request was sent.
    pub invoked: At,
    /// Time just after the response arrived.
    pub returned: At,
    pub action: Action,
}

/// An operation and its result.
#[derive(Clone, Debug)]
pub enum Action {
    /// A write. `value` is unique in the history. `None` for an Invalidate of the key or of a
    /// selector that covers it.
    Write {
        value: Option<u64>,
        /// Time at which the lease of the write was granted. `None` without a lease.
        leased: Option<At>,
        outcome: Outcome,
    },
    /// A read.
    Read {
        /// The highest version of this key that the client had seen and presented tokens for. Zero
        /// if it presented none.
        seen: Version,
        strong: bool,
        answer: Answer,
    },
}

/// Result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged, at this version.
    Ok(Version),
    /// The write has not taken effect and will not.
    Failed,
    /// The write may take effect until this long after it returned.
    Unknown(Duration),
}

/// Result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A value.
    Value { value: u64, version: Version, stale: bool },
    /// The shared tier had no value at this position of the partition. Zero if the position is not
    /// known.
    Miss(Version),
    /// An error.
    Failed,
}
