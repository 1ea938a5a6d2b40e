//! Compression of gRPC messages: of requests always, of responses by caller and configuration.

use std::time::Duration;

use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower_service::Service as _;
use twintier::pb;
use twintier::pb::admin_service_client::AdminServiceClient;

use crate::harness::{Answer as _, Refusal as _, Replica, Wire, set_request, within};

const ENCODINGS: [(CompressionEncoding, &str); 2] =
    [(CompressionEncoding::Gzip, "gzip"), (CompressionEncoding::Zstd, "zstd")];

fn get(key: &str) -> pb::GetRequest {
    pb::GetRequest { key: key.into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_requests_of_every_service_are_accepted() {
    let replica = Replica::start(&[("server.admin", "true")]).await;
    let value = "all work and no play ".repeat(1000);
    for (encoding, name) in ENCODINGS {
        let mut client = replica.client.clone().send_compressed(encoding).accept_compressed(encoding);
        client.set(set_request(name, &value)).await.unwrap();
        let answer = client.get(get(name)).await.unwrap();
        // A response is compressed only if the configuration allows it.
        assert!(answer.metadata().get("grpc-encoding").is_none());
        assert!(answer.into_inner().is(&value));
        let many = pb::BatchGetRequest { keys: vec![name.into()], ..Default::default() };
        let mut stream = client.batch_get(many).await.unwrap().into_inner();
        assert!(within(Duration::from_secs(10), stream.message()).await.unwrap().is_some());
        let mut admin = AdminServiceClient::new(replica.channel.clone()).send_compressed(encoding);
        admin.hot_keys(pb::HotKeysRequest::default()).await.unwrap();
        let mut health = HealthClient::new(replica.channel.clone()).send_compressed(encoding);
        health.check(HealthCheckRequest::default()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_are_compressed_if_configuration_and_caller_allow_it() {
    let replica = Replica::start(&[("server.compression", "true")]).await;
    let value = "all work and no play ".repeat(1000);
    replica.set("k", &value).await;
    for (encoding, name) in ENCODINGS {
        let answer = replica.client.clone().accept_compressed(encoding).get(get("k")).await.unwrap();
        assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), name);
        assert!(answer.into_inner().is(&value));
    }
    let answer = replica.client.clone().get(get("k")).await.unwrap();
    assert!(answer.metadata().get("grpc-encoding").is_none());
    assert!(answer.into_inner().is(&value));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_decompresses_beyond_the_limit_is_refused() {
    let replica = Replica::start(&[]).await;
    replica.set("k", "v").await;
    // 64 MiB, which compress to about 64 KiB.
    let bomb = "\0".repeat(64 << 20);
    for (encoding, name) in ENCODINGS {
        let mut client = replica.client.clone().send_compressed(encoding);
        let refusal = client.set(set_request("k", &bomb)).await.unwrap_err();
        assert_eq!((refusal.code(), refusal.reason().as_str()), (Code::ResourceExhausted, "LIMIT_REACHED"), "{name}");
        assert!(refusal.message().contains("message size"), "{name}: {refusal:?}");
        assert!(replica.get("k").await.is("v"));
    }
}

/// Sends a message whose frame is marked as compressed.
async fn send(wire: &mut Wire, encoding: Option<&str>, message: &[u8]) -> HeaderMap {
    send_to(wire, "/twintier.v1.CacheService/Get", encoding, message).await
}

async fn send_to(wire: &mut Wire, path: &str, encoding: Option<&str>, message: &[u8]) -> HeaderMap {
    std::future::poll_fn(|context| wire.poll_ready(context)).await.unwrap();
    let mut frame = vec![1];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    let mut request = Request::post(path).header("content-type", "application/grpc");
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    let body = tonic::body::Body::new(Full::new(frame.into()));
    let response = wire.call(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    body.collect().await.unwrap();
    parts.headers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_does_not_decompress_is_a_client_error() {
    let replica = Replica::start(&[]).await;
    let mut wire = Wire::connect(replica.address).await;
    for (encoding, garbage) in
        [(Some("gzip"), &b"garbage"[..]), (Some("zstd"), b"garbage"), (Some("gzip"), b""), (None, b"")]
    {
        let refusal = Status::from_header_map(&send(&mut wire, encoding, garbage).await).unwrap();
        assert_eq!((refusal.code(), refusal.reason().as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
    }
    let headers = send(&mut wire, Some("br"), b"garbage").await;
    assert_eq!(Status::from_header_map(&headers).unwrap().code(), Code::Unimplemented);
    // The header names the encodings that the caller can use instead.
    assert_eq!(headers["grpc-accept-encoding"], "gzip,zstd,identity");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_decodes_beyond_the_limit_is_refused_before_decoding() {
    use std::io::Write as _;
    let replica = Replica::start(&[]).await;
    let mut wire = Wire::connect(replica.address).await;
    // A million empty keys in 2 MB: a few kilobytes compressed, tens of megabytes decoded.
    let keys = [0x12, 0].repeat(1_000_000);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&keys).unwrap();
    let packed = [("gzip", gzip.finish().unwrap()), ("zstd", zstd::bulk::compress(&keys, 1).unwrap())];
    for (encoding, message) in packed {
        let headers = send_to(&mut wire, "/twintier.v1.CacheService/BatchGet", Some(encoding), &message).await;
        let refusal = Status::from_header_map(&headers).unwrap();
        refusal.assert_violations(&[("keys", "at most 1000")]);
    }
}
