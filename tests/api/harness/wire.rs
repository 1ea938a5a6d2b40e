//! An HTTP/2 client that leaves deadlines to the server.
//!
//! tonic's own channel would end the call itself, and hide the server's answer.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, Builder, SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Sleep, sleep};
use tonic::body::Body;
use tower_service::Service;
use twintier::pb::cache_service_client::CacheServiceClient;

/// Opens a connection from the loopback address 127.0.0.n.
pub async fn connect_from(n: u8, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, n], 0))).unwrap();
    let stream = socket.connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

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

    /// Opens a connection, or returns the error.
    pub async fn try_connect(address: SocketAddr) -> Result<Wire, Box<dyn Error + Send + Sync>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Wire { address, sender })
    }

    /// Opens a connection from the loopback address 127.0.0.n.
    pub async fn connect_from(n: u8, address: SocketAddr) -> Wire {
        let stream = connect_from(n, address).await;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Wire { address, sender }
    }

    /// Speaks HTTP/2 on an open connection, such as one with TLS. An error if the peer has closed it.
    pub async fn over<S>(address: SocketAddr, stream: S) -> Result<Wire, hyper::Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Wire { address, sender })
    }

    /// Opens a connection whose streams have a receive window of this many bytes.
    pub async fn with_window(address: SocketAddr, window: u32) -> Wire {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut builder = Builder::new(TokioExecutor::new());
        let builder = builder.initial_stream_window_size(window).initial_connection_window_size(1 << 20);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Wire { address, sender }
    }

    /// Opens a connection that reads this many bytes per second, through windows of 64 KiB.
    pub async fn slow(address: SocketAddr, rate: u32) -> Wire {
        const WINDOW: u32 = 64 * 1024;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(WINDOW).unwrap();
        let stream = socket.connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let slow = SlowReader { stream, rate, pause: Box::pin(sleep(Duration::ZERO)) };
        let (sender, connection) = builder.handshake(TokioIo::new(slow)).await.unwrap();
        tokio::spawn(connection);
        Wire { address, sender }
    }

    /// Sends a request with this body, and returns the head of the response. Does not read the
    /// body.
    pub async fn post(&self, path: &'static str, body: Body) -> Result<Response<Incoming>, hyper::Error> {
        let mut wire = self.clone();
        std::future::poll_fn(|context| wire.poll_ready(context)).await?;
        let request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
        wire.call(request.body(body).unwrap()).await
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

/// A stream that pauses after each read, to read at most `rate` bytes per second.
struct SlowReader {
    stream: TcpStream,
    rate: u32,
    pause: Pin<Box<Sleep>>,
}

impl AsyncRead for SlowReader {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.pause.as_mut().poll(context));
        let mut piece = [0; 4096];
        let mut piece = ReadBuf::new(&mut piece[..out.remaining().min(4096)]);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut piece))?;
        out.put_slice(piece.filled());
        let pause = Duration::from_secs_f64(piece.filled().len() as f64 / f64::from(self.rate));
        self.pause = Box::pin(sleep(pause));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SlowReader {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A body that begins with these bytes and never ends.
pub struct Unfinished(pub Option<Bytes>);

impl http_body::Body for Unfinished {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, tonic::Status>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(http_body::Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

/// A message with its gRPC prefix.
pub fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat().into()
}

/// A body of one message.
pub fn one_message(message: &[u8]) -> Body {
    Body::new(http_body_util::Full::new(framed(message)))
}
