//! `Watcher`: an open Watch with short accessors for its events.

use std::time::Duration;

use tokio::time::timeout;
use tonic::{Request, Status, Streaming};
use twintier::pb;
use twintier::pb::watch_change::Covers;
use twintier::pb::watch_response::Event;

use super::{Replica, WAIT_TIMEOUT};

/// A watch, open or ended.
pub struct Watcher {
    events: Streaming<pb::WatchResponse>,
    /// Position from which a watch can resume.
    pub tokens: Vec<String>,
}

/// An event of a watch, without heartbeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// A change of keys.
    Keys(pb::ChangeKind, Vec<String>),
    /// A change by a selector, in words.
    Selected(pb::ChangeKind, String),
    Discontinuity(pb::DiscontinuityReason),
}

impl Watcher {
    /// Opens a watch. Does not wait.
    pub async fn open(
        replica: &Replica,
        request: impl tonic::IntoRequest<pb::WatchRequest>,
    ) -> Result<Watcher, Status> {
        let request: Request<pb::WatchRequest> = request.into_request();
        let tokens = request.get_ref().tokens.clone();
        let events = replica.client.clone().watch(request).await?.into_inner();
        Ok(Watcher { events, tokens })
    }

    /// Opens a watch of a whole namespace, and waits until it is proven.
    pub async fn open_proven(replica: &Replica) -> Watcher {
        let mut watcher =
            Watcher::open(replica, with_short_heartbeats(pb::WatchRequest::default())).await.expect("opens");
        while watcher.heartbeat().await.proof_age.is_none() {}
        watcher
    }

    /// The next event.
    pub async fn event(&mut self) -> Result<Event, Status> {
        let message = timeout(WAIT_TIMEOUT, self.events.message()).await.expect("a heartbeat arrives in time");
        let event = message?.expect("a watch ends with a status").event.expect("an event");
        match &event {
            Event::Heartbeat(heartbeat) => self.tokens = vec![heartbeat.token.clone()],
            Event::Change(change) => self.tokens.extend(Some(change.token.clone()).filter(|token| !token.is_empty())),
            Event::Discontinuity(_) => {}
        }
        Ok(event)
    }

    /// The next event that is not a heartbeat.
    pub async fn next_change(&mut self) -> WatchEvent {
        loop {
            match self.event().await.expect("the watch is open") {
                Event::Heartbeat(_) => {}
                Event::Discontinuity(discontinuity) => return WatchEvent::Discontinuity(discontinuity.reason()),
                Event::Change(change) => return watch_event(&change),
            }
        }
    }

    /// The next heartbeat. Fails at a change.
    pub async fn heartbeat(&mut self) -> pb::WatchHeartbeat {
        loop {
            match self.event().await.expect("the watch is open") {
                Event::Heartbeat(heartbeat) => return heartbeat,
                Event::Discontinuity(_) => {}
                Event::Change(change) => panic!("a change: {change:?}"),
            }
        }
    }

    /// Waits for the end of the watch.
    pub async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.event().await {
                return status;
            }
        }
    }
}

fn watch_event(change: &pb::WatchChange) -> WatchEvent {
    let kind = change.kind();
    match change.covers.clone().expect("a change covers something") {
        Covers::Keys(keys) => WatchEvent::Keys(kind, keys.keys),
        Covers::Prefix(prefix) => WatchEvent::Selected(kind, format!("prefix {prefix}")),
        Covers::Pattern(pattern) => WatchEvent::Selected(kind, format!("pattern {pattern}")),
        Covers::Tag(tag) => WatchEvent::Selected(kind, format!("tag {tag}")),
        Covers::WholeNamespace(_) => WatchEvent::Selected(kind, "everything".to_owned()),
    }
}

/// Requests the shortest heartbeat interval.
pub fn with_short_heartbeats(request: pb::WatchRequest) -> pb::WatchRequest {
    let heartbeat_interval = prost_types::Duration::try_from(Duration::from_millis(100)).ok();
    pb::WatchRequest { heartbeat_interval, ..request }
}
