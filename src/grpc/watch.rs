//! The response stream of a Watch, until the caller's deadline or the shutdown of its connection.

use std::pin::Pin;

use futures_util::stream::{self, Stream};
use tokio::time::sleep_until;
use tonic::Status;

use super::convert::watch_response;
use super::middleware::StreamLifetime;
use super::status::status;
use crate::cache::coherence::watch::Watch;
use crate::cache::error::CacheError;
use crate::pb;

/// The response stream of a Watch.
pub type WatchResponses = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

/// Returns the events of a watch as responses, and the status that ends it.
pub fn responses(watch: Watch, partitions: u16, lifetime: Option<StreamLifetime>) -> WatchResponses {
    Box::pin(stream::unfold(Some((watch, lifetime)), move |state| async move {
        let (mut watch, lifetime) = state?;
        tokio::select! {
            biased;
            why = end(lifetime.as_ref()) => Some((Err(status(&why)), None)),
            event = watch.next() => Some((Ok(watch_response(event, partitions)), Some((watch, lifetime)))),
        }
    }))
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
