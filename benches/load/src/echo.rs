//! The floor: a bare tonic server that answers as many bytes as it is asked for, on either runtime
//! of Tokio.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

pub const PATH: &str = "/twintier.bench.Echo/Echo";
/// Longest payload.
const LONGEST: usize = 64 << 10;

/// A request of the length of a `GetRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EchoRequest {
    #[prost(string, tag = "1")]
    pub namespace: String,
    #[prost(string, tag = "2")]
    pub key: String,
    /// Length of the payload.
    #[prost(uint64, tag = "3")]
    pub size: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct EchoReply {
    #[prost(bytes = "bytes", tag = "1")]
    pub payload: Bytes,
}

/// Serves on a free port, which it prints. Ends with its standard input.
pub fn serve(runtime: &str) {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    runtime_of(runtime).block_on(async {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap().with_nodelay(Some(true));
        println!("{}", incoming.local_addr().unwrap().port());
        let echo = Echo { payload: vec![b'e'; LONGEST].into() };
        Server::builder().add_service(echo).serve_with_incoming(incoming).await.unwrap();
    });
}

fn runtime_of(name: &str) -> Runtime {
    let mut builder = match name {
        "current_thread" => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.enable_all().build().unwrap()
}

/// The service: what tonic's code generator makes of a contract with one method.
#[derive(Clone)]
struct Echo {
    payload: Bytes,
}

impl NamedService for Echo {
    const NAME: &'static str = "twintier.bench.Echo";
}

impl UnaryService<EchoRequest> for Echo {
    type Response = EchoReply;
    type Future = Ready<Result<Response<EchoReply>, Status>>;

    fn call(&mut self, request: Request<EchoRequest>) -> Self::Future {
        let size = usize::try_from(request.get_ref().size).unwrap_or(usize::MAX).min(LONGEST);
        ready(Ok(Response::new(EchoReply { payload: self.payload.slice(..size) })))
    }
}

impl tower_service::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(echo, request).await) })
    }
}
