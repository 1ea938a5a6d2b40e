//! Requests that are not gRPC are refused without effect.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::body::Body;
use tower_service::Service as _;
use twintier::pb;

use crate::harness::{Answer as _, Replica, Wire, whole_namespace, within};

const INVALIDATE: &str = "/twintier.v1.CacheService/Invalidate";

/// A request that invalidates the default namespace.
fn invalidate_all() -> Bytes {
    let message = whole_namespace("").encode_to_vec();
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    frame.into()
}

struct Plain {
    status: u16,
    headers: HeaderMap,
    body: String,
}

async fn send(wire: &mut Wire, request: http::request::Builder, body: Body) -> Plain {
    std::future::poll_fn(|context| wire.poll_ready(context)).await.unwrap();
    let response = wire.call(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned();
    Plain { status: parts.status.as_u16(), headers: parts.headers, body }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_content_types_are_refused_without_effect() {
    let replica = Replica::start(&[]).await;
    replica.set("k", "v").await;
    let mut wire = Wire::connect(replica.address).await;
    let others = [
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web-text",
        "application/grpc+json",
        "application/connect+proto",
        "application/proto",
        "application/json",
        "text/plain",
        "text/plain;charset=UTF-8",
    ];
    for content_type in others.into_iter().map(Some).chain([None]) {
        let mut request = Request::post(INVALIDATE).header("origin", "https://elsewhere.example");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let answer = send(&mut wire, request, Body::new(Full::new(invalidate_all()))).await;
        assert_eq!(answer.status, 415, "{content_type:?}");
        assert_eq!(answer.headers["accept"], "application/grpc");
        assert!(answer.headers.get("grpc-status").is_none() && answer.body.contains("gRPC"), "{}", answer.body);
        // A browser must not let other sites read the answer.
        assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control-")));
        assert!(replica.get("k").await.is("v"), "{content_type:?} was carried out");
    }
    for grpc in ["application/grpc", "application/grpc+proto", "Application/gRPC; charset=utf-8"] {
        replica.set("k", "v").await;
        // Proxies drop `te: trailers`, so that the service does not require it.
        let request = Request::post(INVALIDATE).header("content-type", grpc);
        let answer = send(&mut wire, request, Body::new(Full::new(invalidate_all()))).await;
        assert_eq!(answer.status, 200, "{grpc}");
        assert_eq!(replica.get("k").await.miss(), Some(pb::MissReason::Absent), "{grpc} was not carried out");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_http_methods_are_refused_without_effect() {
    let replica = Replica::start(&[]).await;
    replica.set("k", "v").await;
    let mut wire = Wire::connect(replica.address).await;
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH", "GET", "HEAD", "TRACE"] {
        for path in [INVALIDATE, "/grpc.health.v1.Health/Check", "/nothing"] {
            let request = Request::builder().method(method).uri(path).header("content-type", "application/grpc");
            let answer = send(&mut wire, request, Body::new(Full::new(invalidate_all()))).await;
            assert_eq!((answer.status, answer.headers["allow"].to_str().unwrap()), (405, "POST"), "{method} {path}");
            assert_eq!(answer.body.is_empty(), method == "HEAD", "{method} {path}");
        }
        assert!(replica.get("k").await.is("v"), "{method} was carried out");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_does_not_wait_for_the_body() {
    let replica = Replica::start(&[]).await;
    let mut wire = Wire::connect(replica.address).await;
    let begun = futures_util::stream::iter([Ok::<_, Infallible>(Frame::data(invalidate_all()))]);
    let endless = futures_util::StreamExt::chain(begun, futures_util::stream::pending());
    let request = Request::post(INVALIDATE).header("content-type", "text/plain");
    let answer = within(Duration::from_secs(10), send(&mut wire, request, Body::new(StreamBody::new(endless)))).await;
    assert_eq!(answer.status, 415);
    assert_eq!(replica.stats().await.replica.unwrap().in_flight, 1, "only Stats itself is in flight");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_of_the_root_path_reports_readiness() {
    let replica = Replica::start(&[("server.admin", "true")]).await;
    let mut wire = Wire::connect(replica.address).await;
    let answer = send(&mut wire, Request::get("/"), Body::empty()).await;
    assert_eq!((answer.status, answer.body.lines().next()), (200, Some("This port speaks gRPC (HTTP/2 without TLS).")));
    let answer = send(&mut wire, Request::head("/"), Body::empty()).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    let mut admin = pb::admin_service_client::AdminServiceClient::new(replica.channel.clone());
    admin.drain(pb::DrainRequest { draining: true }).await.unwrap();
    assert_eq!(send(&mut wire, Request::get("/"), Body::empty()).await.status, 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_protocol_is_answered_with_a_reason() {
    let replica = Replica::start(&[]).await;
    let text = b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 50051\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    binary.extend(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    for preamble in [text, binary] {
        let mut stream = TcpStream::connect(replica.address).await.unwrap();
        stream.write_all(&preamble).await.unwrap();
        let mut answer = Vec::new();
        // The kernel resets a connection with unread bytes, after it has sent the answer.
        let _ = within(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        assert_eq!(answer.get(..9), Some(&[0, 0, 0, 4, 0, 0, 0, 0, 0][..]), "SETTINGS: {answer:?}");
        let (head, reason) = answer[9..].split_at(17);
        assert_eq!((usize::from(head[2]), head[3]), (8 + reason.len(), 7), "GOAWAY: {answer:?}");
        assert!(String::from_utf8_lossy(reason).contains("PROXY protocol"), "{reason:?}");
    }
}
