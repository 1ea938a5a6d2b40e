//! Timeouts of calls to the shared tier, within the deadline of the caller.

use std::time::Duration;

use super::cache::TieredInner;
use super::types::Consistency;
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::tier::{L2Error, Timeout};

/// Most time that is reserved of a caller's deadline for sending the answer.
const DEADLINE_MARGIN: Duration = Duration::from_millis(20);

// === impl TieredInner ===

impl TieredInner {
    /// Returns when a Get that has another answer stops waiting for L2: after `budget`, and early
    /// enough to answer within the caller's deadline.
    pub(super) fn answer_deadline(&self, budget: Duration, deadline: Moment, now: Moment) -> Moment {
        let left = deadline.since(now);
        now.plus(budget.min(left - (left / 10).min(DEADLINE_MARGIN)))
    }

    /// Returns the timeout of a read of the shared tier. While data arrives, the read lasts until
    /// the caller's deadline.
    pub(super) fn read_timeout(&self, consistency: Consistency, deadline: Moment, now: Moment) -> Timeout {
        let budget = self.config.read_timeout;
        match consistency {
            Consistency::Strong => Timeout { deadline: now.plus(budget).min(deadline), latest: deadline },
            Consistency::Bounded(_) => Timeout {
                deadline: self.answer_deadline(budget, deadline, now),
                latest: self.answer_deadline(Duration::MAX, deadline, now),
            },
        }
    }

    /// Returns the timeout of a write to the shared tier.
    pub(super) fn write_timeout(&self, deadline: Moment) -> Timeout {
        Timeout { deadline: self.clock.now().plus(self.config.write_timeout).min(deadline), latest: deadline }
    }

    /// Converts an error of the shared tier. If the caller's deadline has passed, that is the
    /// error.
    pub(super) fn error(&self, error: L2Error, deadline: Moment) -> CacheError {
        match error {
            L2Error::Unavailable { outcome_unknown_for, .. } if self.clock.now() >= deadline.minus(DEADLINE_MARGIN) => {
                CacheError::DeadlineExceeded { outcome_unknown_for }
            }
            error => error.into(),
        }
    }
}
