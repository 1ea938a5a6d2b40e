//! Request and answer types of a Get.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::admission::slot::RequestSlot;
use crate::cache::clock::Moment;
use crate::cache::entry::CachedEntry;
use crate::cache::key::KeyRef;
use crate::cache::lease::{Lease, LeaseOptions};
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
