//! The services of the server: routes each RPC to its service, through the middleware.

use std::collections::HashMap;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service as _;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_reflection::pb::{v1, v1alpha};
use tracing::{Instrument as _, Span};

use super::config::ServerConfig;
use crate::auth::Authority;
use crate::cache::admission::limits::Admission;
use crate::cache::stats::LabeledHistograms;
use crate::grpc::access::ConnectionAccess;
use crate::grpc::admin::AdminApi;
use crate::grpc::decoded_size::Schema;
use crate::grpc::fast_get;
use crate::grpc::fast_get::FastGet;
use crate::grpc::fast_set;
use crate::grpc::fast_set::FastSet;
use crate::grpc::header_size;
use crate::grpc::health::HealthApi;
use crate::grpc::method_names;
use crate::grpc::method_names::{Method, ServiceKind};
use crate::grpc::middleware;
use crate::grpc::middleware::{AdmissionGate, MAX_PROBE_MESSAGE_BYTES, RpcContext};
use crate::grpc::not_grpc::{self, Hint};
use crate::grpc::plain_call::Begun;
use crate::grpc::reflection::{Descriptors, ReflectionApi};
use crate::grpc::request_body::{PeekedBody, PeekedFrame};
use crate::grpc::rpc_metrics::RpcMetrics;
use crate::grpc::rpc_span::{RpcSpan, Tracing};
use crate::grpc::service::CacheApi;
use crate::grpc::tracked_body::{TrackedResponseBody, WriteProgress};
use crate::net::peer::Peer;
use crate::pb;
use crate::pb::admin_service_server;
use crate::pb::admin_service_server::AdminServiceServer;
use crate::pb::cache_service_server;
use crate::pb::cache_service_server::CacheServiceServer;

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

/// The parts of the replica that a server uses.
pub struct ServerParts {
    /// The cache service.
    pub cache: CacheApi,
    /// The service for administration. `None` if it is not served.
    pub admin: Option<AdminApi>,
    /// The health service.
    pub health: HealthApi,
    /// Admission control.
    pub admission: Arc<Admission>,
    /// Histograms of the durations of RPCs. `None` if they are not measured.
    pub timings: Option<Arc<LabeledHistograms>>,
    /// Creates the spans of RPCs. `None` if RPCs are not traced.
    pub tracing: Option<Tracing>,
    /// Hint for peers that do not speak gRPC.
    pub hint: Arc<Hint>,
    /// The identities and grants in force.
    pub authority: Arc<Authority>,
}

/// The state of the connection that an RPC comes from.
#[derive(Clone, Copy)]
pub(super) struct ConnectionState<'a> {
    /// Write progress.
    pub progress: &'a Arc<WriteProgress>,
    /// Cancelled when the connection shuts down.
    pub closing: &'a CancellationToken,
    /// Its callers.
    pub access: &'a Arc<ConnectionAccess>,
}

/// The services, and what their RPCs pass.
pub(super) struct Services {
    gate: AdmissionGate,
    /// The served methods by path.
    methods: HashMap<String, Method>,
    fast_get: Option<Arc<FastGet>>,
    fast_set: Option<Arc<FastSet>>,
    cache: CacheServiceServer<CacheApi>,
    admin: Option<AdminServiceServer<AdminApi>>,
    readiness: HealthApi,
    health: HealthServer<HealthApi>,
    reflection: Option<ReflectionApi>,
    timings: Option<Arc<LabeledHistograms>>,
    tracing: Option<Tracing>,
    hint: Arc<Hint>,
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

// === impl Services ===

impl Services {
    /// Creates the services, with the limits that each RPC is checked against.
    pub fn new(config: &ServerConfig, parts: ServerParts) -> Services {
        let ServerParts { cache, admin, health, timings, tracing, hint, .. } = parts;
        let max_request_size = cache.context.max_request_size();
        let messages = method_names::messages();
        let gate = AdmissionGate {
            max_deadline: config.max_deadline,
            body_timeout: config.body_timeout,
            slow_request: config.slow_request,
            max_request_size,
            schema: Schema::new(&messages, cache.limits()),
        };
        let reflection = config.reflection.then(|| reflection(admin.is_some())).flatten();
        let admin = admin.map(|admin| AdminServiceServer::new(admin).max_decoding_message_size(max_request_size));
        let methods = method_names::table(&messages, admin.is_some(), reflection.is_some());
        let cache = Arc::new(cache);
        // A traced request needs its span.
        let method = |path| methods.get(path).filter(|_| tracing.is_none());
        let (timing, compresses) = (timings.as_ref(), config.compression);
        let fast_get =
            method(fast_get::PATH).and_then(|method| FastGet::new(&cache, &gate, method, timing, compresses));
        let fast_set =
            method(fast_set::PATH).and_then(|method| FastSet::new(&cache, &gate, method, timing, compresses));
        let cache = CacheServiceServer::from_arc(cache).max_decoding_message_size(max_request_size);
        Services {
            methods,
            fast_get,
            fast_set,
            readiness: health.clone(),
            health: accept_compressed!(HealthServer::new(health).max_decoding_message_size(MAX_PROBE_MESSAGE_BYTES)),
            reflection,
            admin: admin.map(|admin| compress!(admin, config.compression)),
            cache: compress!(cache, config.compression),
            gate,
            timings,
            tracing,
            hint,
        }
    }

