//! The response stream of a Watch, until the caller's deadline or the shutdown of its connection.

use std::pin::Pin;

use futures_util::stream::{self, Stream};
use tokio::time::sleep_until;
use tonic::Status;

use super::convert::watch_response;
use super::middleware::StreamLifetime;
use super::status::status;
use crate::cache::admission::limits::RequestPermit;
use crate::cache::coherence::watch::Watch;
use crate::cache::error::CacheError;
use crate::pb;

/// The response stream of a Watch.
pub type WatchResponses = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

/// A watch that was admitted.
pub struct AdmittedWatch {
    /// The watch.
    pub watch: Watch,
    /// Number of partitions.
    pub partitions: u16,
    /// When it has to end. `None` if the caller decides.
    pub lifetime: Option<StreamLifetime>,
    /// Its share of the watches of its peer.
    pub _permit: Option<RequestPermit>,
}

// === impl AdmittedWatch ===

impl AdmittedWatch {
    /// Returns the events as responses, and the status that ends them.
    pub fn responses(self) -> WatchResponses {
        Box::pin(stream::unfold(Some(self), |state| async move {
            let mut this = state?;
            tokio::select! {
                biased;
                why = end(this.lifetime.as_ref()) => Some((Err(status(&why)), None)),
                event = this.watch.next() => Some((Ok(watch_response(event, this.partitions)), Some(this))),
            }
        }))
    }
}

async fn end(lifetime: Option<&StreamLifetime>) -> CacheError {
    let Some(StreamLifetime { closing, deadline }) = lifetime else { return std::future::pending().await };
    let deadline = async {
        match deadline {
            Some(deadline) => sleep_until((*deadline).into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = closing.cancelled() => CacheError::Leaving,
        () = deadline => CacheError::DeadlineExceeded { outcome_unknown_for: None },
    }
}
