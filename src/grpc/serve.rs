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
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codegen::Service as _;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_reflection::pb::{v1, v1alpha};
use tracing::{Instrument as _, Span};

use super::admin::AdminApi;
use super::body::{Flow, Guarded};
use super::decoded::Schema;
use super::guard::{self, Gate, MAX_PROBE_MESSAGE};
use super::health::HealthApi;
use super::methods::{self, Method, Served};
use super::reflection::{Descriptors, ReflectionApi};
use super::service::CacheApi;
use super::spans::{RpcSpan, Tracing};
use super::timing::Timing;
use crate::cache::load::Load;
use crate::cache::stats::Family;
use crate::pb;
use crate::pb::admin_service_server::{self, AdminServiceServer};
use crate::pb::cache_service_server::{self, CacheServiceServer};

/// What an HTTP/2 client says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Time in which a connection that is new when the drain begins may say its first words: they are on their way.
const GREETING: Duration = Duration::from_millis(300);
/// Most connections that the system holds until they are accepted.
const MOST_WAITING: usize = 1024;

/// How connections are served.
#[derive(Clone)]
pub struct ServerConfig {
    /// Most connections open at once.
    pub max_connections: usize,
    /// Most streams of one connection at once.
    pub max_streams_per_connection: u32,
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
    /// Longest time for the body of a request.
    pub body_timeout: Duration,
    /// Whether reflection is served.
    pub reflection: bool,
    /// How RPCs are traced; none: they are not.
    pub tracing: Option<Tracing>,
    /// Where there is a page for people, to tell who comes here with a browser.
    pub page: Option<SocketAddr>,
}

/// A server at work.
pub struct Serving {
    stop_accepting: CancellationToken,
    close: CancellationToken,
    tasks: TaskTracker,
}

/// What every connection shares.
struct Shared {
    config: ServerConfig,
    gate: Gate,
    load: Arc<Load>,
    /// The methods that are served, by path.
    methods: HashMap<String, Method>,
    cache: CacheServiceServer<CacheApi>,
    admin: Option<AdminServiceServer<AdminApi>>,
    health: HealthServer<HealthApi>,
    reflection: Option<ReflectionApi>,
    /// Where the durations of RPCs are counted; none: they are not.
    timings: Option<Arc<Family>>,
    stop_accepting: CancellationToken,
    close: CancellationToken,
}

/// Where connections come in, as many as there is room for.
struct Door {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    places: Arc<Semaphore>,
    full: bool,
}

// === impl Serving ===

impl Serving {
    /// Serves on a bound listener. How long RPCs take is counted in `timings`.
    pub fn start(
        listener: TcpListener,
        config: ServerConfig,
        api: CacheApi,
        admin: Option<AdminApi>,
        health: HealthApi,
        load: Arc<Load>,
        timings: Option<Arc<Family>>,
    ) -> Serving {
        let (stop_accepting, close, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let max_request_size = api.max_request_size();
        let messages = methods::messages();
        let gate = Gate {
            max_deadline: config.max_deadline,
            body_timeout: config.body_timeout,
            max_request_size,
            schema: Schema::new(&messages, api.limits()),
        };
        let reflection = config.reflection.then(|| reflection(admin.is_some())).flatten();
        let shared = Arc::new(Shared {
            methods: methods::table(&messages, admin.is_some(), reflection.is_some()),
            health: HealthServer::new(health).max_decoding_message_size(MAX_PROBE_MESSAGE),
            reflection,
            admin: admin.map(|admin| AdminServiceServer::new(admin).max_decoding_message_size(max_request_size)),
            config,
            gate,
            load,
            timings,
            cache: CacheServiceServer::new(api).max_decoding_message_size(max_request_size),
            stop_accepting: stop_accepting.clone(),
            close: close.clone(),
        });
        tasks.spawn(accept(listener, shared, tasks.clone()));
        Serving { stop_accepting, close, tasks }
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

async fn accept(listener: TcpListener, shared: Arc<Shared>, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(shared.config.max_connections));
    let mut door = Door { shared, tasks, places, full: false };
    let stop_accepting = door.shared.stop_accepting.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop_accepting.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => door.admit(stream, peer),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    door.admit_last(listener);
}

// === impl Door ===

impl Door {
    /// Serves a connection, if there is room.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        match self.places.clone().try_acquire_owned() {
            Ok(place) => {
                self.full = false;
                let shared = self.shared.clone();
                self.tasks.spawn(async move {
                    let _counted = (place, shared.load.connected());
                    tokio::select! {
                        () = serve_connection(stream, peer, &shared) => {}
                        () = shared.close.cancelled() => {}
                    }
                });
            }
            Err(_) => {
                if !std::mem::replace(&mut self.full, true) {
                    let limit = self.shared.config.max_connections;
                    tracing::warn!(limit, "server.max_connections reached; closing new connections");
                }
            }
        }
    }

    /// Serves those who wait, and closes. To them they are connected, and may have sent a call: they are asked to go, as all others are.
    fn admit_last(&mut self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        for _ in 0..MOST_WAITING {
            let Ok((stream, peer)) = listener.accept() else { return };
            if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                self.admit(stream, peer);
            }
        }
    }
}

