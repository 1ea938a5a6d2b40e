//! The serving loop: accepts connections, speaks HTTP/2 on each, rotates and drains them. The one place that knows hyper.

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
use super::method_names::{Method, Served};
use super::middleware;
use super::middleware::{AdmissionGate, MAX_PROBE_MESSAGE};
use super::not_grpc;
use super::not_grpc::Proxied;
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

/// What an HTTP/2 client says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Time in which a connection that is new when the drain begins may say its first words: they are on their way.
const GREETING: Duration = Duration::from_millis(300);
/// Shortest limit for the peer to close, once everything was written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for a peer that spoke no HTTP/2.
const SHORT_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for a peer that did not read its responses to receive GOAWAY.
const STALLED_GRACE: Duration = Duration::from_secs(1);

/// Has a generated server accept compressed messages. It bounds what a message unpacks to as it bounds what it reads.
macro_rules! accept_compressed {
    ($server:expr) => {
        $server.accept_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Zstd)
    };
}

/// Has it compress its answers, too, where `$on` and the caller accepts it.
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

/// How connections are served.
#[derive(Clone)]
pub struct ServerConfig {
    /// Most connections open at once.
    pub max_connections: usize,
    /// Most of them from one peer.
    pub max_connections_per_peer: usize,
    /// Most streams of one connection in work at once, beside those that wait for another caller.
    pub max_streams_per_connection: u32,
    /// Largest metadata of one request.
    pub max_metadata_size: u32,
    /// Longest time for a client's first bytes.
    pub first_byte_timeout: Duration,
    /// Pause between pings on a connection.
    pub keepalive_interval: Duration,
    /// Longest time for the answer to a ping.
    pub keepalive_timeout: Duration,
    /// Age at which a connection is asked to go, give or take a tenth.
    pub max_connection_age: Duration,
    /// Longest time from then to its end.
    pub max_connection_age_grace: Duration,
    /// Longest time an RPC may take, whatever its caller says.
    pub max_deadline: Duration,
    /// Whether responses are compressed for callers that accept it.
    pub compression: bool,
    /// Longest time for the body of a request.
    pub body_timeout: Duration,
    /// Duration from which on a request is logged; none: no request is.
    pub slow_request: Option<Duration>,
    /// Whether reflection is served.
    pub reflection: bool,
    /// How RPCs are traced; none: they are not.
    pub tracing: Option<Tracing>,
    /// Where there is a dashboard, to tell who comes here with a browser.
    pub page: Option<SocketAddr>,
}

/// A server at work.
pub struct ServerHandle {
    stop_accepting: CancellationToken,
    close: CancellationToken,
    tasks: TaskTracker,
}

/// What every connection shares.
struct ServerContext {
    pub(crate) config: ServerConfig,
    gate: AdmissionGate,
    load: Arc<Admission>,
    /// The methods that are served, by path.
    methods: HashMap<String, Method>,
    cache: CacheServiceServer<CacheApi>,
    admin: Option<AdminServiceServer<AdminApi>>,
    readiness: HealthApi,
    proxied: Proxied,
    health: HealthServer<HealthApi>,
    reflection: Option<ReflectionApi>,
    /// Where the durations of RPCs are counted; none: they are not.
    timings: Option<Arc<LabeledHistograms>>,
    stop_accepting: CancellationToken,
}

/// The beginning of a connection.
enum Opening {
    /// The preface of HTTP/2.
    Http2,
    /// Something else.
    Other,
    /// Too little. The peer has this long to close.
    Nothing(Duration),
    /// Too little, before another connection took the place.
    Evicted,
}

// === impl Serving ===

impl ServerHandle {
    /// Serves on a bound listener. How long RPCs take is counted in `timings`.
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
            // No GOAWAY: a gRPC client that has seen SETTINGS takes the connection for a good one, and connects again without backoff. One that
            // is closed before is a failed attempt: the client backs off, and tries its other addresses.
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
            proxied: Proxied::default(),
            health: accept_compressed!(HealthServer::new(health).max_decoding_message_size(MAX_PROBE_MESSAGE)),
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

