//! Errors of L2, and the errors of the cache that they become.

use std::fmt;
use std::time::Duration;

use super::l1::NotTaken;
use crate::cache::error::{CacheError, QuotaReached};
use crate::cache::namespace::Namespace;

/// Reason why L2 did not do what was requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum L2Error {
    /// It was unreachable, timed out, or its reply was lost.
    Unavailable {
        /// The reason.
        reason: &'static str,
        /// For a write, the time from now within which it may still take effect. `None` if it has
        /// not and will not.
        outcome_unknown_for: Option<Duration>,
    },
    /// It has no memory left.
    Full,
    /// A quota of the namespace was reached.
    OverQuota(Box<QuotaReached>),
    /// This replica's limit of requests in flight was reached.
    Busy {
        /// The limit.
        limit: usize,
    },
    /// A limit on the number of something in a namespace was reached.
    TooMany {
        /// Name of what is limited.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// This replica must not use it.
    Halted(String),
}

impl L2Error {
    /// Builds the error of a request that was not sent: nothing has happened.
    pub fn unavailable(reason: &'static str) -> Self {
        L2Error::Unavailable { reason, outcome_unknown_for: None }
    }
}

/// Formats the error for the log.
impl fmt::Display for L2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            L2Error::Unavailable { reason, .. } => write!(f, "unavailable: {reason}"),
            L2Error::Full => f.write_str("full"),
            L2Error::OverQuota(quota) => write!(f, "over_quota: {quota}"),
            L2Error::Busy { limit } => write!(f, "busy: {limit} requests in flight"),
            L2Error::TooMany { what, limit } => write!(f, "too_many: {limit} {what}"),
            L2Error::Halted(why) => write!(f, "halted: {why}"),
        }
    }
}

impl NotTaken {
    /// Returns the error of a write to `namespace`, where L1 stands in for L2.
    pub fn into_error(self, namespace: &Namespace) -> L2Error {
        match self {
            NotTaken::TooLarge => L2Error::Full,
            NotTaken::OverQuota(bytes) => L2Error::OverQuota(namespace.quota_reached("max_bytes", bytes, None).into()),
        }
    }
}

/// Time after which to retry when L2 was unavailable.
pub const RETRY_AFTER: Duration = Duration::from_millis(500);

impl From<L2Error> for CacheError {
    fn from(error: L2Error) -> Self {
        match error {
            L2Error::Unavailable { reason, outcome_unknown_for } => {
                // The caller retries only after the lost write can no longer take effect:
                // otherwise it could overwrite its own retry.
                let retry_after = RETRY_AFTER.max(outcome_unknown_for.unwrap_or_default());
                CacheError::Unavailable { reason, retry_after, outcome_unknown_for }
            }
            L2Error::Full => CacheError::Full,
            L2Error::OverQuota(quota) => CacheError::Quota(quota),
            L2Error::Busy { limit } => {
                CacheError::Exhausted { what: "commands in flight", limit, retry_after: Some(RETRY_AFTER) }
            }
            L2Error::TooMany { what, limit } => CacheError::Exhausted { what, limit, retry_after: Some(RETRY_AFTER) },
            L2Error::Halted(why) => CacheError::Halted(why),
        }
    }
}
