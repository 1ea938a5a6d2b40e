//! A client that leaves deadlines to the server: tonic's own channel would end the call itself and hide what the server answers.

use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::body::Body;
use tower_service::Service;
use twintier::pb::cache_service_client::CacheServiceClient;

/// One HTTP/2 connection.
#[derive(Clone)]
pub struct Wire {
    address: SocketAddr,
    sender: SendRequest<Body>,
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Wire {
        Wire::try_connect(address).await.unwrap()
    }

    /// The same, where it may fail.
    pub async fn try_connect(address: SocketAddr) -> Result<Wire, Box<dyn Error + Send + Sync>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Wire { address, sender })
    }

    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    pub fn client(&self) -> CacheServiceClient<Wire> {
        CacheServiceClient::new(self.clone())
    }
}

impl Service<Request<Body>> for Wire {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path_and_query().cloned().expect("a path");
        let uri = Uri::builder().scheme("http").authority(self.address.to_string()).path_and_query(path);
        *request.uri_mut() = uri.build().unwrap();
        Box::pin(self.sender.send_request(request))
    }
}
