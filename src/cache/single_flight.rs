//! One fetch in flight per key and replica. The fetch runs in a task of its own, so that a caller who leaves does not end it for others.

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

/// What a fetch found.
#[derive(Clone)]
pub struct Fetched {
    /// Position of the partition when the shared tier was read.
    pub position: Version,
    /// The entry; none when there is none.
    pub held: Option<Arc<CachedEntry>>,
}

impl Fetched {
    /// Whether who has seen `token` may have seen more. What is written once does not move the position.
    pub fn may_precede(&self, token: Version, namespace: &Namespace) -> bool {
        self.position < token || (token > Version::ZERO && self.held.is_none() && namespace.policy().immutable)
    }
}

/// What a fetch ended with.
pub type FetchResult = Result<Fetched, L2Error>;

/// A fetch that a Get may join.
pub struct Flight {
    /// Tells this flight from a later one of the same key.
    pub id: u64,
    /// When the shared tier was asked, at the earliest.
    pub begun_at: Moment,
    /// Generation of the partition then.
    pub generation: u64,
    /// How often something was invalidated by selectors until then.
    pub changes: u64,
    result: watch::Receiver<Option<FetchResult>>,
    span: Span,
}

/// The end of a flight that its fetch holds.
pub struct FetchCompletion(watch::Sender<Option<FetchResult>>);

/// The end of a flight that a waiting Get holds.
pub struct FetchWaiter {
    result: watch::Receiver<Option<FetchResult>>,
    fetch: Span,
}

impl Flight {
    /// Begins a flight.
    pub fn begin(begun_at: Moment, generation: u64, changes: u64) -> (Flight, FetchCompletion) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (sender, result) = watch::channel(None);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        (Flight { id, begun_at, generation, changes, result, span: spans::fetch() }, FetchCompletion(sender))
    }

    /// Joins it.
    pub fn join(&self) -> FetchWaiter {
        FetchWaiter { result: self.result.clone(), fetch: self.span.clone() }
    }
}

impl FetchCompletion {
    /// Gives every waiter the result.
    pub fn complete(self, result: FetchResult) {
        self.0.send_replace(Some(result));
    }
}

impl FetchWaiter {
    /// The span of the fetch. Who keeps it keeps it from ending.
    pub fn take_span(&mut self) -> Span {
        std::mem::replace(&mut self.fetch, Span::none())
    }

    /// Waits for the result. A fetch that ended without one (a bug: it panicked) counts as unavailable.
    pub async fn result(mut self) -> FetchResult {
        match self.result.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Err(L2Error::unavailable("the fetch was lost"))),
            Err(_) => Err(L2Error::unavailable("the fetch was lost")),
        }
    }
}
