//! The response stream of a Watch, until the caller's deadline or the shutdown of its connection.

use std::pin::Pin;

use futures_util::stream::{self, Stream};
use tokio::time::sleep_until;
use tonic::Status;

use super::access::WatchAccess;
use super::convert::watch_response;
use super::middleware::StreamLifetime;
use super::status::status;
use crate::cache::coherence::watch::{ChangeScope, Event, Watch};
use crate::cache::error::CacheError;
use crate::pb;

/// The response stream of a Watch.
pub type WatchResponses = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

/// Returns the events of a watch as responses, and the status that ends it.
pub fn responses(
    watch: Watch,
    partitions: u16,
    lifetime: Option<StreamLifetime>,
    access: Option<WatchAccess>,
) -> WatchResponses {
    Box::pin(stream::unfold(Some((watch, lifetime, access)), move |state| async move {
        let (mut watch, lifetime, mut access) = state?;
        loop {
            let event = tokio::select! {
                biased;
                why = end(lifetime.as_ref()) => return Some((Err(status(&why)), None)),
                why = revoked(access.as_mut()) => return Some((Err(status(&why)), None)),
                event = watch.next() => event,
            };
            if let Some(event) = shown(event, access.as_ref()) {
                return Some((Ok(watch_response(event, partitions)), Some((watch, lifetime, access))));
            }
        }
    }))
}

async fn revoked(access: Option<&mut WatchAccess>) -> CacheError {
    match access {
        Some(access) => access.revoked().await,
        None => std::future::pending().await,
    }
}

/// Removes the keys that the watch must not show. `None` if none is left.
fn shown(mut event: Event, access: Option<&WatchAccess>) -> Option<Event> {
    let Some(access) = access.filter(|access| access.is_narrowed()) else { return Some(event) };
    if let Event::Change(change) = &mut event
        && let ChangeScope::Keys(keys) = &mut change.covers
    {
        keys.retain(|key| access.shows(key));
        if keys.is_empty() {
            return None;
        }
    }
    Some(event)
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
