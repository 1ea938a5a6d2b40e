//! `/events`: what the page lives by, as server-sent events: one `hello` with the last minutes, then a `tick` every second.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::recorder::Recorder;
use super::serve::AGE;

/// Most streams at once.
const STREAMS: usize = 16;

#[derive(Clone)]
struct Shared {
    recorder: Arc<Recorder>,
    places: Arc<Semaphore>,
    closing: CancellationToken,
}

pub fn routes(recorder: Arc<Recorder>, closing: CancellationToken) -> Router {
    let shared = Shared { recorder, places: Arc::new(Semaphore::new(STREAMS)), closing };
    Router::new().route("/events", get(events)).with_state(shared)
}

async fn events(State(shared): State<Shared>) -> Response {
    let Ok(place) = shared.places.try_acquire_owned() else {
        let why = format!("{STREAMS} pages watch already\n");
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], why).into_response();
    };
    let recorder = shared.recorder;
    let Ok((hello, ticks)) = spawn_blocking(move || recorder.watch()).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let ticks = stream::unfold((ticks, place), |(mut ticks, place)| async move {
        ticks.changed().await.ok()?;
        // One that was too slow for a tick gets the next.
        let tick = ticks.borrow_and_update().clone();
        Some((tick, (ticks, place)))
    });
    let end = async move {
        tokio::select! {
            () = shared.closing.cancelled() => {}
            () = sleep(AGE) => {}
        }
    };
    let events = stream::once(ready(hello)).chain(ticks).take_until(Box::pin(end)).map(Ok::<Bytes, Infallible>);
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}
