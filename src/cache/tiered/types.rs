//! What a Get asks, and what it is answered.

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
    /// Which answers are allowed.
    pub consistency: Consistency,
    /// What the caller has seen: nothing older is answered.
    pub token: &'a Token,
    /// When the caller leaves.
    pub deadline: Moment,
    /// How the lease is asked for; none: it is not.
    pub lease: Option<LeaseOptions>,
    /// The place it has among the requests in work, which it gives back while it waits for another caller; `None` if its caller counts none.
    pub slot: Option<&'a RequestSlot>,
}

/// Which answers a Get allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Those no staler than this; none: than the service's bound.
    Bounded(Option<Duration>),
    /// Those of the shared tier's primary.
    Strong,
}

/// The answer to a Get.
#[derive(Clone)]
pub struct GetAnswer {
    /// What was found.
    pub outcome: GetOutcome,
    /// The partition of the key.
    pub partition: u16,
    /// The position this answer is known to reflect.
    pub position: Version,
    /// The shared tier was needed and could not be asked.
    pub degraded: bool,
    /// When it was given.
    pub at: Moment,
    /// Present when the caller is to make the entry.
    pub lease: Option<Lease>,
    /// It was waited for another caller to make the entry.
    pub waited: bool,
}

impl GetAnswer {
    /// The whole answer, with no lease and nothing to be said of how it came about.
    pub fn new(outcome: GetOutcome, partition: u16, position: Version, at: Moment) -> GetAnswer {
        GetAnswer { outcome, partition, position, degraded: false, at, lease: None, waited: false }
    }
}

/// What a Get found.
#[derive(Clone)]
pub enum GetOutcome {
    /// An entry, positive or negative.
    Hit {
        /// The entry.
        held: Arc<CachedEntry>,
        /// The tier that answered.
        tier: Tier,
        /// Present when no promise of freshness holds.
        stale: Option<Stale>,
    },
    /// Nothing that may be answered.
    Miss(Miss),
}

/// The tier that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Tier {
    L1,
    L2,
}

/// How and why an answer is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Why.
    pub reason: StaleReason,
    /// For how long it may have been out of date, at most.
    pub staleness: Duration,
}

/// Why an answer is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleReason {
    /// Its time to live has passed.
    Expired,
    /// It could not be proven fresh.
    Unproven,
    /// It was marked stale.
    Marked,
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// There is none.
    Absent,
    /// The shared tier could not be asked.
    Unavailable,
    /// What could be read is older than the caller's token.
    TokenNotReached,
    /// The cache is switched off.
    Disabled,
    /// There is none, and another caller has the lease to make it.
    Leased,
}
