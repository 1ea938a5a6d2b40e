//! Headers and trailers of responses stay below 8 KiB, whatever the request.
//!
//! Clients and proxies refuse larger ones, and some lose the connection.

use std::collections::HashMap;

use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tonic::Status;
use tower_service::Service as _;
use twintier::pb;

use crate::harness::{Refusal as _, Replica, Wire, set_request};

/// Limit of all headers and trailers of an answer, as HTTP/2 counts them: names, values, and 32
/// bytes for each.
const LIMIT: usize = 4096;

/// Headers and trailers of an answer.
struct Head {
    headers: HeaderMap,
    trailers: HeaderMap,
}

impl Head {
    fn size(&self) -> usize {
        let status = ":status".len() + "200".len() + 32;
        let entries = self.headers.iter().chain(&self.trailers);
        status + entries.map(|(name, value)| name.as_str().len() + value.len() + 32).sum::<usize>()
    }

    fn status(&self) -> Status {
        let status = Status::from_header_map(&self.trailers).or_else(|| Status::from_header_map(&self.headers));
        status.expect("an answer has a status")
    }
}

/// Sends an encoded message with additional headers.
async fn send(wire: &mut Wire, path: &str, message: &[u8], headers: &[(&str, &str)]) -> Head {
    std::future::poll_fn(|context| wire.poll_ready(context)).await.unwrap();
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    let mut request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = tonic::body::Body::new(http_body_util::Full::new(frame.into()));
    let response = wire.call(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    // A watch of health stays open as long as its connection, whatever its deadline.
    let lasts = path == HEALTH_WATCH && !parts.headers.contains_key("grpc-status");
    let trailers = if lasts { None } else { body.collect().await.unwrap().trailers().cloned() };
    let trailers = trailers.unwrap_or_default();
    Head { headers: parts.headers, trailers }
}

const CACHE: &str = "/twintier.v1.CacheService/";
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";

fn seconds(seconds: i64) -> Option<pb::set_request::Expiry> {
    Some(pb::set_request::Expiry::Ttl(prost_types::Duration { seconds, nanos: 0 }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_all_invalid_batch_is_refused_in_few_bytes() {
    let replica = Replica::start(&[]).await;
    let items = (0..32)
        .map(|index| pb::SetRequest { expiry: seconds(3_000_000_000), ..set_request(&format!("key{index}"), "v") });
    let request = pb::BatchSetRequest { items: items.collect(), ..Default::default() };
    let mut wire = Wire::connect(replica.address).await;
    let id = "r".repeat(128);
    let head = send(&mut wire, &format!("{CACHE}BatchSet"), &request.encode_to_vec(), &[("x-request-id", &id)]).await;
    assert!(head.size() <= LIMIT, "{} bytes: {:?}", head.size(), head.headers);
    let violations = head.status().violations();
    assert_eq!(violations[0].0, "items[0].ttl");
    assert_eq!(violations.last().unwrap().1, format!("… and {} more", 32 - (violations.len() - 1)));
    assert!(violations.len() > 10, "{violations:?}");
    assert!(head.status().message().contains("… and "), "{}", head.status().message());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_repeats_the_input_in_part() {
    let replica = Replica::start(&[]).await;
    let huge = "é\u{1}".repeat(300_000);
    let condition = Some(pb::set_request::Condition::IfVersion(huge.clone()));
    let set = pb::SetRequest { condition, content_type: "x".repeat(300_000), ..set_request("k", "v") };
    let refusal = replica.store(set).await.unwrap_err();
    let quoted = format!("was \"{}…\" (900000 bytes)", "é\\u{1}".repeat(9));
    refusal.assert_violations(&[("content_type", "was 300000 bytes"), ("if_version", &quoted)]);
    let event = pb::Event { name: huge.clone(), parameters: HashMap::from([(huge.clone(), "v".into())]) };
    let selector = Some(pb::invalidate_request::Selector::Event(event));
    let namespace = "N".repeat(300_000);
    let refusal =
        replica.remove(pb::InvalidateRequest { namespace, selector, ..Default::default() }).await.unwrap_err();
    let quoted = format!("was \"{}…\" (300000 bytes)", "N".repeat(64));
    refusal.assert_violations(&[("namespace", &quoted), ("event.name", "…\" (900000 bytes)")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_does_not_repeat_whole_headers_and_paths() {
    let replica = Replica::start(&[("server.admin", "true")]).await;
    let mut wire = Wire::connect(replica.address).await;
    let long = "x".repeat(12_000);
    let set = set_request("", "v").encode_to_vec();
    for (name, value) in [("x-request-id", &long), ("grpc-encoding", &long), ("grpc-accept-encoding", &long)] {
        let head = send(&mut wire, &format!("{CACHE}Set"), &set, &[(name, value)]).await;
        assert!(head.size() <= LIMIT, "{name}: {} bytes", head.size());
        assert_ne!(head.status().code(), tonic::Code::Ok);
    }
    for path in [format!("{CACHE}{long}"), format!("/{long}/Get"), format!("/{long}")] {
        let head = send(&mut wire, &path, b"", &[]).await;
        assert!(head.size() <= LIMIT, "{} bytes", head.size());
    }
    let health = tonic_health::pb::HealthCheckRequest { service: "é".repeat(30_000) };
    let head = send(&mut wire, "/grpc.health.v1.Health/Check", &health.encode_to_vec(), &[]).await;
    assert_eq!(head.status().code(), tonic::Code::NotFound);
    assert!(head.size() <= 1000, "{} bytes", head.size());
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    let symbol = MessageRequest::FileContainingSymbol("é".repeat(30_000));
    let request = ServerReflectionRequest { message_request: Some(symbol), ..Default::default() };
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let head = send(&mut wire, path, &request.encode_to_vec(), &[]).await;
    assert!(head.size() <= LIMIT, "{} bytes", head.size());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_id_comes_back_only_if_it_is_short_and_visible() {
    let replica = Replica::start(&[]).await;
    let mut wire = Wire::connect(replica.address).await;
    let (longest, longer) = ("r".repeat(128), "r".repeat(129));
    for (id, comes_back) in [("r-1", true), (longest.as_str(), true), (longer.as_str(), false), ("a b", false)] {
        let set = set_request("k", "v").encode_to_vec();
        let head = send(&mut wire, &format!("{CACHE}Set"), &set, &[("x-request-id", id)]).await;
        assert_eq!(head.headers.get("x-request-id").map(|id| id.to_str().unwrap()), comes_back.then_some(id));
    }
}

/// Writes messages of the contract with unusual and huge fields.
struct Odd<'a> {
    random: StdRng,
    types: &'a HashMap<String, DescriptorProto>,
}

impl Odd<'_> {
    fn message(&mut self, name: &str, depth: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        // The set lacks the well-known types. Duration and Timestamp have two number fields, and
        // both get unusual values.
        let Some(descriptor) = self.types.get(name) else {
            for number in [1, 2] {
                self.number(number, &mut bytes);
            }
            return bytes;
        };
        for field in descriptor.field.clone() {
            let repeated = field.label() == Label::Repeated;
            let times = if repeated { self.random.random_range(0..40) } else { self.random.random_range(0..2) };
            for _ in 0..times {
                let tag = field.number() as u64;
                match field.r#type() {
                    Type::String | Type::Bytes => delimited(tag, self.text().as_bytes(), &mut bytes),
                    Type::Message if depth < 4 => {
                        let inner = self.message(field.type_name().trim_start_matches('.'), depth + 1);
                        delimited(tag, &inner, &mut bytes);
                    }
                    Type::Message => {}
                    Type::Double => {
                        prost::encoding::encode_varint(tag << 3 | 1, &mut bytes);
                        bytes.extend([f64::MAX, f64::NAN, -5e-324, 0.3][self.random.random_range(0..4)].to_le_bytes());
                    }
                    _ => self.number(tag, &mut bytes),
                }
            }
        }
        bytes
    }

    fn number(&mut self, tag: u64, bytes: &mut Vec<u8>) {
        prost::encoding::encode_varint(tag << 3, bytes);
        let value = [0, 1, 2, 9, u64::MAX, i64::MAX as u64, i32::MIN as u64][self.random.random_range(0..7)];
        prost::encoding::encode_varint(value, bytes);
    }

    fn text(&mut self) -> String {
        let piece =
            ["a", "A b", "é", "\u{1f}", "\"%{}\\", "\u{1f600}", "{id}", "*", ":"][self.random.random_range(0..9)];
        piece.repeat([0, 1, 2, 40, 300, 5000][self.random.random_range(0..6)])
    }
}

fn delimited(tag: u64, content: &[u8], bytes: &mut Vec<u8>) {
    prost::encoding::encode_varint(tag << 3 | 2, bytes);
    prost::encoding::encode_varint(content.len() as u64, bytes);
    bytes.extend(content);
}

/// Paths and request types of all RPCs, and the types of the contract by name.
fn contract() -> (Vec<(String, String)>, HashMap<String, DescriptorProto>) {
    let (mut methods, mut types) = (Vec::new(), HashMap::new());
    let sets = [
        pb::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    for file in sets.into_iter().flat_map(|set| FileDescriptorSet::decode(set).unwrap().file) {
        let package = file.package().to_owned();
        for message in &file.message_type {
            collect(&package, message, &mut types);
        }
        for service in &file.service {
            methods.extend(service.method.iter().map(|method| {
                let path = format!("/{package}.{}/{}", service.name(), method.name());
                (path, method.input_type().trim_start_matches('.').to_owned())
            }));
        }
    }
    (methods, types)
}

fn collect(within: &str, message: &DescriptorProto, types: &mut HashMap<String, DescriptorProto>) {
    let name = format!("{within}.{}", message.name());
    message.nested_type.iter().for_each(|inner| collect(&name, inner, types));
    types.insert(name, message.clone());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_makes_large_headers() {
    // The generator sends many requests, and each valid one may name new namespaces.
    let replica = Replica::start(&[("server.admin", "true"), ("limits.namespaces", "1000")]).await;
    let mut wire = Wire::connect(replica.address).await;
    let (methods, types) = contract();
    assert!(methods.len() > 15, "{methods:?}");
    let mut refused = 0;
    for (path, request) in &methods {
        for seed in 0..24 {
            let mut odd = Odd { random: StdRng::seed_from_u64(seed), types: &types };
            let mut message = odd.message(request, 0);
            if seed % 6 == 0 {
                // A message that cannot be decoded is refused by another layer.
                message.push(0xff);
            }
            // The deadline ends calls that would stay open.
            let head = send(&mut wire, path, &message, &[("grpc-timeout", "300m")]).await;
            assert!(head.size() <= LIMIT, "{path}, seed {seed}: {} bytes", head.size());
            refused += usize::from(path != HEALTH_WATCH && head.status().code() != tonic::Code::Ok);
        }
    }
    assert!(refused > methods.len() * 8, "only {refused} were refused");
}