    /// Stops accepting, asks every connection to go, waits at most `patience` for their last RPCs, then closes what is left. Returns
    /// whether nothing was left.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.stop_accepting.cancel();
        self.tasks.close();
        let graceful = timeout(patience, self.tasks.wait()).await.is_ok();
        self.close.cancel();
        self.tasks.wait().await;
        graceful
    }
}

/// The reflection service. The descriptors of error details are included, so that tools show them.
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

/// Serves a connection to its end, and closes it so that the peer receives all that was written.
async fn serve_connection(connection: AcceptedConnection, shared: &Arc<ServerContext>) {
    let AcceptedConnection { mut stream, peer, slot } = connection;
    let _ = stream.set_nodelay(true);
    let mut preface = [0; PREFACE.len()];
    let limit = match open(&mut stream, &mut preface, peer, &slot, shared).await {
        Opening::Http2 => {
            slot.set(Activity::Protected);
            speak_http2(&mut stream, preface, peer, shared).await
        }
        Opening::Other => {
            say_that_this_is_grpc(&mut stream, &shared.proxied.answer(&preface, peer, shared.config.page)).await;
            SHORT_CLOSE_TIMEOUT
        }
        Opening::Nothing(limit) => limit,
        Opening::Evicted => return slot.turn_away(&mut stream).await,
    };
    close::orderly(&mut stream, limit).await;
}

/// Reads the preface.
async fn open(
    stream: &mut TcpStream,
    preface: &mut [u8; PREFACE.len()],
    peer: SocketAddr,
    slot: &ConnectionSlot,
    shared: &ServerContext,
) -> Opening {
    let first = tokio::select! {
        first = timeout(shared.config.first_byte_timeout, stream.read_exact(preface)) => first,
        () = wait_when(&shared.stop_accepting, GREETING) => return Opening::Nothing(GREETING),
        () = slot.evicted() => return Opening::Evicted,
    };
    match first {
        Ok(Ok(_)) if preface == PREFACE => Opening::Http2,
        Ok(Ok(_)) => Opening::Other,
        Ok(Err(_)) => Opening::Nothing(SHORT_CLOSE_TIMEOUT),
        Err(_) => {
            tracing::debug!(%peer, "a connection said nothing in time");
            Opening::Nothing(SHORT_CLOSE_TIMEOUT)
        }
    }
}

/// Speaks HTTP/2 until the connection ends. Returns how long the peer then has to close.
async fn speak_http2(
    stream: &mut TcpStream,
    preface: [u8; PREFACE.len()],
    peer: SocketAddr,
    shared: &Arc<ServerContext>,
) -> Duration {
    let (read, write) = stream.split();
    let io = TokioIo::new(join(Cursor::new(preface).chain(read), write));
    let config = &shared.config;
    let streams = Streams::new(config.max_streams_per_connection as usize, &shared.load);
    let flow = Arc::new(WriteProgress::new(shared.load.account(peer_address(peer.ip())), streams));
    let going = CancellationToken::new();
    let service = {
        let (shared, flow, going) = (shared.clone(), flow.clone(), going.clone());
        service_fn(move |request| {
            let (shared, flow, going) = (shared.clone(), flow.clone(), going.clone());
            async move { Ok::<_, std::convert::Infallible>(shared.answer(request, peer, &flow, &going).await) }
        })
    };
    // Those that wait for another caller come on top, so that they leave room for others.
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
            debug_end(ended, peer);
            return CLOSE_TIMEOUT;
        }
        () = flow.stalled(config.max_deadline) => {
            tracing::debug!(%peer, "a peer did not read its responses");
            STALLED_GRACE
        }
        () = sleep(age) => config.max_connection_age_grace,
        // The end of the drain ends it.
        () = shared.stop_accepting.cancelled() => Duration::MAX,
    };
    let asked = Instant::now();
    connection.as_mut().graceful_shutdown();
    going.cancel();
    match timeout(grace, connection).await {
        Ok(ended) => debug_end(ended, peer),
        Err(_) => tracing::debug!(%peer, "a connection did not go in time and was closed"),
    }
    // The grace includes the time in which the peer reads what the kernel holds.
    grace.saturating_sub(asked.elapsed()).max(CLOSE_TIMEOUT)
}

