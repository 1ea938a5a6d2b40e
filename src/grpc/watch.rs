//! The response stream of a Watch, until the caller's deadline or the shutdown of its connection.

use std::pin::Pin;

use futures_util::stream::{self, Stream};
use http::Extensions;
use tokio::time::sleep_until;
use tonic::Status;

use super::access::WatchAccess;
use super::convert::watch_response;
use super::middleware::StreamLifetime;
use super::status::status;
use crate::cache::admission::limits::RequestPermit;
use crate::cache::admission::resource::Resource;
use crate::cache::admission::slot::RequestSlot;
use crate::cache::coherence::watch::{ChangeScope, Event, Watch, Watching};
use crate::cache::error::CacheError;
use crate::cache::tiered::Tiered;
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
    /// Its access. `None` if nothing is decided.
    pub access: Option<WatchAccess>,
    /// Its share of the watches of its peer.
    pub _permit: Option<RequestPermit>,
}

// === impl AdmittedWatch ===

impl AdmittedWatch {
    /// Begins a watch for the request with these `extensions`, if its peer has a share left.
    pub fn begin(
        cache: &Tiered,
        watching: Watching,
        extensions: &Extensions,
        access: Option<WatchAccess>,
        partitions: u16,
    ) -> Result<AdmittedWatch, CacheError> {
        let account = extensions.get::<RequestSlot>().map(RequestSlot::account);
        let permit = account.map(|account| account.admit(Resource::Watches)).transpose()?;
        let lifetime = extensions.get::<StreamLifetime>().cloned();
        Ok(AdmittedWatch { watch: cache.watch(watching)?, partitions, lifetime, access, _permit: permit })
    }

    /// Returns the events as responses, and the status that ends them.
    pub fn responses(self) -> WatchResponses {
        Box::pin(stream::unfold(Some(self), |state| async move {
            let mut this = state?;
            loop {
                let event = tokio::select! {
                    biased;
                    why = end(this.lifetime.as_ref()) => return Some((Err(status(&why)), None)),
                    why = revoked(this.access.as_mut()) => return Some((Err(status(&why)), None)),
                    event = this.watch.next() => event,
                };
                if let Some(event) = shown(event, this.access.as_ref()) {
                    return Some((Ok(watch_response(event, this.partitions)), Some(this)));
                }
            }
        }))
    }
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
