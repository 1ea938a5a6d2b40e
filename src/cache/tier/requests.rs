//! Requests to L2 and their results.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;

use super::bus::Effect;
use super::error::L2Error;
use crate::cache::clock::Moment;
use crate::cache::entry::{Entry, NewEntry};
use crate::cache::key::Key;
use crate::cache::version::Version;

/// When a Set stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    #[default]
    None,
    /// When no live entry is present.
    Absent,
    /// When a live entry is present.
    Present,
    /// When the live entry has this version.
    Version(Version),
    /// While this lease holds.
    Lease(LeaseId),
}

/// Names a lease. Hard to guess: who knows it holds it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId(pub u128);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for LeaseId {
    /// Without what makes it hard to guess: this may be logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({:08x}..)", self.0 >> 96)
    }
}

/// Not a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a lease as a response gave it")]
pub struct NotALease;

impl FromStr for LeaseId {
    type Err = NotALease;

    fn from_str(text: &str) -> Result<Self, NotALease> {
        let digits = text.len() == 32 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        let number = u128::from_str_radix(text, 16).ok().filter(|_| digits);
        // Zero stands for nobody.
        number.filter(|number| *number != 0).map(LeaseId).ok_or(NotALease)
    }
}

/// Tells a request from any other, so that it takes effect once, however often it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub Bytes);

/// A write of one entry.
#[derive(Clone, Debug)]
pub struct Write {
    /// The key.
    pub key: Key,
    /// What to store.
    pub entry: NewEntry,
    /// When to store it.
    pub condition: Condition,
    /// Under which it is remembered for a while, not to be done twice.
    pub request: Option<RequestId>,
}

/// The removal of one key.
#[derive(Clone, Debug)]
pub struct Removal {
    /// The key.
    pub key: Key,
    /// The version of the source that made it necessary: an older one does not come back for a while.
    pub source_version: Option<u64>,
}

/// What an invalidation does to the entries it covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They are gone.
    #[default]
    Remove,
    /// They may be answered only flagged stale.
    MarkStale,
}

impl Mode {
    /// What that is to the entries.
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
    /// The time to live from now on; none: until it is removed or evicted.
    pub ttl: Option<Duration>,
    /// When to change it.
    pub mode: TouchMode,
}

impl Touch {
    /// What it makes of the life of `entry`, and when that ends then.
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

/// When a Touch changes the time to live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TouchMode {
    /// Always.
    #[default]
    Overwrite,
    /// Only to make it longer.
    Extend,
    /// Only to make it shorter.
    Shorten,
}

/// What the shared tier answered to a Touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Position of the partition after it.
    pub position: Version,
    /// The live entry; none: there is none.
    pub entry: Option<TouchedEntry>,
}

/// A live entry after a Touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TouchedEntry {
    /// The write that made it.
    pub version: Version,
    /// What became of its time to live.
    pub change: TtlChange,
    /// When it ends now.
    pub expires_at: Moment,
}

/// What became of a time to live that was to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlChange {
    /// Nothing: it was longer or shorter already.
    Unchanged,
    /// It is as asked for, and not shorter than before.
    Set,
    /// It is as asked for, and shorter than before: who holds the entry was told.
    Shortened,
    /// It is as long as a sliding entry may live, which is less than was asked for; but not shorter than before.
    Capped,
}

/// What is asked of the shared tier by who wants a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseClaim {
    /// What the lease is to be called. Chosen before, so that it is known also when the answer is lost.
    pub lease: LeaseId,
    /// For how long it is wanted.
    pub duration: Duration,
    /// The live entry that is to be made anew; none: it is wanted only when there is no live entry.
    pub seen: Option<Version>,
}

/// What the shared tier answered to who wants a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// It is granted, for as long as was asked.
    Granted,
    /// Another has it, for this long at most.
    Held(Duration),
    /// It was given back because the entry could not be made, and nobody may have it for this long.
    Paused(Duration),
    /// There is a live entry that is not to be made anew.
    Present,
}

/// The return of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRelease {
    /// The lease.
    pub lease: LeaseId,
    /// The entry could not be made.
    pub failed: bool,
    /// For how long nobody gets it.
    pub pause: Duration,
}

/// What the shared tier answered to a read.
#[derive(Clone, Debug)]
pub struct ReadResult {
    /// Position of the partition, read before the entry: never newer than it.
    pub position: Version,
    /// The entry: one that lives, or one that is kept beyond that.
    pub entry: Option<Entry>,
}

/// What the shared tier knows of a live entry beside its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// The write that made it.
    pub version: Version,
    /// When, on this machine's clock.
    pub written_at: Moment,
    /// How far off that may be.
    pub uncertainty: Duration,
}

/// What the shared tier answered to a Set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteResult {
    /// Stored, with this version.
    Stored(Entry),
    /// Nothing was done: the same request was stored before, with this version.
    Repeated {
        /// Version of the entry stored then.
        version: Version,
        /// Position of the partition.
        position: Version,
    },
    /// A condition failed.
    Refused {
        /// Which.
        why: ConditionFailure,
        /// Version of the live entry.
        current: Option<Version>,
        /// Position of the partition.
        position: Version,
    },
    /// It was not taken, and will not be.
    Failed(L2Error),
}

/// Why an entry was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionFailure {
    /// There is a live entry.
    AlreadyPresent,
    /// There is none.
    NotPresent,
    /// The live entry has another version.
    VersionMismatch,
    /// The lease does not hold any more.
    LeaseVoid,
    /// An entry of a newer version of the source is or was there.
    SourceVersionOlder,
}

/// What the shared tier answered to an invalidation of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveResult {
    /// Position of the invalidation.
    pub version: Version,
    /// For each key, whether it had an entry.
    pub removed: Vec<bool>,
}

/// How a number line came to its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// Nothing is left of what was before.
    Anew,
    /// On a server that may lack what came after its position then.
    From {
        /// That position, of an earlier epoch.
        prior: Version,
        /// The epoch from which on its entries are to count.
        trusted_from: u64,
    },
}

/// What a replica says at the end of a takeover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// What may be lost of what it knows was invalidated again.
    Repaired,
    /// More may be lost than it remembers: nothing from before may count.
    Forgotten,
    /// It remembers nothing: nothing from before may count, unless that is decided already.
    Cold,
}

/// The time for which a call may move values. What is large takes longer than what is small, and is not given up while it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// When the call ends if nothing of it moves.
    pub deadline: Moment,
    /// When it ends even if something does. Not before `until`.
    pub latest: Moment,
}

impl From<Moment> for Timeout {
    /// Ends at `until` in any case.
    fn from(deadline: Moment) -> Timeout {
        Timeout { deadline, latest: deadline }
    }
}

impl Timeout {
    /// The same time for the next part of a call that began at `begun`, from `now` on.
    pub fn renewed(self, started_at: Moment, now: Moment) -> Timeout {
        Timeout { deadline: now.plus(self.deadline.since(started_at)).min(self.latest), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_as_it_was_written() {
        for id in [1, 0xfeed << 100, u128::MAX] {
            assert_eq!(LeaseId(id).to_string().parse(), Ok(LeaseId(id)));
        }
        for bad in ["", "0", &"0".repeat(32), &"0".repeat(33), &"F".repeat(32), &format!("+{}", "0".repeat(31))] {
            assert_eq!(bad.parse::<LeaseId>(), Err(NotALease), "{bad}");
        }
    }
}
