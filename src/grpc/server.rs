//! The gRPC server: accepts connections, serves HTTP/2 on each, and drains them.
//!
//! Only this file uses hyper.

use std::collections::HashMap;
use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, join};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service as _;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_reflection::pb::{v1, v1alpha};
use tracing::{Instrument as _, Span};

use super::admin::AdminApi;
use super::decoded_size::Schema;
use super::header_size;
use super::health::HealthApi;
use super::method_names;
use super::method_names::{Method, ServiceKind};
use super::middleware;
use super::middleware::{AdmissionGate, MAX_PROBE_MESSAGE_BYTES};
use super::not_grpc;
use super::not_grpc::ProxyWarnings;
use super::reflection::{Descriptors, ReflectionApi};
use super::rpc_metrics::RpcMetrics;
use super::rpc_span::{RpcSpan, Tracing};
use super::service::CacheApi;
use super::tracked_body::{TrackedResponseBody, WriteProgress};
use crate::cache::admission::limits::Admission;
use crate::cache::admission::slot::Streams;
use crate::cache::stats::LabeledHistograms;
use crate::net::acceptor::{AcceptedConnection, Acceptor};
use crate::net::close;
use crate::net::connections::{Activity, ConnectionLimits, ConnectionSlot, peer_address};
use crate::pb;
use crate::pb::admin_service_server;
use crate::pb::admin_service_server::AdminServiceServer;
use crate::pb::cache_service_server;
use crate::pb::cache_service_server::CacheServiceServer;

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
/// Time for a peer that does not read its responses to receive GOAWAY.
const STALLED_GRACE: Duration = Duration::from_secs(1);

/// Makes a generated server accept compressed messages.
///
/// Its message limit also bounds the decompressed size.
macro_rules! accept_compressed {
    ($server:expr) => {
        $server.accept_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Zstd)
    };
}

/// Like `accept_compressed`. If `$on`, responses are also compressed for callers that accept it.
macro_rules! compress {
    ($server:expr, $on:expr) => {
        if $on {
            accept_compressed!($server)
                .send_compressed(CompressionEncoding::Zstd)
                .send_compressed(CompressionEncoding::Gzip)
        } else {
            accept_compressed!($server)
        }
    };
}

/// Configuration of the gRPC server.
#[derive(Clone)]
pub struct ServerConfig {
    /// Maximum number of open connections.
    pub max_connections: usize,
    /// Maximum number of open connections of one peer.
    pub max_connections_per_peer: usize,
    /// Maximum number of active streams of one connection, not counting streams that wait for a
    /// lease.
    pub max_streams_per_connection: u32,
    /// Maximum size of the metadata of one request, in bytes.
    pub max_metadata_size: u32,
    /// Timeout for the connection preface.
    pub first_byte_timeout: Duration,
    /// Interval of keepalive pings on a connection.
    pub keepalive_interval: Duration,
    /// Timeout for the acknowledgement of a ping.
    pub keepalive_timeout: Duration,
    /// Age at which a connection is shut down gracefully, ±10 %.
    pub max_connection_age: Duration,
    /// Maximum time from the graceful shutdown to the forced close.
    pub max_connection_age_grace: Duration,
    /// Maximum duration of an RPC, also if the caller's timeout is longer.
    pub max_deadline: Duration,
    /// True if responses are compressed for callers that accept it.
    pub compression: bool,
    /// Timeout for the body of a request.
    pub body_timeout: Duration,
    /// Minimum duration of a request that is logged as slow.
    ///
    /// `None` if slow requests are not logged.
    pub slow_request: Option<Duration>,
    /// True if reflection is served.
    pub reflection: bool,
    /// Creates the spans of RPCs. `None` if RPCs are not traced.
    pub tracing: Option<Tracing>,
    /// Address of the dashboard, for the hint that a browser receives.
    pub page: Option<SocketAddr>,
}

/// A running server.
pub struct ServerHandle {
    stop_accepting: CancellationToken,
    close: CancellationToken,
    tasks: TaskTracker,
}

