//! Single flight: one fetch at a time for each key and replica.
//!
//! The first caller runs the fetch. If it disconnects, the fetch continues in a task, for the
//! others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;
use tracing::Span;

use super::clock::Moment;
use super::entry::CachedEntry;
use super::namespace::Namespace;
use super::spans;
use super::tier::L2Error;
use super::version::Version;

/// Result of a fetch that succeeded.
#[derive(Clone)]
pub struct Fetched {
    /// Position of the partition when the shared tier was read.
    pub position: Version,
    /// The entry. `None` if there is none.
    pub held: Option<Arc<CachedEntry>>,
}

impl Fetched {
    /// Returns true if a caller that has seen `token` may have seen more. An immutable entry does
    /// not move the position.
    pub fn may_precede(&self, token: Version, namespace: &Namespace) -> bool {
        self.position < token || (token > Version::ZERO && self.held.is_none() && namespace.policy().immutable)
    }
}

/// The reason for which a fetch has no result: it panicked.
pub const FETCH_PANICKED: &str = "fetch ended without a result";

/// Result of a fetch.
pub type FetchResult = Result<Fetched, L2Error>;

/// A fetch in progress that a Get may join.
pub struct Flight {
    /// Id, which differs from those of other fetches of the same key.
    pub id: u64,
    /// Start of the fetch, at the latest.
    pub begun_at: Moment,
    /// Generation of the partition at the start.
    pub generation: u64,
    /// Number of invalidations by selector at the start.
    pub changes: u64,
    result: watch::Receiver<Option<FetchResult>>,
    span: Span,
}

/// The sending end of a fetch.
pub struct FetchCompletion(watch::Sender<Option<FetchResult>>);

/// The receiving end of a fetch, held by a waiting Get.
pub struct FetchWaiter {
    result: watch::Receiver<Option<FetchResult>>,
    fetch: Span,
}

impl Flight {
    /// Starts a fetch.
    pub fn begin(begun_at: Moment, generation: u64, changes: u64) -> (Flight, FetchCompletion) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (sender, result) = watch::channel(None);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        (Flight { id, begun_at, generation, changes, result, span: spans::fetch() }, FetchCompletion(sender))
    }

    /// Joins the fetch.
    pub fn join(&self) -> FetchWaiter {
        FetchWaiter { result: self.result.clone(), fetch: self.span.clone() }
    }
}

impl FetchCompletion {
    /// Sends the result to every waiter.
    pub fn complete(self, result: FetchResult) {
        self.0.send_replace(Some(result));
    }
}

impl FetchWaiter {
    /// Takes the span of the fetch. The span does not end before it is dropped.
    pub fn take_span(&mut self) -> Span {
        std::mem::replace(&mut self.fetch, Span::none())
    }

    /// Waits for the result. A fetch that ended without one (a bug: it panicked) counts as
    /// unavailable.
    pub async fn result(mut self) -> FetchResult {
        match self.result.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Err(L2Error::unavailable(FETCH_PANICKED))),
            Err(_) => Err(L2Error::unavailable(FETCH_PANICKED)),
        }
    }
}
