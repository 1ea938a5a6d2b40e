//! One connection of the gRPC server: its preface, HTTP/2 on it, and its orderly end.

use std::convert::Infallible;
use std::error::Error as _;
use std::future::ready;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, FutureExt as _};
use futures_util::stream::{self, FuturesUnordered, StreamExt as _};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, join};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::config::Http2Config;
use super::frame_meter::FrameMeter;
use super::inline_executor::{ConnectionTask, InlineExecutor};
use super::metered_reader::MeteredReader;
use super::services::{ConnectionState, Services};
use super::write_buffer::WriteBuffer;
use crate::auth::Authority;
use crate::cache::admission::limits::Admission;
use crate::cache::admission::slot::Streams;
use crate::grpc::access::ConnectionAccess;
use crate::grpc::not_grpc::{Hint, ProxyWarnings};
use crate::grpc::plain_call::Begun;
use crate::grpc::request_body::{PeekedBody, PeekedFrame};
use crate::grpc::tracked_body::WriteProgress;
use crate::net::acceptor::AcceptedConnection;
use crate::net::close;
use crate::net::connections::{Activity, ConnectionSlot, peer_address};
use crate::net::peer::Peer;
use crate::net::stream::{Stream, disable_delay};
use crate::tls::{HandshakeError, HandshakeFailure, HttpVersion, Secured, ServerStream, TlsServer, Trust, lost, split};

/// The connection preface that an HTTP/2 client sends first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a new connection may still send its preface after the drain begins.
///
/// The bytes are on their way.
const PREFACE_GRACE: Duration = Duration::from_millis(300);
/// Minimum time for the peer to close after everything was written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a peer that does not speak HTTP/2 to close.
const SHORT_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for a peer that does not read, or that sends too much, to receive GOAWAY.
const STALLED_GRACE: Duration = Duration::from_secs(1);

/// The cause of an error of HTTP/2 for ENHANCE_YOUR_CALM, when this side detects it.
const EXCESSIVE_LOAD: &str = "connection error detected: detected excessive load generating behavior";
/// Time for the calls of a client that is not trusted any more to end.
const UNTRUSTED_GRACE: Duration = Duration::from_secs(1);

/// State that all connections share.
pub(super) struct ConnectionContext {
    pub load: Arc<Admission>,
    pub http2: Http2Config,
    /// Maximum duration of an RPC.
    pub max_deadline: Duration,
    /// Hint for peers that do not speak gRPC.
    pub hint: Arc<Hint>,
    pub services: Services,
    pub proxy_warnings: ProxyWarnings,
    /// The identities and grants in force.
    pub authority: Arc<Authority>,
    /// Cancelled when the drain begins.
    pub stop_accepting: CancellationToken,
}

/// The first bytes of a connection.
enum Opening {
    /// The HTTP/2 preface.
    Http2,
    /// Bytes of another protocol.
    Other,
    /// Fewer bytes than a preface. The peer has this long to close.
    Nothing(Duration),
    /// Fewer bytes than a preface before another connection took the slot.
    Evicted,
}

/// Serves a connection to its end and closes it so that the peer receives everything that was
/// written.
pub(super) async fn serve_connection(
    connection: AcceptedConnection,
    tls: Option<&TlsServer>,
    shared: &Arc<ConnectionContext>,
) {
    let AcceptedConnection { stream, peer, slot } = connection;
    disable_delay(&stream);
    let secured = match tls {
        None => Secured::plain(stream),
        Some(tls) => match shake_hands(stream, tls, peer, &slot, shared).await {
            Some(secured) => secured,
            None => return,
        },
    };
    let Secured { mut stream, certificate, trust } = secured;
    let mut preface = [0; PREFACE.len()];
    let limit = match open(&mut stream, &mut preface, peer, &slot, shared).await {
        Opening::Http2 => {
            slot.set(Activity::Protected);
            let access = ConnectionAccess::new(shared.authority.clone(), certificate, peer);
            serve_http2(&mut stream, preface, access, trust, shared).await
        }
        Opening::Other => {
            write_refusal(&mut stream, &shared.proxy_warnings.answer(&preface, peer, &shared.hint)).await;
            SHORT_CLOSE_TIMEOUT
        }
        Opening::Nothing(limit) => limit,
        Opening::Evicted => return slot.turn_away(&mut stream).await,
    };
    close::orderly(&mut stream, limit).await;
}