/// State that all connections share.
struct ServerContext {
    pub(crate) config: ServerConfig,
    gate: AdmissionGate,
    load: Arc<Admission>,
    /// The served methods by path.
    methods: HashMap<String, Method>,
    cache: CacheServiceServer<CacheApi>,
    admin: Option<AdminServiceServer<AdminApi>>,
    readiness: HealthApi,
    proxy_warnings: ProxyWarnings,
    health: HealthServer<HealthApi>,
    reflection: Option<ReflectionApi>,
    /// Histograms of the durations of RPCs. `None` if they are not measured.
    timings: Option<Arc<LabeledHistograms>>,
    stop_accepting: CancellationToken,
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

// === impl ServerHandle ===

impl ServerHandle {
    /// Starts a server on a bound listener. The durations of RPCs are recorded in `timings`.
    pub fn start(
        listener: TcpListener,
        config: ServerConfig,
        api: CacheApi,
        admin: Option<AdminApi>,
        health: HealthApi,
        load: Arc<Admission>,
        timings: Option<Arc<LabeledHistograms>>,
    ) -> ServerHandle {
        let (stop_accepting, close, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let max_request_size = api.max_request_size();
        let acceptor = Acceptor {
            server: "grpc",
            limits: ConnectionLimits { connections: config.max_connections, per_peer: config.max_connections_per_peer },
            // No GOAWAY: a gRPC client that has received SETTINGS counts the connection as
            // established and reconnects without backoff. A close before SETTINGS is a failed
            // attempt: the client backs off and tries its other addresses.
            refusal: b"",
            stop: stop_accepting.clone(),
            kill: close.clone(),
            tasks: tasks.clone(),
        };
        let messages = method_names::messages();
        let gate = AdmissionGate {
            max_deadline: config.max_deadline,
            body_timeout: config.body_timeout,
            slow_request: config.slow_request,
            max_request_size,
            schema: Schema::new(&messages, api.limits()),
        };
        let reflection = config.reflection.then(|| reflection(admin.is_some())).flatten();
        let shared = Arc::new(ServerContext {
            methods: method_names::table(&messages, admin.is_some(), reflection.is_some()),
            readiness: health.clone(),
            proxy_warnings: ProxyWarnings::default(),
            health: accept_compressed!(HealthServer::new(health).max_decoding_message_size(MAX_PROBE_MESSAGE_BYTES)),
            reflection,
            admin: admin.map(|admin| {
                compress!(
                    AdminServiceServer::new(admin).max_decoding_message_size(max_request_size),
                    config.compression
                )
            }),
            cache: compress!(
                CacheServiceServer::new(api).max_decoding_message_size(max_request_size),
                config.compression
            ),
            config,
            gate,
            load,
            timings,
            stop_accepting: stop_accepting.clone(),
        });
        tasks.spawn(acceptor.run(listener, move |connection| {
            let shared = shared.clone();
            async move {
                let _counted = shared.load.track_connection();
                serve_connection(connection, &shared).await;
            }
        }));
        ServerHandle { stop_accepting, close, tasks }
    }

    /// Drains the server: stops accepting, shuts down every connection gracefully, and waits at
    /// most `drain_timeout` for the last RPCs.
    ///
    /// Then closes the remaining connections. Returns true if none remained.
    pub async fn drain(&self, drain_timeout: Duration) -> bool {
        self.stop_accepting.cancel();
        self.tasks.close();
        let graceful = timeout(drain_timeout, self.tasks.wait()).await.is_ok();
        self.close.cancel();
        self.tasks.wait().await;
        graceful
    }
}

/// Creates the reflection service.
///
/// Includes the descriptors of error details, so that tools can show them.
fn reflection(admin: bool) -> Option<ReflectionApi> {
    let sets = [
        pb::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_types::pb::FILE_DESCRIPTOR_SET,
        v1::FILE_DESCRIPTOR_SET,
        v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let mut services = vec![
        cache_service_server::SERVICE_NAME,
        health_server::SERVICE_NAME,
        v1::server_reflection_server::SERVICE_NAME,
        v1alpha::server_reflection_server::SERVICE_NAME,
    ];
    if admin {
        services.push(admin_service_server::SERVICE_NAME);
    }
    match Descriptors::new(&sets, &services) {
        Ok(descriptors) => Some(ReflectionApi(Arc::new(descriptors))),
        Err(error) => {
            tracing::error!(%error, "reflection is not served: its descriptors cannot be read");
            None
        }
    }
}

/// Serves a connection to its end and closes it so that the peer receives everything that was
/// written.
async fn serve_connection(connection: AcceptedConnection, shared: &Arc<ServerContext>) {
    let AcceptedConnection { mut stream, peer, slot } = connection;
    let _ = stream.set_nodelay(true);
    let mut preface = [0; PREFACE.len()];
    let limit = match open(&mut stream, &mut preface, peer, &slot, shared).await {
        Opening::Http2 => {
            slot.set(Activity::Protected);
            serve_http2(&mut stream, preface, peer, shared).await
        }
        Opening::Other => {
            write_refusal(&mut stream, &shared.proxy_warnings.answer(&preface, peer, shared.config.page)).await;
            SHORT_CLOSE_TIMEOUT
        }
        Opening::Nothing(limit) => limit,
        Opening::Evicted => return slot.turn_away(&mut stream).await,
    };
    close::orderly(&mut stream, limit).await;
}

/// Reads the connection preface.
async fn open(
    stream: &mut TcpStream,
    preface: &mut [u8; PREFACE.len()],
    peer: SocketAddr,
    slot: &ConnectionSlot,
    shared: &ServerContext,
) -> Opening {
    let first = tokio::select! {
        first = timeout(shared.config.first_byte_timeout, stream.read_exact(preface)) => first,
        () = cancelled_for(&shared.stop_accepting, PREFACE_GRACE) => return Opening::Nothing(PREFACE_GRACE),
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
    stream: &mut TcpStream,
    preface: [u8; PREFACE.len()],
    peer: SocketAddr,
    shared: &Arc<ServerContext>,
) -> Duration {
    let (read, write) = stream.split();
    let io = TokioIo::new(join(Cursor::new(preface).chain(read), write));
    let config = &shared.config;
    let streams = Streams::new(config.max_streams_per_connection as usize, &shared.load);
    let progress = Arc::new(WriteProgress::new(shared.load.account(peer_address(peer.ip())), streams));
    let closing = CancellationToken::new();
    let service = {
        let (shared, progress, closing) = (shared.clone(), progress.clone(), closing.clone());
        service_fn(move |request| {
            let (shared, progress, closing) = (shared.clone(), progress.clone(), closing.clone());
            async move { Ok::<_, std::convert::Infallible>(shared.answer(request, peer, &progress, &closing).await) }
        })
    };
    // Streams that wait for a lease come on top, so that they leave room for others.
    let waiting = u32::try_from(Streams::waiting_limit(&shared.load)).unwrap_or(u32::MAX);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams_per_connection.saturating_add(waiting))
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        .max_header_list_size(config.max_metadata_size)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let age = config.max_connection_age.mul_f64(rand::random_range(0.9..1.1));
    let grace = tokio::select! {
        ended = &mut connection => {
            log_end(ended, peer);
            return CLOSE_TIMEOUT;
        }
        () = progress.stalled(config.max_deadline) => {
            tracing::debug!(%peer, "closing a connection: its peer does not read responses");
            STALLED_GRACE
        }
        () = sleep(age) => config.max_connection_age_grace,
        // `drain` closes it when its timeout has passed.
        () = shared.stop_accepting.cancelled() => Duration::MAX,
    };
    let shutdown_started_at = Instant::now();
    connection.as_mut().graceful_shutdown();
    closing.cancel();
    match timeout(grace, connection).await {
        Ok(ended) => log_end(ended, peer),
        Err(_) => tracing::debug!(%peer, "a connection was closed after its grace period"),
    }
    // The grace includes the time in which the peer reads the kernel's send buffer.
    grace.saturating_sub(shutdown_started_at.elapsed()).max(CLOSE_TIMEOUT)
}

/// Completes `time` after `token` was cancelled.
async fn cancelled_for(token: &CancellationToken, time: Duration) {
    token.cancelled().await;
    sleep(time).await;
}

fn log_end(ended: Result<(), hyper::Error>, peer: SocketAddr) {
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection failed");
    }
}

/// Writes an explanation to a browser, curl without HTTP/2, or a TLS client on this plaintext port.
async fn write_refusal(stream: &mut TcpStream, answer: &[u8]) {
    let _ = timeout(SHORT_CLOSE_TIMEOUT, stream.write_all(answer)).await;
}

// === impl ServerContext ===

impl ServerContext {
    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        progress: &Arc<WriteProgress>,
        closing: &CancellationToken,
    ) -> http::Response<TrackedResponseBody> {
        if let Some(refusal) = not_grpc::refusal(&request, self.readiness.is_ready(), self.config.page) {
            return refusal.map(TrackedResponseBody::uncounted);
        }
        let tracing = self.config.tracing.as_ref();
        let uri = request.uri().clone();
        let span = tracing.and_then(|tracing| RpcSpan::begin(tracing, &request, peer));
        let parent = span.as_ref().map_or(Span::none(), RpcSpan::span);
        let mut response = self.respond(request, progress, closing).instrument(parent).await;
        not_grpc::explain_unimplemented(uri.path(), response.headers_mut());
        header_size::limit(response.headers_mut());
        match span.and_then(|span| span.answered(response.headers())) {
            Some(span) => response.map(|body| body.traced(span)),
            None => response,
        }
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        progress: &Arc<WriteProgress>,
        closing: &CancellationToken,
    ) -> http::Response<TrackedResponseBody> {
        let Some(timings) = &self.timings else { return self.route(request, progress, closing).await };
        let timing = RpcMetrics::begin(timings, request.uri().path());
        let response = self.route(request, progress, closing).await;
        timing.end(&response);
        response
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        progress: &Arc<WriteProgress>,
        closing: &CancellationToken,
    ) -> http::Response<TrackedResponseBody> {
        let Some(method) = self.methods.get(request.uri().path()) else { return middleware::unimplemented(&request) };
        let gate = &self.gate;
        match (method.service, &self.admin, &self.reflection) {
            (ServiceKind::Cache, ..) => {
                let mut cache = self.cache.clone();
                middleware::serve(gate, progress, closing, method, request, |request| cache.call(request)).await
            }
            (ServiceKind::Admin, Some(admin), _) => {
                let mut admin = admin.clone();
                middleware::serve(gate, progress, closing, method, request, |request| admin.call(request)).await
            }
            (ServiceKind::Health, ..) => {
                let mut health = self.health.clone();
                middleware::serve(gate, progress, closing, method, request, |request| health.call(request)).await
            }
            (ServiceKind::ReflectionV1, _, Some(reflection)) => {
                let service = v1::server_reflection_server::ServerReflectionServer::new(reflection.clone());
                let mut service = accept_compressed!(service.max_decoding_message_size(MAX_PROBE_MESSAGE_BYTES));
                middleware::serve(gate, progress, closing, method, request, |request| service.call(request)).await
            }
            (ServiceKind::ReflectionV1Alpha, _, Some(reflection)) => {
                let service = v1alpha::server_reflection_server::ServerReflectionServer::new(reflection.clone());
                let mut service = accept_compressed!(service.max_decoding_message_size(MAX_PROBE_MESSAGE_BYTES));
                middleware::serve(gate, progress, closing, method, request, |request| service.call(request)).await
            }
            (ServiceKind::Admin | ServiceKind::ReflectionV1 | ServiceKind::ReflectionV1Alpha, ..) => {
                middleware::unimplemented(&request)
            }
        }
    }
}
