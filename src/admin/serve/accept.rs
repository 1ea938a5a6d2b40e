//! The serving loop: speaks HTTP/1.1 on each connection, within limits. The one place here that knows hyper.

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
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

use super::response::TrackedResponse;
use crate::net::acceptor::{AcceptedConnection, Acceptor};
use crate::net::close;
use crate::net::connections::{Activity, ConnectionLimits, ConnectionSlot};

use super::write_timeout::Stalling;

/// Most connections at once. More than event streams, which do not give way to others: probes find a place.
const LIMITS: ConnectionLimits = ConnectionLimits { connections: 64, per_peer: 16 };
/// Sent to a connection for which there is no place.
const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// Most bytes of a request's head.
const HEAD: usize = 16 * 1024;
/// Longest time for a request's head, and longest silence between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Age at which a connection, and a stream of events, ends. The dashboard connects anew.
pub const AGE: Duration = Duration::from_secs(15 * 60);
/// Longest time from then to the end of an answer under way.
const AGE_GRACE: Duration = Duration::from_secs(60);
/// Longest time for a request's head when the service stops.
const LAST_HEAD_TIMEOUT: Duration = Duration::from_millis(300);
/// Longest time for the peer to close, once everything was written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Looks at whether a head is overdue, in each timeout for it.
const LOOKS: u32 = 10;

/// Accepts connections until `closing` is cancelled, and ends them when `kill` is.
pub async fn accept(
    listener: TcpListener,
    router: Router,
    closing: CancellationToken,
    kill: CancellationToken,
    tasks: TaskTracker,
) {
    let acceptor = Acceptor { server: "admin", limits: LIMITS, refusal: REFUSAL, stop: closing.clone(), kill, tasks };
    let serve = |connection| {
        let (router, closing) = (router.clone(), closing.clone());
        async move { serve_connection(connection, router, &closing).await }
    };
    acceptor.run(listener, serve).await;
}

/// Serves a connection to its end, and closes it so that the peer receives all that was written.
async fn serve_connection(connection: AcceptedConnection, router: Router, closing: &CancellationToken) {
    let AcceptedConnection { mut stream, peer, slot } = connection;
    let _ = stream.set_nodelay(true);
    let caller = Caller { address: peer.ip(), slot: slot.clone() };
    tokio::select! {
        () = speak_http1(&mut stream, caller, router, closing) => close::orderly(&mut stream, CLOSE_TIMEOUT).await,
        () = slot.evicted() => slot.turn_away(&mut stream).await,
    }
}

async fn speak_http1(stream: &mut TcpStream, caller: Caller, router: Router, closing: &CancellationToken) {
    let (slot, unsent) = (caller.slot.clone(), Arc::new(AtomicBool::new(false)));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (caller, mut router) = (caller.clone(), router.clone());
        async move { Ok::<_, Infallible>(answer(caller, &mut router, request).await) }
    });
    let connection = http1::Builder::new()
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(Stalling::new(stream, unsent.clone())), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // How it ended is of interest to its peer only.
        _ = &mut connection => return,
        () = head_overdue(&slot, &unsent, HEAD_TIMEOUT) => return,
        () = sleep(AGE) => {}
        () = closing.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = timeout(AGE_GRACE, connection) => {}
        () = head_overdue(&slot, &unsent, LAST_HEAD_TIMEOUT) => {}
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

/// Ends when a request's head is awaited for `limit`, and everything was written before. hyper's own timeout counts the time, too, in which
/// the peer reads the answer before.
async fn head_overdue(slot: &ConnectionSlot, unsent: &AtomicBool, limit: Duration) {
    let (mut looks, mut seen) = (0, None);
    while looks < LOOKS {
        sleep(limit / LOOKS).await;
        let waiting = slot.activity().filter(|(activity, _)| *activity == Activity::Waiting);
        let waits_on = waiting.is_some() && waiting == seen && !unsent.load(Ordering::Relaxed);
        looks = if waits_on { looks + 1 } else { 0 };
        seen = waiting;
    }
}