/// Accepts a TLS handshake. `None` if it failed, or another connection took the slot: then the
/// connection is closed.
async fn shake_hands(
    stream: Stream,
    tls: &TlsServer,
    peer: Peer,
    slot: &ConnectionSlot,
    shared: &ConnectionContext,
) -> Option<Secured> {
    let HandshakeFailure { error, stream } = tokio::select! {
        accepted = tls.accept(stream, HttpVersion::Http2) => match accepted {
            Ok(secured) => return Some(secured),
            Err(failure) => failure,
        },
        () = close::cancelled_for(&shared.stop_accepting, PREFACE_GRACE) => return None,
        () = slot.evicted() => return None,
    };
    tracing::debug!(%peer, %error, "a TLS handshake failed");
    let mut stream = stream?;
    let closing = async {
        if error == HandshakeError::PlainText {
            let mut first = [0; PREFACE.len()];
            let read = stream.read(&mut first).await.unwrap_or_default();
            let answer = shared.proxy_warnings.answer_plain_text(&first[..read], peer);
            write_refusal(&mut stream, &answer).await;
        }
        close::orderly(&mut stream, SHORT_CLOSE_TIMEOUT).await;
    };
    tokio::select! {
        () = closing => {}
        () = slot.evicted() => {}
    }
    None
}

/// Reads the connection preface.
async fn open(
    stream: &mut ServerStream,
    preface: &mut [u8; PREFACE.len()],
    peer: Peer,
    slot: &ConnectionSlot,
    shared: &ConnectionContext,
) -> Opening {
    let first = tokio::select! {
        first = timeout(shared.http2.first_byte_timeout, stream.read_exact(preface)) => first,
        () = close::cancelled_for(&shared.stop_accepting, PREFACE_GRACE) => return Opening::Nothing(PREFACE_GRACE),
        () = slot.evicted() => return Opening::Evicted,
    };
    match first {
        Ok(Ok(_)) if preface == PREFACE => Opening::Http2,
        Ok(Ok(_)) => Opening::Other,
        Ok(Err(_)) => Opening::Nothing(SHORT_CLOSE_TIMEOUT),
        Err(_) => {
            tracing::debug!(%peer, "the preface of a connection timed out");
            Opening::Nothing(SHORT_CLOSE_TIMEOUT)
        }
    }
}

/// Serves HTTP/2 until the connection ends. Returns how long the peer then has to close.
async fn serve_http2(
    stream: &mut ServerStream,
    preface: [u8; PREFACE.len()],
    access: Arc<ConnectionAccess>,
    trust: Option<Trust>,
    shared: &Arc<ConnectionContext>,
) -> Duration {
    let peer = access.peer();
    let (read, write) = split(stream);
    let output = WriteBuffer::new(write);
    let progress = begin_progress(peer, shared);
    let (closing, flooded) = (CancellationToken::new(), CancellationToken::new());
    let meter = FrameMeter::new(progress.clone(), PREFACE.len());
    let read = Cursor::new(preface).chain(read);
    let io = TokioIo::new(join(MeteredReader::new(read, meter, flooded.clone()), output.clone()));
    let service = {
        let (shared, progress, closing) = (shared.clone(), progress.clone(), closing.clone());
        service_fn(move |mut request| {
            let mut first = PeekedFrame::NONE;
            match shared.services.begin_plain(&mut request, &mut first, &progress, &access) {
                Some(Begun::Answered(response)) => return Either::Left(ready(Ok::<_, Infallible>(response))),
                Some(Begun::Waits(answer)) => return Either::Right(Either::Left(answer.map(Ok))),
                None => {}
            }
            let (shared, progress, closing) = (shared.clone(), progress.clone(), closing.clone());
            let access = access.clone();
            let request = request.map(|rest| PeekedBody { first, rest });
            let answer = async move {
                let connection = ConnectionState { progress: &progress, closing: &closing, access: &access };
                Ok(shared.services.answer(request, peer, connection).await)
            };
            Either::Right(Either::Right(Box::pin(answer)))
        })
    };
    let executor = InlineExecutor::default();
    let connection = http2_of(executor.clone(), shared).serve_connection(io, service);
    let mut connection = ConnectionTask::new(connection, executor, output);
    // In a set, so that it is polled only when one of its causes woke it.
    let mut shutdown: FuturesUnordered<_> =
        stream::iter([shutdown_cause(&progress, &flooded, trust, peer, shared)]).collect().await;
    let grace = tokio::select! {
        biased;
        ended = &mut connection => {
            log_end(ended, peer, shared);
            return CLOSE_TIMEOUT;
        }
        Some(grace) = shutdown.next() => grace,
    };
    let shutdown_started_at = Instant::now();
    connection.connection().graceful_shutdown();
    closing.cancel();
    match timeout(grace, connection).await {
        Ok(ended) => log_end(ended, peer, shared),
        Err(_) if flooded.is_cancelled() => log_flood(peer, shared),
        Err(_) => tracing::debug!(%peer, "a connection was closed after its grace period"),
    }
    // The grace includes the time in which the peer reads the kernel's send buffer.
    grace.saturating_sub(shutdown_started_at.elapsed()).max(CLOSE_TIMEOUT)
}

