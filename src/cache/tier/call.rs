//! Parts of every call to L2: its future, its deadlines, and the context of a change.

use std::future::Future;
use std::pin::Pin;

use crate::cache::clock::Moment;

/// Future of a tier's operation.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Deadlines of a call that may move values.
///
/// A large value takes longer than a small one, and is not given up while its bytes still arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// Deadline if no bytes of the call move.
    pub deadline: Moment,
    /// Deadline even if bytes move. Not before `deadline`.
    pub latest: Moment,
}

impl From<Moment> for Timeout {
    /// Ends at `deadline` in any case.
    fn from(deadline: Moment) -> Timeout {
        Timeout { deadline, latest: deadline }
    }
}

impl Timeout {
    /// Returns the same timeout for the next part of a call that began at `started_at`, from `now`
    /// on.
    pub fn renewed(self, started_at: Moment, now: Moment) -> Timeout {
        Timeout { deadline: now.plus(self.deadline.since(started_at)).min(self.latest), ..self }
    }
}

/// Context of a change of L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallContext {
    /// Deadlines of the call.
    pub timeout: Timeout,
    /// Ticket of a barrier: one other than 0 makes every replica confirm.
    pub ticket: u64,
}

impl From<Moment> for CallContext {
    /// Ends at `deadline` in any case, and is not confirmed.
    fn from(deadline: Moment) -> CallContext {
        CallContext { timeout: deadline.into(), ticket: 0 }
    }
}