async fn serve_connection(mut stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mut preface = [0; PREFACE.len()];
    let first = tokio::select! {
        first = timeout(shared.config.first_byte_timeout, stream.read_exact(&mut preface)) => first,
        () = wait_when(&shared.stop_accepting, GREETING) => return,
    };
    match first {
        Ok(Ok(_)) if preface == *PREFACE => {}
        Ok(Ok(_)) => return say_that_this_is_grpc(stream, peer, shared.config.page).await,
        Ok(Err(_)) => return,
        Err(_) => return tracing::debug!(%peer, "a connection said nothing in time"),
    }
    let (read, write) = stream.into_split();
    let io = TokioIo::new(join(Cursor::new(preface).chain(read), write));
    let (flow, going) = (Arc::new(Flow::new(shared.load.account(peer.ip()))), CancellationToken::new());
    let service = {
        let (shared, flow, going) = (shared.clone(), flow.clone(), going.clone());
        service_fn(move |request| {
            let (shared, flow, going) = (shared.clone(), flow.clone(), going.clone());
            async move { Ok::<_, std::convert::Infallible>(shared.answer(request, peer, &flow, &going).await) }
        })
    };
    let config = &shared.config;
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams_per_connection)
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        .max_header_list_size(16 * 1024)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let age = config.max_connection_age.mul_f64(rand::random_range(0.9..1.1));
    tokio::select! {
        ended = &mut connection => return debug_end(ended, peer),
        () = flow.stalled(config.max_deadline) => return tracing::debug!(%peer, "a peer did not read its responses"),
        () = sleep(age) => {}
        () = shared.stop_accepting.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    going.cancel();
    let grace = if shared.stop_accepting.is_cancelled() { Duration::MAX } else { config.max_connection_age_grace };
    match timeout(grace, connection).await {
        Ok(ended) => debug_end(ended, peer),
        Err(_) => tracing::debug!(%peer, "a connection did not go in time and was closed"),
    }
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
async fn say_that_this_is_grpc(mut stream: TcpStream, peer: SocketAddr, page: Option<SocketAddr>) {
    tracing::debug!(%peer, "a client did not speak plain HTTP/2 (gRPC without TLS)");
    let page = page.map_or(String::new(), |page| format!("For people there is http://{page}/\n"));
    let answer = format!(
        "HTTP/1.1 426 Upgrade Required\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\nThis port speaks gRPC (HTTP/2 without TLS).\n{page}"
    );
    // What the client goes on to say is read, or its system would throw the answer away with the connection.
    let goodbye = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = timeout(Duration::from_secs(1), goodbye).await;
}

// === impl Shared ===

impl Shared {
    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        flow: &Arc<Flow>,
        going: &CancellationToken,
    ) -> http::Response<Guarded> {
        let tracing = self.config.tracing.as_ref();
        let span = tracing.and_then(|tracing| RpcSpan::begin(tracing, &request, peer));
        let within = span.as_ref().map_or(Span::none(), RpcSpan::span);
        let response = self.respond(request, flow, going).instrument(within).await;
        match span.and_then(|span| span.answered(response.headers())) {
            Some(span) => response.map(|body| body.traced(span)),
            None => response,
        }
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        flow: &Arc<Flow>,
        going: &CancellationToken,
    ) -> http::Response<Guarded> {
        let Some(timings) = &self.timings else { return self.route(request, flow, going).await };
        let timing = Timing::begin(timings, request.uri().path());
        let response = self.route(request, flow, going).await;
        timing.end(&response);
        response
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        flow: &Arc<Flow>,
        going: &CancellationToken,
    ) -> http::Response<Guarded> {
        let Some(method) = self.methods.get(request.uri().path()) else { return guard::unimplemented(&request) };
        let gate = &self.gate;
        match (method.service, &self.admin, &self.reflection) {
            (Served::Cache, ..) => {
                let mut cache = self.cache.clone();
                guard::serve(gate, flow, going, method, request, |request| cache.call(request)).await
            }
            (Served::Admin, Some(admin), _) => {
                let mut admin = admin.clone();
                guard::serve(gate, flow, going, method, request, |request| admin.call(request)).await
            }
            (Served::Health, ..) => {
                let mut health = self.health.clone();
                guard::serve(gate, flow, going, method, request, |request| health.call(request)).await
            }
            (Served::ReflectionV1, _, Some(reflection)) => {
                let service = v1::server_reflection_server::ServerReflectionServer::new(reflection.clone());
                let mut service = service.max_decoding_message_size(MAX_PROBE_MESSAGE);
                guard::serve(gate, flow, going, method, request, |request| service.call(request)).await
            }
            (Served::ReflectionV1Alpha, _, Some(reflection)) => {
                let service = v1alpha::server_reflection_server::ServerReflectionServer::new(reflection.clone());
                let mut service = service.max_decoding_message_size(MAX_PROBE_MESSAGE);
                guard::serve(gate, flow, going, method, request, |request| service.call(request)).await
            }
            (Served::Admin | Served::ReflectionV1 | Served::ReflectionV1Alpha, ..) => guard::unimplemented(&request),
        }
    }
}