/// Returns the settings of HTTP/2.
fn http2_of(executor: InlineExecutor, shared: &ConnectionContext) -> http2::Builder<InlineExecutor> {
    let config = &shared.http2;
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(concurrent_streams(shared))
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        .max_header_list_size(config.max_metadata_size)
        .max_pending_accept_reset_streams(config.max_streams as usize); // A client may cancel all of its calls.
    builder
}

/// Returns the most streams of a connection. Those that wait for a lease come on top, so that they
/// leave room for others.
fn concurrent_streams(shared: &ConnectionContext) -> u32 {
    let waiting = u32::try_from(Streams::waiting_limit(&shared.load)).unwrap_or(u32::MAX);
    shared.http2.max_streams.saturating_add(waiting)
}

/// Opens the account of a connection, and its streams.
fn begin_progress(peer: Peer, shared: &ConnectionContext) -> Arc<WriteProgress> {
    let config = &shared.http2;
    let streams = Streams::new(config.max_streams.min(config.max_in_flight) as usize, &shared.load);
    Arc::new(WriteProgress::new(shared.load.account(peer_address(peer.ip())), streams))
}

/// Completes when a connection has to be shut down. Returns the time for its calls to end.
async fn shutdown_cause(
    progress: &WriteProgress,
    flooded: &CancellationToken,
    trust: Option<Trust>,
    peer: Peer,
    shared: &ConnectionContext,
) -> Duration {
    let age = shared.http2.max_age.mul_f64(rand::random_range(0.9..1.1));
    tokio::select! {
        // HTTP/2 ends the connection, unless the peer does not read its end.
        () = flooded.cancelled() => STALLED_GRACE,
        () = progress.stalled(shared.max_deadline) => {
            tracing::debug!(%peer, "closing a connection: its peer does not read responses");
            STALLED_GRACE
        }
        () = sleep(age) => shared.http2.max_age_grace,
        reason = lost(trust) => {
            tracing::info!(%peer, reason, "closing a connection: its client is not trusted any more");
            UNTRUSTED_GRACE
        }
        // `drain` closes it when its timeout has passed.
        () = shared.stop_accepting.cancelled() => Duration::MAX,
    }
}

fn log_end(ended: Result<(), hyper::Error>, peer: Peer, shared: &ConnectionContext) {
    match ended {
        Err(error) if is_flood(&error) => log_flood(peer, shared),
        Err(error) => tracing::debug!(%peer, %error, "a connection failed"),
        Ok(()) => {}
    }
}

/// Returns true if HTTP/2 ended the connection with ENHANCE_YOUR_CALM.
fn is_flood(error: &hyper::Error) -> bool {
    error.source().is_some_and(|cause| cause.to_string().contains(EXCESSIVE_LOAD))
}

fn log_flood(peer: Peer, shared: &ConnectionContext) {
    shared.load.floods.inc();
    tracing::warn!(%peer, "closed a connection: too many frames that carry no request");
}

/// Writes an explanation to a browser, curl without HTTP/2, or a caller that mistakes TLS for plain text.
async fn write_refusal<S: AsyncWrite + Unpin>(stream: &mut S, answer: &[u8]) {
    let _ = timeout(SHORT_CLOSE_TIMEOUT, stream.write_all(answer)).await;
}
