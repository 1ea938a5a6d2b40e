//! An OTLP collector that keeps everything it receives, over gRPC or HTTP.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

type Received = Arc<Mutex<Vec<Bytes>>>;

/// The collector. Stopped on drop.
pub struct Collector {
    pub address: SocketAddr,
    received: Received,
    _task: AbortOnDropHandle<()>,
}

impl Collector {
    pub async fn grpc() -> Collector {
        let received = Received::default();
        let service = MetricsServiceServer::new(Grpc(received.clone()));
        Collector::serve(received, Routes::new(service).into_axum_router()).await
    }

    pub async fn http() -> Collector {
        let received = Received::default();
        let kept = received.clone();
        let receive = async move |headers: HeaderMap, body: Bytes| {
            if headers.get("content-type").is_none_or(|of| of != "application/x-protobuf") {
                return StatusCode::UNSUPPORTED_MEDIA_TYPE;
            }
            kept.lock().unwrap().push(body);
            StatusCode::OK
        };
        Collector::serve(received, Router::new().route("/v1/metrics", post(receive))).await
    }

    async fn serve(received: Received, router: Router) -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Collector { address, received, _task: AbortOnDropHandle::new(task) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All messages received, in order.
    pub fn bytes(&self) -> Vec<Bytes> {
        self.received.lock().unwrap().clone()
    }

    /// Names of all metrics received.
    pub fn names(&self) -> BTreeSet<String> {
        let received = self.bytes();
        let requests = received.iter().map(|bytes| ExportMetricsServiceRequest::decode(bytes.clone()).unwrap());
        let scopes = requests.flat_map(|request| request.resource_metrics).flat_map(|metrics| metrics.scope_metrics);
        scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name).collect()
    }

    /// The latest metric of this name, with the attributes of its resource.
    pub fn latest(&self, name: &str) -> Option<(Vec<(String, String)>, Metric)> {
        let received = self.bytes();
        let requests = received.iter().rev().map(|bytes| ExportMetricsServiceRequest::decode(bytes.clone()).unwrap());
        requests.flat_map(|request| request.resource_metrics).find_map(|metrics| {
            let resource = metrics.resource.unwrap_or_default().attributes;
            let resource = resource.into_iter().map(|pair| (pair.key, format!("{:?}", pair.value))).collect();
            let mut all = metrics.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
            all.find(|metric| metric.name == name).map(|metric| (resource, metric))
        })
    }
}

struct Grpc(Received);

#[tonic::async_trait]
impl MetricsService for Grpc {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner().encode_to_vec().into());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}
