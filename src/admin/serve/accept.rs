//! HTTP/1.1 connections of the admin server, within limits and timeouts.

use super::response::HttpCaller;
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
use tokio::io::AsyncWriteExt as _;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

use super::response::TrackedResponse;
use crate::net::acceptor::{AcceptedConnection, Acceptor};
use crate::net::close;
use crate::net::connections::{Activity, ConnectionLimits, ConnectionSlot, Connections};
use crate::net::listener::Listener;
use crate::net::peer::Peer;
use crate::net::stream::disable_delay;
use crate::tls::{HandshakeError, HandshakeFailure, HttpVersion, Secured, ServerStream, TlsServer, lost};

use super::write_timeout::Stalling;

/// Response to a connection over the limit.
const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// Response to a request without TLS on a port that speaks it.
const TLS_REQUIRED: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 32\r\n\r\nThis port speaks TLS: use https\n";
/// Time for a peer to receive it, and to close.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
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

/// Ends of a server: no further connections, and none any more.
#[derive(Clone, Default)]
pub struct Ends {
    /// Stops accepting, and ends connections in order.
    pub closing: CancellationToken,
    /// Drops connections.
    pub kill: CancellationToken,
    /// The tasks of the connections.
    pub tasks: TaskTracker,
}

/// How connections are accepted.
pub struct Accepting {
    /// Name of the server in the log.
    pub server: &'static str,
    /// TLS. `None` if connections do not speak it.
    pub tls: Option<Arc<TlsServer>>,
    /// Maximum numbers of connections.
    pub limits: ConnectionLimits,
    /// Ends of the server.
    pub ends: Ends,
}

/// Accepts connections, with limits of their own, until the server closes.
pub async fn accept(listener: Listener, router: Router, accepting: Accepting) {
    let Accepting { server, tls, limits, ends: Ends { closing, kill, tasks } } = accepting;
    let (connections, stop) = (Connections::new(limits), closing.clone());
    // A peer that expects TLS cannot read an answer without it.
    let refusal = if tls.is_some() { b"" } else { REFUSAL };
    let acceptor = Acceptor { server, connections, refusal, stop, kill, tasks };
    let serve = |connection| {
        let (router, closing, tls) = (router.clone(), closing.clone(), tls.clone());
        async move { serve_connection(connection, tls.as_deref(), router, &closing).await }
    };
    acceptor.run(listener, serve).await;
}

/// Serves a connection to its end, and closes it so that the peer receives all that was written.
async fn serve_connection(
    connection: AcceptedConnection,
    tls: Option<&TlsServer>,
    router: Router,
    closing: &CancellationToken,
) {
    let AcceptedConnection { stream, peer, slot } = connection;
    disable_delay(&stream);
    let secured = match tls {
        None => Secured::plain(stream),
        Some(tls) => {
            let accepted = tokio::select! {
                accepted = tls.accept(stream, HttpVersion::Http1) => accepted,
                () = close::cancelled_for(closing, SHUTDOWN_HEAD_TIMEOUT) => return,
                () = slot.evicted() => return,
            };
            match accepted {
                Ok(secured) => secured,
                Err(failure) => return refuse(failure, peer).await,
            }
        }
    };
    let Secured { mut stream, certificate, trust } = secured;
    let caller = HttpCaller { address: peer.ip(), certificate, slot: slot.clone() };
    tokio::select! {
        () = speak_http1(&mut stream, caller, router, closing) => close::orderly(&mut stream, CLOSE_TIMEOUT).await,
        () = slot.evicted() => slot.turn_away(&mut stream).await,
        reason = lost(trust) => tracing::info!(%peer, reason, "closing a connection: its client is not trusted any more"),
    }
}

/// Tells a peer why its handshake failed, and closes the connection.
async fn refuse(failure: HandshakeFailure, peer: Peer) {
    let HandshakeFailure { error, stream } = failure;
    tracing::debug!(%peer, %error, "a TLS handshake failed");
    let Some(mut stream) = stream else { return };
    if error == HandshakeError::PlainText {
        let _ = timeout(REFUSAL_TIMEOUT, stream.write_all(TLS_REQUIRED)).await;
    }
    close::orderly(&mut stream, REFUSAL_TIMEOUT).await;
}

async fn speak_http1(stream: &mut ServerStream, caller: HttpCaller, router: Router, closing: &CancellationToken) {
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
    caller: HttpCaller,
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
