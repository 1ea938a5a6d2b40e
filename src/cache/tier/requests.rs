//! Requests to the entries of L2, and their results.

use std::time::Duration;

use bytes::Bytes;

use super::bus::Effect;
use super::error::L2Error;
use super::lease_store::LeaseId;
use crate::cache::clock::Moment;
use crate::cache::entry::{Entry, NewEntry};
use crate::cache::key::Key;
use crate::cache::version::Version;

/// Condition of a Set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    #[default]
    None,
    /// If no live entry is present.
    Absent,
    /// If a live entry is present.
    Present,
    /// If the live entry has this version.
    Version(Version),
    /// While this lease is valid.
    Lease(LeaseId),
}

/// Id of a request, so that it takes effect once, however often it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub Bytes);

/// A write of one entry.
#[derive(Clone, Debug)]
pub struct Write {
    /// The key.
    pub key: Key,
    /// The entry to store.
    pub entry: NewEntry,
    /// Condition of the write.
    pub condition: Condition,
    /// Id under which it is remembered for a while, so that a repetition has no effect.
    pub request: Option<RequestId>,
}

/// The removal of one key.
#[derive(Clone, Debug)]
pub struct Removal {
    /// The key.
    pub key: Key,
    /// The source version that caused the removal. An older one is not stored for a while.
    pub source_version: Option<u64>,
}

/// Effect of an invalidation on the entries that it covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They are removed.
    #[default]
    Remove,
    /// They may be answered only flagged stale.
    MarkStale,
}

impl Mode {
    /// Returns the effect on the entries.
    pub fn effect(self) -> Effect {
        match self {
            Mode::Remove => Effect::Removed,
            Mode::MarkStale => Effect::Marked,
        }
    }
}

/// A change of an entry's time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Time to live from now on. `None` if it has no end.
    pub ttl: Option<Duration>,
    /// When to change it.
    pub mode: TouchMode,
}

impl Touch {
    /// Returns the change for `entry`, and its expiry afterwards.
    pub fn of(self, entry: &Entry, now: Moment) -> (TtlChange, Moment) {
        let asked = self.ttl.map_or(Moment::FOREVER, |ttl| now.plus(ttl));
        let ends = entry.sliding.map_or(asked, |sliding| asked.min(sliding.until));
        let before = entry.expires_at;
        match self.mode {
            TouchMode::Extend if ends <= before => (TtlChange::Unchanged, before),
            TouchMode::Shorten if ends >= before => (TtlChange::Unchanged, before),
            _ if ends < before => (TtlChange::Shortened, ends),
            _ if ends < asked => (TtlChange::Capped, ends),
            _ => (TtlChange::Set, ends),
        }
    }
}

/// Condition of a Touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TouchMode {
    /// Always.
    #[default]
    Overwrite,
    /// Only to a longer time to live.
    Extend,
    /// Only to a shorter time to live.
    Shorten,
}

/// Result of a Touch in L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Position of the partition after it.
    pub position: Version,
    /// The live entry. `None` if there is none.
    pub entry: Option<TouchedEntry>,
}

/// A live entry after a Touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TouchedEntry {
    /// Version of the entry.
    pub version: Version,
    /// Change of its time to live.
    pub change: TtlChange,
    /// Its expiry now.
    pub expires_at: Moment,
}

/// Result of a change of the time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlChange {
    /// Unchanged: it was longer or shorter already.
    Unchanged,
    /// As requested, and no shorter than before.
    Set,
    /// As requested, and shorter than before: the replicas that hold the entry were notified.
    Shortened,
    /// The maximum of a sliding entry, which is less than requested; but no shorter than before.
    Capped,
}

/// Result of a read of L2.
#[derive(Clone, Debug)]
pub struct ReadResult {
    /// Position of the partition, read before the entry: never newer than the entry.
    pub position: Version,
    /// The entry: a live one, or one that is kept after its expiry.
    pub entry: Option<Entry>,
}

/// Facts about a live entry in L2, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// Version of the entry.
    pub version: Version,
    /// Time of the write, on this machine's clock.
    pub written_at: Moment,
    /// Uncertainty of that time.
    pub uncertainty: Duration,
}

/// Result of a Set in L2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteResult {
    /// Stored, with this version.
    Stored(Entry),
    /// Without effect: the same request was stored before, with this version.
    Repeated {
        /// Version of the entry stored then.
        version: Version,
        /// Position of the partition.
        position: Version,
    },
    /// A condition failed.
    Refused {
        /// The condition that failed.
        why: ConditionFailure,
        /// Version of the live entry.
        current: Option<Version>,
        /// Position of the partition.
        position: Version,
    },
    /// The write failed, and will not take effect.
    Failed(L2Error),
}

/// Reason why an entry was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionFailure {
    /// There is a live entry.
    AlreadyPresent,
    /// There is no live entry.
    NotPresent,
    /// The live entry has another version.
    VersionMismatch,
    /// The lease is not valid any more.
    LeaseVoid,
    /// A newer source version is or was stored.
    SourceVersionOlder,
}

/// Result of the removal of keys in L2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveResult {
    /// Position of the invalidation.
    pub version: Version,
    /// For each key, whether it had an entry.
    pub removed: Vec<bool>,
}
