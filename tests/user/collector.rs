//! An OTLP collector for tests: keeps traces and logs, over gRPC and HTTP.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio::runtime::Runtime;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::authority::Authority;
use crate::process::wait_until;

/// The collector. Stops on drop.
pub struct Collector {
    kept: Arc<Received>,
    address: SocketAddr,
    _runtime: Option<Runtime>,
}

/// Everything received.
#[derive(Default)]
struct Received {
    spans: Mutex<Vec<Span>>,
    logs: Mutex<Vec<(String, LogRecord)>>,
    resources: Mutex<Vec<HashMap<String, String>>>,
    bytes: Mutex<Vec<u8>>,
}

// === impl Collector ===

impl Collector {
    /// Starts a gRPC collector on a free port.
    pub fn grpc() -> Collector {
        Collector::grpc_on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Starts a gRPC collector with TLS that requires a client certificate of this authority.
    pub fn grpc_by_tls(authority: &Authority) -> Collector {
        let read = |file: String| std::fs::read(file).unwrap();
        let (certificate, key) = authority.certificate("localhost");
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(read(certificate), read(key)))
            .client_ca_root(Certificate::from_pem(read(authority.file())));
        let server = Server::builder().tls_config(tls).unwrap();
        Collector::serve_grpc(server, TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Starts a gRPC collector on this listener.
    pub fn grpc_on(listener: TcpListener) -> Collector {
        Collector::serve_grpc(Server::builder(), listener)
    }

    fn serve_grpc(mut server: Server, listener: TcpListener) -> Collector {
        let (kept, address) = (Arc::new(Received::default()), listener.local_addr().unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        listener.set_nonblocking(true).unwrap();
        let incoming = {
            let _in = runtime.enter();
            tonic::transport::server::TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap())
        };
        let server = server
            .add_service(TraceServiceServer::from_arc(kept.clone()))
            .add_service(LogsServiceServer::from_arc(kept.clone()));
        runtime.spawn(server.serve_with_incoming(incoming));
        Collector { kept, address, _runtime: Some(runtime) }
    }

    /// Starts an HTTP/1.1 collector on a free port.
    pub fn http() -> Collector {
        Collector::serve_http(|kept, stream| kept.serve(stream))
    }

    /// Starts an HTTPS collector with a certificate of this authority.
    pub fn https(authority: &Authority) -> Collector {
        let (certificate, key) = authority.certificate("localhost");
        let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
        Collector::serve_http(move |kept, stream| {
            kept.serve(StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream));
        })
    }

    fn serve_http(serve: impl Fn(&Received, TcpStream) + Clone + Send + 'static) -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (kept, address) = (Arc::new(Received::default()), listener.local_addr().unwrap());
        let keeper = Arc::downgrade(&kept);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(kept) = keeper.upgrade() else { return };
                let serve = serve.clone();
                thread::spawn(move || serve(&kept, stream));
            }
        });
        Collector { kept, address, _runtime: None }
    }

    /// Port of the collector.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// URL of the collector.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Spans received so far.
    pub fn spans(&self) -> Vec<Span> {
        self.kept.spans.lock().unwrap().clone()
    }

    /// Logs received so far, each with the name of its scope.
    pub fn logs(&self) -> Vec<(String, LogRecord)> {
        self.kept.logs.lock().unwrap().clone()
    }

    /// Attributes of the resources received so far.
    pub fn resources(&self) -> Vec<HashMap<String, String>> {
        self.kept.resources.lock().unwrap().clone()
    }

    /// Waits for a span.
    pub fn span(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        let mut found = None;
        wait_until(what, || {
            found = self.spans().into_iter().find(&is_it);
            found.is_some()
        });
        found.unwrap()
    }

    /// True if the received data contains these bytes.
    pub fn has_received(&self, bytes: &str) -> bool {
        self.kept.bytes.lock().unwrap().windows(bytes.len()).any(|window| window == bytes.as_bytes())
    }

    /// True if any data was received.
    pub fn has_received_data(&self) -> bool {
        !self.kept.bytes.lock().unwrap().is_empty()
    }
}

// === impl Received ===

impl Received {
    fn traces(&self, request: ExportTraceServiceRequest) {
        self.bytes.lock().unwrap().extend(request.encode_to_vec());
        for resource_spans in request.resource_spans {
            self.resource(resource_spans.resource.map(|resource| resource.attributes).unwrap_or_default());
            let spans = resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.spans.lock().unwrap().extend(spans);
        }
    }

    fn logs(&self, request: ExportLogsServiceRequest) {
        self.bytes.lock().unwrap().extend(request.encode_to_vec());
        for resource_logs in request.resource_logs {
            self.resource(resource_logs.resource.map(|resource| resource.attributes).unwrap_or_default());
            for scope_logs in resource_logs.scope_logs {
                let scope = scope_logs.scope.map(|scope| scope.name).unwrap_or_default();
                let records = scope_logs.log_records.into_iter().map(|record| (scope.clone(), record));
                self.logs.lock().unwrap().extend(records);
            }
        }
    }

    fn resource(&self, attributes: Vec<KeyValue>) {
        let text = |attribute: &KeyValue| Some((attribute.key.clone(), shown(attribute.value.as_ref()?)));
        self.resources.lock().unwrap().push(attributes.iter().filter_map(text).collect());
    }

    /// Serves one connection, request by request.
    fn serve(&self, stream: impl Read + Write) {
        let mut requests = BufReader::new(stream);
        loop {
            let (mut path, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if requests.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                if path.is_empty() {
                    path = line.split(' ').nth(1).unwrap().to_owned();
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            requests.read_exact(&mut body).unwrap();
            match path.as_str() {
                "/v1/traces" => self.traces(ExportTraceServiceRequest::decode(&body[..]).unwrap()),
                "/v1/logs" => self.logs(ExportLogsServiceRequest::decode(&body[..]).unwrap()),
                other => panic!("nothing is served at {other}"),
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
            requests.get_mut().write_all(answer).unwrap();
        }
    }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Received {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.logs(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

/// An attribute of a span. Empty if it has none of this name.
pub fn attribute(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == name);
    found.and_then(|attribute| attribute.value.as_ref()).map(shown).unwrap_or_default()
}

fn shown(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    }
}

/// An id in its written form.
pub fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
