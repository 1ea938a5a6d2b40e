//! The stream of a watch: goes on until its caller leaves, at the deadline if one was set, or until the connection is asked to go.

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

/// What a watcher is sent.
pub type WatchResponses = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

/// Everything a watch tells, and why it ended.
pub fn responses(watch: Watch, partitions: u16, leave: Option<StreamLifetime>) -> WatchResponses {
    Box::pin(stream::unfold(Some((watch, leave)), move |state| async move {
        let (mut watch, leave) = state?;
        tokio::select! {
            biased;
            why = end(leave.as_ref()) => Some((Err(status(&why)), None)),
            event = watch.next() => Some((Ok(watch_response(event, partitions)), Some((watch, leave)))),
        }
    }))
}

async fn end(leave: Option<&StreamLifetime>) -> CacheError {
    let Some(StreamLifetime { going, deadline }) = leave else { return std::future::pending().await };
    let deadline = async {
        match deadline {
            Some(deadline) => sleep_until((*deadline).into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = going.cancelled() => CacheError::Leaving,
        () = deadline => CacheError::DeadlineExceeded { outcome_unknown_for: None },
    }
}
