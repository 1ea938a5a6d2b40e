//! Requests of the cache, and their answers.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::admission::slot::RequestSlot;
use crate::cache::clock::Moment;
use crate::cache::entry::{CachedEntry, Content};
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::KeyRef;
use crate::cache::lease::{Lease, LeaseOptions};
use crate::cache::namespace::Namespace;
use crate::cache::tier::{ConditionFailure, L2Error, Mode, Removal, Write, WriteResult};
use crate::cache::token::Token;
use crate::cache::version::Version;

/// A read of one entry.
#[derive(Clone, Copy)]
pub struct Get<'a> {
    /// The key.
    pub key: KeyRef<'a>,
    /// Answers that are allowed.
    pub consistency: Consistency,
    /// Positions that the caller has seen: nothing older is answered.
    pub token: &'a Token,
    /// The caller's deadline.
    pub deadline: Moment,
    /// Lease request. `None` if the caller requests no lease.
    pub lease: Option<LeaseOptions>,
    /// Slot of the request, which is given back while the Get waits for another caller. `None` if
    /// requests are not counted.
    pub slot: Option<&'a RequestSlot>,
}

/// Answers that a Get allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Answers no staler than this. `None` for the service's bound.
    Bounded(Option<Duration>),
    /// Answers of the primary of L2.
    Strong,
}

/// The answer to a Get.
#[derive(Clone)]
pub struct GetAnswer {
    /// Outcome.
    pub outcome: GetOutcome,
    /// The partition of the key.
    pub partition: u16,
    /// Position that this answer reflects at least.
    pub position: Version,
    /// True if L2 was needed and unavailable.
    pub degraded: bool,
    /// Time of the answer.
    pub at: Moment,
    /// Lease. `None` if the caller is not to fill the entry.
    pub lease: Option<Lease>,
    /// True if this Get waited for another caller to fill the entry.
    pub waited: bool,
}

impl GetAnswer {
    /// Creates an answer without lease and flags.
    pub fn new(outcome: GetOutcome, partition: u16, position: Version, at: Moment) -> GetAnswer {
        GetAnswer { outcome, partition, position, degraded: false, at, lease: None, waited: false }
    }
}

impl GetAnswer {
    /// Returns true if it is a value of L1 without flags, as most answers are.
    pub(super) fn is_fresh_l1_value(&self) -> bool {
        match &self.outcome {
            GetOutcome::Hit { held, tier: Tier::L1, stale: None } => {
                !self.degraded && held.entry.content != Content::KnownAbsent
            }
            _ => false,
        }
    }
}

/// Outcome of a Get.
#[derive(Clone)]
pub enum GetOutcome {
    /// An entry, positive or negative.
    Hit {
        /// The entry.
        held: Arc<CachedEntry>,
        /// The tier that answered.
        tier: Tier,
        /// Staleness. `None` if the answer is fresh.
        stale: Option<Stale>,
    },
    /// A miss.
    Miss(Miss),
}

/// The tier that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Tier {
    L1,
    L2,
}

/// Staleness of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Reason.
    pub reason: StaleReason,
    /// Longest time for which it may have been out of date.
    pub staleness: Duration,
}

/// Reason why an answer is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleReason {
    /// Its time to live has passed.
    Expired,
    /// It could not be proven fresh.
    Unproven,
    /// It was marked stale.
    Marked,
}

/// Reason of a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// There is no entry.
    Absent,
    /// L2 is unavailable.
    Unavailable,
    /// The entry that could be read is older than the caller's token.
    TokenNotReached,
    /// The cache is switched off.
    Disabled,
    /// There is no entry, and another caller has the lease to fill it.
    Leased,
}

/// A write of one entry.
#[derive(Clone)]
pub struct Set {
    /// Content and condition of the write.
    pub write: Write,
    /// Replicas that have to apply it before it is acknowledged.
    pub barrier: Barrier,
    /// The caller's deadline.
    pub deadline: Moment,
}

/// The answer to a Set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAnswer {
    /// Outcome.
    pub outcome: SetOutcome,
    /// Version of the stored entry, or of the entry that made the condition fail.
    pub version: Option<Version>,
    /// Positions that the caller has now seen.
    pub token: Token,
}

/// Outcome of a Set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SetOutcome {
    Stored,
    AlreadyPresent,
    NotPresent,
    VersionMismatch,
    LeaseVoid,
    SourceVersionOlder,
    Disabled,
}

impl SetOutcome {
    /// Returns the outcome as one word.
    pub fn word(self) -> &'static str {
        match self {
            SetOutcome::Stored => "stored",
            SetOutcome::AlreadyPresent => "already_present",
            SetOutcome::NotPresent => "not_present",
            SetOutcome::VersionMismatch => "version_mismatch",
            SetOutcome::LeaseVoid => "lease_void",
            SetOutcome::SourceVersionOlder => "source_version_older",
            SetOutcome::Disabled => "disabled",
        }
    }
}

/// An invalidation.
#[derive(Clone)]
pub struct Invalidate {
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// Entries to invalidate.
    pub target: Target,
    /// Effect on the entries.
    pub mode: Mode,
    /// Replicas that have to apply it before it is acknowledged.
    pub barrier: Barrier,
    /// The caller's deadline.
    pub deadline: Moment,
}

/// Replicas that have to apply a change before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Barrier {
    /// Only this replica.
    #[default]
    None,
    /// Every live replica, unless it has lost its right to answer with the previous value.
    Fleet,
}

/// Entries that an Invalidate covers.
#[derive(Clone)]
pub enum Target {
    /// These keys, each listed once.
    Keys(Vec<Removal>),
    /// Entries that these select.
    Selected(Vec<Selector>),
}

impl Target {
    /// Returns true if it covers nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Target::Keys(keys) => keys.is_empty(),
            Target::Selected(selectors) => selectors.is_empty(),
        }
    }
}

/// The answer to an Invalidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalidated {
    /// Number of keys that had an entry. `None` if it cannot be known.
    pub removed: Option<u64>,
    /// Positions that the caller has now seen.
    pub token: Token,
}

impl SetAnswer {
    /// Answer while the cache is switched off.
    pub(super) const DISABLED: SetAnswer =
        SetAnswer { outcome: SetOutcome::Disabled, version: None, token: Token::EMPTY };

    /// Creates the answer to a Set that was stored at `version`, with the partition at `position`.
    pub(super) fn stored(partition: u16, version: Version, position: Version) -> SetAnswer {
        let token = Token::at(partition, position);
        SetAnswer { outcome: SetOutcome::Stored, version: Some(version), token }
    }

    /// Converts the result of a write in `partition`.
    pub(super) fn of(partition: u16, written: WriteResult) -> Result<SetAnswer, L2Error> {
        match written {
            WriteResult::Stored(entry) => Ok(SetAnswer::stored(partition, entry.version, entry.version)),
            WriteResult::Repeated { version, position } => Ok(SetAnswer::stored(partition, version, position)),
            WriteResult::Refused { why, current, position } => {
                let outcome = match why {
                    ConditionFailure::AlreadyPresent => SetOutcome::AlreadyPresent,
                    ConditionFailure::NotPresent => SetOutcome::NotPresent,
                    ConditionFailure::VersionMismatch => SetOutcome::VersionMismatch,
                    ConditionFailure::LeaseVoid => SetOutcome::LeaseVoid,
                    ConditionFailure::SourceVersionOlder => SetOutcome::SourceVersionOlder,
                };
                Ok(SetAnswer { outcome, version: current, token: Token::at(partition, position) })
            }
            WriteResult::Failed(error) => Err(error),
        }
    }
}
