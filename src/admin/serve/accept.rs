//! HTTP/1.1 connections of the admin server, within limits and timeouts.

use super::response::Caller;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

use super::response::TrackedResponse;
use crate::net::acceptor::{AcceptedConnection, Acceptor};
use crate::net::close;
use crate::net::connections::{Activity, ConnectionLimits, ConnectionSlot, Connections};
use crate::net::listener::Listener;
use crate::net::stream::{Stream, disable_delay};

use super::write_timeout::Stalling;

/// Response to a connection over the limit.
const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// Most bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Timeout of a request's head, and of silence between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Age at which a connection, or an event stream, ends. The dashboard reconnects.
pub const MAX_AGE: Duration = Duration::from_secs(15 * 60);
/// Time from then to the end of a response in progress.
const AGE_GRACE: Duration = Duration::from_secs(60);
/// Timeout of a request's head during shutdown.
const SHUTDOWN_HEAD_TIMEOUT: Duration = Duration::from_millis(300);
/// Time for the peer to close, once everything was written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of checks for an overdue head in each timeout.
const HEAD_CHECKS: u32 = 10;

/// How connections are accepted.
pub struct Accepting {
    /// Maximum numbers of connections.
    pub limits: ConnectionLimits,
    /// Stops accepting when it is cancelled.
    pub closing: CancellationToken,
    /// Drops the connections when it is cancelled.
    pub kill: CancellationToken,
    /// Runs a task for each connection.
    pub tasks: TaskTracker,
}

/// Accepts connections until `closing` of `accepting` is cancelled.
pub async fn accept(listener: Listener, router: Router, accepting: Accepting) {
    let Accepting { limits, closing, kill, tasks } = accepting;
    let (connections, stop) = (Connections::new(limits), closing.clone());
    let acceptor = Acceptor { server: "admin", connections, refusal: REFUSAL, stop, kill, tasks };
    let serve = |connection| {
        let (router, closing) = (router.clone(), closing.clone());
        async move { serve_connection(connection, router, &closing).await }
    };
    acceptor.run(listener, serve).await;
}

/// Serves a connection to its end, and closes it so that the peer receives all that was written.
async fn serve_connection(connection: AcceptedConnection, router: Router, closing: &CancellationToken) {
    let AcceptedConnection { mut stream, peer, slot } = connection;
    disable_delay(&stream);
    let caller = Caller { address: peer.ip(), slot: slot.clone() };
    tokio::select! {
        () = speak_http1(&mut stream, caller, router, closing) => close::orderly(&mut stream, CLOSE_TIMEOUT).await,
        () = slot.evicted() => slot.turn_away(&mut stream).await,
    }
}

async fn speak_http1(stream: &mut Stream, caller: Caller, router: Router, closing: &CancellationToken) {
    let (slot, unsent) = (caller.slot.clone(), Arc::new(AtomicBool::new(false)));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (caller, mut router) = (caller.clone(), router.clone());
        async move { Ok::<_, Infallible>(answer(caller, &mut router, request).await) }
    });
    let connection = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(Stalling::new(stream, unsent.clone())), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // Only its peer needs to know how it ended.
        _ = &mut connection => return,
        () = head_overdue(&slot, &unsent, HEAD_TIMEOUT) => return,
        () = sleep(MAX_AGE) => {}
        () = closing.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = timeout(AGE_GRACE, connection) => {}
        () = head_overdue(&slot, &unsent, SHUTDOWN_HEAD_TIMEOUT) => {}
    }
}

async fn answer(
    caller: Caller,
    router: &mut Router,
    request: hyper::Request<Incoming>,
) -> axum::response::Response<TrackedResponse> {
    let under_way = caller.begin();
    let mut request: Request = request.map(axum::body::Body::new);
    request.extensions_mut().insert(caller);
    let Ok(response) = router.call(request).await;
    response.map(|body| TrackedResponse::new(body, under_way))
}

/// Ends when a request's head is overdue by `limit` and everything was written before. hyper's own
/// timeout also counts the time in which the peer reads the response before.
async fn head_overdue(slot: &ConnectionSlot, unsent: &AtomicBool, limit: Duration) {
    let (mut checks, mut seen) = (0, None);
    while checks < HEAD_CHECKS {
        sleep(limit / HEAD_CHECKS).await;
        let waiting = slot.activity().filter(|(activity, _)| *activity == Activity::Waiting);
        let waits_on = waiting.is_some() && waiting == seen && !unsent.load(Ordering::Relaxed);
        checks = if waits_on { checks + 1 } else { 0 };
        seen = waiting;
    }
}