    /// Begins a plain Get or Set. `None` if `answer` has to answer the request.
    pub fn begin_plain(
        &self,
        request: &mut Request<Incoming>,
        peeked: &mut PeekedFrame<hyper::Error>,
        progress: &Arc<WriteProgress>,
        access: &ConnectionAccess,
    ) -> Option<Begun> {
        let get = self.fast_get.as_ref().and_then(|get| get.begin(request, peeked, progress, access));
        get.or_else(|| self.fast_set.as_ref()?.begin(request, peeked, progress, access))
    }

    /// Answers an RPC, or a request that is none.
    pub async fn answer(
        &self,
        request: Request<PeekedBody<Incoming>>,
        peer: Peer,
        connection: ConnectionState<'_>,
    ) -> http::Response<TrackedResponseBody> {
        if let Some(refusal) = not_grpc::refusal(&request, self.readiness.is_ready(), &self.hint) {
            return refusal.map(TrackedResponseBody::uncounted);
        }
        let tracing = self.tracing.as_ref();
        let uri = request.uri().clone();
        let span = tracing.and_then(|tracing| RpcSpan::begin(tracing, &request, peer));
        let parent = span.as_ref().map_or(Span::none(), RpcSpan::span);
        let mut response = self.respond(request, connection).instrument(parent).await;
        not_grpc::explain_unimplemented(uri.path(), response.headers_mut());
        header_size::limit(response.headers_mut());
        match span.and_then(|span| span.answered(response.headers())) {
            Some(span) => response.map(|body| body.traced(span)),
            None => response,
        }
    }

    async fn respond(
        &self,
        request: Request<PeekedBody<Incoming>>,
        connection: ConnectionState<'_>,
    ) -> http::Response<TrackedResponseBody> {
        let Some(timings) = &self.timings else { return self.route(request, connection).await };
        let timing = RpcMetrics::begin(timings, request.uri().path());
        let response = self.route(request, connection).await;
        timing.end(&response);
        response
    }

    async fn route(
        &self,
        request: Request<PeekedBody<Incoming>>,
        connection: ConnectionState<'_>,
    ) -> http::Response<TrackedResponseBody> {
        let Some(method) = self.methods.get(request.uri().path()) else { return not_grpc::unimplemented(&request) };
        let ConnectionState { progress, closing, access } = connection;
        let rpc = RpcContext { gate: &self.gate, progress, closing, access, method };
        match (method.service, &self.admin, &self.reflection) {
            (ServiceKind::Cache, ..) => {
                let mut cache = self.cache.clone();
                middleware::serve(rpc, request, |request| cache.call(request)).await
            }
            (ServiceKind::Admin, Some(admin), _) => {
                let mut admin = admin.clone();
                middleware::serve(rpc, request, |request| admin.call(request)).await
            }
            (ServiceKind::Health, ..) => {
                let mut health = self.health.clone();
                middleware::serve(rpc, request, |request| health.call(request)).await
            }
            (ServiceKind::ReflectionV1, _, Some(reflection)) => {
                let service = v1::server_reflection_server::ServerReflectionServer::new(reflection.clone());
                let mut service = accept_compressed!(service.max_decoding_message_size(MAX_PROBE_MESSAGE_BYTES));
                middleware::serve(rpc, request, |request| service.call(request)).await
            }
            (ServiceKind::ReflectionV1Alpha, _, Some(reflection)) => {
                let service = v1alpha::server_reflection_server::ServerReflectionServer::new(reflection.clone());
                let mut service = accept_compressed!(service.max_decoding_message_size(MAX_PROBE_MESSAGE_BYTES));
                middleware::serve(rpc, request, |request| service.call(request)).await
            }
            (ServiceKind::Admin | ServiceKind::ReflectionV1 | ServiceKind::ReflectionV1Alpha, ..) => {
                not_grpc::unimplemented(&request)
            }
        }
    }
}
