//! Port of L2: its leases.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::call::BoxFuture;
use super::error::L2Error;
use crate::cache::clock::Moment;
use crate::cache::key::Key;
use crate::cache::version::Version;

/// Leases of the keys: one at a time for each, void after any change of the key.
pub trait LeaseStore: Send + Sync + 'static {
    /// Requests the lease of `key`.
    fn acquire<'a>(
        &'a self,
        key: &'a Key,
        claim: LeaseClaim,
        deadline: Moment,
    ) -> BoxFuture<'a, Result<Acquired, L2Error>>;
    /// Releases a lease. Returns false if it was not valid any more.
    fn release<'a>(
        &'a self,
        key: &'a Key,
        release: LeaseRelease,
        deadline: Moment,
    ) -> BoxFuture<'a, Result<bool, L2Error>>;
}

/// Lease id. A bearer secret: the caller that presents it owns the lease.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId(pub u128);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for LeaseId {
    /// Writes only a part of the secret: this may be logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({:08x}..)", self.0 >> 96)
    }
}

/// The text is no lease id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a lease id from a response")]
pub struct NotALease;

impl FromStr for LeaseId {
    type Err = NotALease;

    fn from_str(text: &str) -> Result<Self, NotALease> {
        let digits = text.len() == 32 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        let number = u128::from_str_radix(text, 16).ok().filter(|_| digits);
        // Zero stands for no lease.
        number.filter(|number| *number != 0).map(LeaseId).ok_or(NotALease)
    }
}

/// Request for a lease in L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseClaim {
    /// Id of the lease. Chosen by the caller, so that it is known even if the reply is lost.
    pub lease: LeaseId,
    /// Duration of the lease.
    pub duration: Duration,
    /// Version of the live entry to refresh. `None` to get the lease only if there is no live
    /// entry.
    pub seen: Option<Version>,
}

/// Result of a request for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// The lease is granted, for the requested duration.
    Granted,
    /// Another caller has it, for this long at most.
    Held(Duration),
    /// It was released because the fill failed, and is not granted for this long.
    Paused(Duration),
    /// There is a live entry, and it is not to be refreshed.
    Present,
}

/// Release of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRelease {
    /// The lease.
    pub lease: LeaseId,
    /// True if the fill failed.
    pub failed: bool,
    /// Time for which the lease is not granted again.
    pub pause: Duration,
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