/// Ends so long after `token`.
async fn wait_when(token: &CancellationToken, time: Duration) {
    token.cancelled().await;
    sleep(time).await;
}

fn debug_end(ended: Result<(), hyper::Error>, peer: SocketAddr) {
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended in an error");
    }
}

/// A browser, curl without HTTP/2, or a TLS client on this plain port: say so instead of nothing.
async fn say_that_this_is_grpc(stream: &mut TcpStream, answer: &[u8]) {
    let _ = timeout(SHORT_CLOSE_TIMEOUT, stream.write_all(answer)).await;
}

// === impl Shared ===

impl ServerContext {
    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        flow: &Arc<WriteProgress>,
        going: &CancellationToken,
    ) -> http::Response<TrackedResponseBody> {
        if let Some(refusal) = not_grpc::refusal(&request, self.readiness.is_ready(), self.config.page) {
            return refusal.map(TrackedResponseBody::uncounted);
        }
        let tracing = self.config.tracing.as_ref();
        let uri = request.uri().clone();
        let span = tracing.and_then(|tracing| RpcSpan::begin(tracing, &request, peer));
        let within = span.as_ref().map_or(Span::none(), RpcSpan::span);
        let mut response = self.respond(request, flow, going).instrument(within).await;
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
        flow: &Arc<WriteProgress>,
        going: &CancellationToken,
    ) -> http::Response<TrackedResponseBody> {
        let Some(timings) = &self.timings else { return self.route(request, flow, going).await };
        let timing = RpcMetrics::begin(timings, request.uri().path());
        let response = self.route(request, flow, going).await;
        timing.end(&response);
        response
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        flow: &Arc<WriteProgress>,
        going: &CancellationToken,
    ) -> http::Response<TrackedResponseBody> {
        let Some(method) = self.methods.get(request.uri().path()) else { return middleware::unimplemented(&request) };
        let gate = &self.gate;
        match (method.service, &self.admin, &self.reflection) {
            (Served::Cache, ..) => {
                let mut cache = self.cache.clone();
                middleware::serve(gate, flow, going, method, request, |request| cache.call(request)).await
            }
            (Served::Admin, Some(admin), _) => {
                let mut admin = admin.clone();
                middleware::serve(gate, flow, going, method, request, |request| admin.call(request)).await
            }
            (Served::Health, ..) => {
                let mut health = self.health.clone();
                middleware::serve(gate, flow, going, method, request, |request| health.call(request)).await
            }
            (Served::ReflectionV1, _, Some(reflection)) => {
                let service = v1::server_reflection_server::ServerReflectionServer::new(reflection.clone());
                let mut service = accept_compressed!(service.max_decoding_message_size(MAX_PROBE_MESSAGE));
                middleware::serve(gate, flow, going, method, request, |request| service.call(request)).await
            }
            (Served::ReflectionV1Alpha, _, Some(reflection)) => {
                let service = v1alpha::server_reflection_server::ServerReflectionServer::new(reflection.clone());
                let mut service = accept_compressed!(service.max_decoding_message_size(MAX_PROBE_MESSAGE));
                middleware::serve(gate, flow, going, method, request, |request| service.call(request)).await
            }
            (Served::Admin | Served::ReflectionV1 | Served::ReflectionV1Alpha, ..) => {
                middleware::unimplemented(&request)
            }
        }
    }
}
