//! `/events`, the server-sent events of the dashboard: `hello` with the last minutes, then a `tick`
//! every second.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::recorder::Recorder;
use super::serve::{HttpCaller, MAX_AGE};
use crate::net::connections::{Activity, ConnectionLimit, ConnectionLimits, Connections};

/// Most streams at once. Behind a forwarded port all browsers are one peer.
const STREAM_LIMITS: ConnectionLimits = ConnectionLimits { connections: 16, per_peer: 8 };

#[derive(Clone)]
struct EventStreams {
    recorder: Arc<Recorder>,
    streams: Arc<Connections>,
    /// Changes when identities and grants are replaced.
    access: watch::Receiver<u64>,
    closing: CancellationToken,
}

pub fn routes(recorder: Arc<Recorder>, access: watch::Receiver<u64>, closing: CancellationToken) -> Router {
    let shared = EventStreams { recorder, streams: Connections::new(STREAM_LIMITS), access, closing };
    Router::new().route("/events", get(events)).with_state(shared)
}

async fn events(State(shared): State<EventStreams>, Extension(caller): Extension<HttpCaller>) -> Response {
    let mut access = shared.access.clone();
    access.mark_unchanged();
    let admission = shared.streams.admit(caller.address, Activity::Protected);
    let Some(place) = admission.slot else {
        let why = match admission.reached {
            Some(ConnectionLimit::Peer) => format!("{} pages of this address watch already\n", STREAM_LIMITS.per_peer),
            _ => format!("{} pages watch already\n", STREAM_LIMITS.connections),
        };
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], why).into_response();
    };
    caller.slot.set(Activity::Protected);
    let recorder = shared.recorder;
    let Ok((hello, ticks)) = spawn_blocking(move || recorder.watch()).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let ticks = stream::unfold((ticks, place), |(mut ticks, place)| async move {
        ticks.changed().await.ok()?;
        // A reader that is too slow for a tick gets the next one.
        let tick = ticks.borrow_and_update().clone();
        Some((tick, (ticks, place)))
    });
    let end = async move {
        tokio::select! {
            () = shared.closing.cancelled() => {}
            // The dashboard reconnects, and is decided again.
            _ = access.changed() => {}
            () = sleep(MAX_AGE) => {}
        }
    };
    let events = stream::once(ready(hello)).chain(ticks).take_until(Box::pin(end)).map(Ok::<Bytes, Infallible>);
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}
