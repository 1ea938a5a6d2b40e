//! History: operations of clients and their answers.

use std::time::Duration;

use twintier::cache::version::Version;

/// A moment of the test's own clock, since its beginning.
pub type At = Duration;

/// One operation of one client at one replica, on one key.
#[derive(Clone, Debug)]
pub struct Operation {
    pub client: u16,
    pub replica: u8,
    pub key: u32,
    /// Just before the request was sent.
    pub invoked: At,
    /// Just after the answer was there.
    pub returned: At,
    pub action: Action,
}

/// An operation and its result.
#[derive(Clone, Debug)]
pub enum Action {
    /// A write of a value that no other Set of the history writes; none: an Invalidate of the key
    /// or of what covers it.
    Write {
        value: Option<u64>,
        /// When the lease was there under which the value was made; none: it was written without
        /// one.
        leased: Option<At>,
        outcome: Outcome,
    },
    /// A read.
    Read {
        /// The highest version of this key that the client had seen and presented tokens for; zero
        /// when it presented none.
        seen: Version,
        strong: bool,
        answer: Answer,
    },
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged, at this version.
    Ok(Version),
    /// It has not taken effect and will not.
    Failed,
    /// It may take effect until this long after it returned.
    Unknown(Duration),
}

/// Answer to a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A value.
    Value { value: u64, version: Version, stale: bool },
    /// The shared tier had no value where the partition stood at this position; zero where that is
    /// not known.
    Miss(Version),
    /// An error.
    Failed,
}
