//! Plain Gets and Sets are answered by short ways, any others by the generated service: all answer alike.
//!
//! Each request is sent twice. A parameter of the content type, which has no effect, makes the
//! second one go the general way.

use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use tower_service::Service as _;
use twintier::pb;
use twintier::pb::get_response::Result as Outcome;

use crate::harness::{Mode, Replica, Wire, eventually, set_request};

const PLAIN: &str = "application/grpc";
const GENERAL: &str = "application/grpc; way=general";

/// A response, without the time at which it was given.
#[derive(Debug, PartialEq)]
struct Exchange<A> {
    status: u16,
    headers: HeaderMap,
    message: Option<A>,
    trailers: HeaderMap,
}

/// The response of a method that has two ways.
trait Answer: prost::Message + Default + PartialEq + std::fmt::Debug {
    const PATH: &'static str;

    /// Removes what another call at another time cannot have in common.
    fn forget_time(&mut self);
}

impl Answer for pb::GetResponse {
    const PATH: &'static str = "/twintier.v1.CacheService/Get";

    fn forget_time(&mut self) {
        let entry = match &mut self.result {
            Some(Outcome::Hit(hit)) => hit.entry.as_mut(),
            Some(Outcome::NegativeHit(hit)) => hit.entry.as_mut(),
            _ => None,
        };
        if let Some(entry) = entry {
            let times = [entry.age.as_mut(), entry.ttl.as_mut()];
            times.into_iter().flatten().for_each(|time| *time = prost_types::Duration::default());
        }
    }
}

impl Answer for pb::SetResponse {
    const PATH: &'static str = "/twintier.v1.CacheService/Set";

    fn forget_time(&mut self) {
        for position in [&mut self.version, &mut self.token] {
            position.truncate(position.rfind('-').unwrap_or(position.len()));
        }
    }
}

fn body(message: &[u8]) -> Vec<u8> {
    [&[0], &(message.len() as u32).to_be_bytes()[..], message].concat()
}

async fn exchange<A: Answer>(
    wire: &mut Wire,
    content_type: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Exchange<A> {
    std::future::poll_fn(|context| wire.poll_ready(context)).await.unwrap();
    let mut request = Request::post(A::PATH).header("te", "trailers");
    for (name, value) in [("content-type", content_type)].iter().chain(headers) {
        request = request.header(*name, *value);
    }
    let body = tonic::body::Body::new(Full::new(body.to_vec().into()));
    let (mut parts, body) = wire.call(request.body(body).unwrap()).await.unwrap().into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let bytes = body.to_bytes();
    assert!(parts.headers.remove("date").is_some());
    let message = (!bytes.is_empty()).then(|| timeless(&bytes));
    Exchange { status: parts.status.as_u16(), headers: parts.headers, message, trailers }
}

/// Decodes a message that is encoded as the generated code does, and clears its times.
fn timeless<A: Answer>(frame: &[u8]) -> A {
    let mut message = A::decode(&frame[5..]).unwrap();
    assert_eq!(body(&message.encode_to_vec()), frame);
    message.forget_time();
    message
}

async fn assert_alike<A: Answer>(wire: &mut Wire, headers: &[(&str, &str)], body: &[u8]) -> Exchange<A> {
    let plain = exchange(wire, PLAIN, headers, body).await;
    let general = exchange(wire, GENERAL, headers, body).await;
    assert_eq!(plain, general, "{headers:?} {:?}", body.escape_ascii().to_string());
    plain
}

/// Stores entries with every kind of field. Returns their keys and a token.
async fn fill(replica: &Replica) -> (Vec<&'static str>, String) {
    let seconds = |seconds| prost_types::Duration { seconds, nanos: 0 };
    let set = |key| set_request(key, "a value");
    let negative = pb::set_request::Content::KnownAbsent(pb::KnownAbsent {});
    let soon = prost_types::Duration { seconds: 0, nanos: 1_000_000 };
    let entries = [
        set("plain"),
        set_request("empty", ""),
        set_request("large", &"v".repeat(100_000)),
        set("key \u{e9} with\0odd characters"),
        pb::SetRequest { content_type: "text/plain".into(), source_version: Some(0), ..set("facts") },
        pb::SetRequest { tags: vec!["one".into(), "two".into()], ..set("tagged") },
        pb::SetRequest { content: Some(negative), ..set("negative") },
        pb::SetRequest { soft_ttl: Some(soon), ..set("due") },
        pb::SetRequest { expiry: Some(pb::set_request::Expiry::NoExpiry(pb::NoExpiry {})), ..set("lasting") },
        pb::SetRequest {
            expiry: Some(pb::set_request::Expiry::Sliding(pb::Sliding { idle: Some(seconds(60)), max_ttl: None })),
            ..set("sliding")
        },
    ];
    let mut keys = Vec::new();
    let mut token = String::new();
    for entry in entries {
        keys.push(&*entry.key.clone().leak());
        token = replica.store(entry).await.unwrap().token;
    }
    for key in &keys {
        eventually("the entry is in memory", async || {
            let entry = match replica.get(key).await.result {
                Some(Outcome::Hit(hit)) => hit.entry,
                Some(Outcome::NegativeHit(hit)) => hit.entry,
                _ => None,
            };
            entry.is_some_and(|entry| entry.tier() == pb::Tier::L1 && (*key != "due" || entry.refresh_due))
        })
        .await;
    }
    (keys, token)
}

async fn messages_are_answered_alike(mode: Mode) {
    let replica = mode.replica(&[("cache.allow_no_expiry", "true"), ("server.max_metadata_size", "8KiB")]).await;
    let (keys, token) = fill(&replica).await;
    let mut wire = Wire::connect(replica.address).await;
    for key in &keys {
        let get = pb::GetRequest { key: (*key).into(), ..Default::default() };
        let requests = [
            get.clone(),
            pb::GetRequest { namespace: "default".into(), ..get.clone() },
            pb::GetRequest { consistency: pb::Consistency::Bounded.into(), ..get.clone() },
            pb::GetRequest { max_staleness: Some(prost_types::Duration { seconds: 9, nanos: 0 }), ..get.clone() },
            pb::GetRequest { tokens: vec![token.clone()], ..get.clone() },
            pb::GetRequest { metadata_only: true, ..get.clone() },
            pb::GetRequest { stale_if_error: true, ..get.clone() },
        ];
        for request in requests {
            let answer = assert_alike::<pb::GetResponse>(&mut wire, &[], &body(&request.encode_to_vec())).await;
            assert_eq!(answer.trailers["grpc-status"], "0", "{request:?}");
            assert!(!matches!(answer.message.unwrap().result, Some(Outcome::Miss(_)) | None), "{request:?}");
        }
    }
    let others = [
        pb::GetRequest { key: "absent".into(), ..Default::default() },
        pb::GetRequest { key: "plain".into(), namespace: "unknown".into(), ..Default::default() },
        pb::GetRequest { key: "plain".into(), namespace: "No!".into(), ..Default::default() },
        pb::GetRequest { key: "k".repeat(1025), ..Default::default() },
        pb::GetRequest { key: "k".repeat(5000), ..Default::default() },
        pb::GetRequest { key: "plain".into(), consistency: 9, ..Default::default() },
        pb::GetRequest { key: "plain".into(), tokens: vec!["x".into()], ..Default::default() },
        pb::GetRequest::default(),
    ];
    for request in others {
        assert_alike::<pb::GetResponse>(&mut wire, &[], &body(&request.encode_to_vec())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_answered_alike_without_redis() {
    messages_are_answered_alike(Mode::standalone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_answered_alike_with_redis() {
    messages_are_answered_alike(Mode::with_redis().await).await;
}

/// A Set of a value.
fn set(key: &str, value: &str) -> pb::SetRequest {
    set_request(key, value)
}

async fn sets_are_answered_alike(mode: Mode) {
    use pb::set_request::{Condition, Content, Expiry};
    let seconds = |seconds, nanos| prost_types::Duration { seconds, nanos };
    let ttl = |duration| pb::SetRequest { expiry: Some(Expiry::Ttl(duration)), ..set("ttl", "v") };
    let settings = [("limits.value_size", "64KiB"), ("cache.max_ttl", "1h"), ("server.max_metadata_size", "8KiB")];
    let replica = mode.replica(&settings).await;
    let mut wire = Wire::connect(replica.address).await;
    let stored = [
        set("plain", "v"),
        pb::SetRequest { namespace: "default".into(), ..set("named", "v") },
        pb::SetRequest { namespace: "another".into(), ..set("another", "v") },
        set("empty", ""),
        set("key \u{e9} with\0odd characters", "v"),
        set("a frame", &"v".repeat(16_000)),
        set("frames", &"v".repeat(60_000)),
        pb::SetRequest { content_type: "text/plain".into(), ..set("typed", "v") },
        ttl(seconds(60, 1)),
        pb::SetRequest { content: Some(Content::KnownAbsent(pb::KnownAbsent {})), ..set("negative", "") },
        pb::SetRequest { tags: vec!["tag".into()], ..set("tagged", "v") },
        pb::SetRequest { source_version: Some(7), ..set("sourced", "v") },
        pb::SetRequest { request_id: "once".into(), ..set("once", "v") },
        pb::SetRequest { condition: Some(Condition::IfPresent(pb::IfPresent {})), ..set("plain", "v") },
        pb::SetRequest { barrier: pb::Barrier::Fleet.into(), ..set("everywhere", "v") },
    ];
    for request in stored {
        let answer = assert_alike::<pb::SetResponse>(&mut wire, &[], &body(&request.encode_to_vec())).await;
        assert_eq!(answer.trailers["grpc-status"], "0", "{request:?}");
        assert_eq!(answer.message.unwrap().outcome(), pb::SetOutcome::Stored, "{request:?}");
    }
    let others = [
        pb::SetRequest { condition: Some(Condition::IfAbsent(pb::IfAbsent {})), ..set("plain", "v") },
        pb::SetRequest { namespace: "No!".into(), ..set("k", "v") },
        set("", "v"),
        set(&"k".repeat(1025), "v"),
        pb::SetRequest { namespace: "No!".into(), content_type: "\n".into(), ..set("", "v") },
        pb::SetRequest { content_type: "t".repeat(256), ..set("k", "v") },
        set("too large", &"v".repeat((64 << 10) + 1)),
        ttl(seconds(0, 0)),
        ttl(seconds(-1, 0)),
        ttl(seconds(1, -1)),
        ttl(seconds(3601, 0)),
        pb::SetRequest { content: None, ..set("k", "v") },
        pb::SetRequest::default(),
    ];
    for request in others {
        assert_alike::<pb::SetResponse>(&mut wire, &[], &body(&request.encode_to_vec())).await;
    }
    // Each way stores what it was given.
    for (content_type, value) in [(PLAIN, "first"), (GENERAL, "second"), (PLAIN, "third")] {
        exchange::<pb::SetResponse>(&mut wire, content_type, &[], &body(&set("k", value).encode_to_vec())).await;
        let Some(Outcome::Hit(hit)) = replica.get("k").await.result else { panic!("not stored by {content_type}") };
        assert_eq!(hit.value, value.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sets_are_answered_alike_without_redis() {
    sets_are_answered_alike(Mode::standalone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sets_are_answered_alike_with_redis() {
    sets_are_answered_alike(Mode::with_redis().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_and_headers_are_answered_alike() {
    let replica = Replica::start(&[]).await;
    replica.set("k", "v").await;
    let mut wire = Wire::connect(replica.address).await;
    bodies_are_answered_alike::<pb::GetResponse>(&mut wire, b"\x12\x01k").await;
    bodies_are_answered_alike::<pb::SetResponse>(&mut wire, b"\x12\x01k\x1a\x01v").await;
}

/// Sends bodies and headers of every kind; `message` is a request that begins with its key.
async fn bodies_are_answered_alike<A: Answer>(wire: &mut Wire, message: &[u8]) {
    let whole = body(message);
    let and = |more: &[u8]| body(&[message, more].concat());
    let compressed = [&[1], &whole[1..]].concat();
    let bodies = [
        whole.clone(),
        // An unknown field, a field twice, a wrong wire type, a truncated field, text that is not UTF-8.
        and(b"\xaa\x06\x01u"),
        and(b"\x12\x01k"),
        and(b"\x10\x01"),
        and(b"\x12\x09k"),
        and(b"\x12\x01\xff"),
        and(b"\x0a\x01\xff"),
        // No message, a part of one, more than one, bytes behind it, a wrong flag.
        Vec::new(),
        body(b""),
        whole[..whole.len() - 1].to_vec(),
        whole[..3].to_vec(),
        [&whole[..], &whole].concat(),
        [&whole[..], b"\0"].concat(),
        [&[9], &whole[1..]].concat(),
        compressed.clone(),
    ];
    for body in bodies {
        assert_alike::<A>(wire, &[], &body).await;
    }
    let long_id = "i".repeat(129);
    let headers: [&[(&str, &str)]; 8] = [
        &[("x-request-id", "request-1")],
        &[("x-request-id", &long_id)],
        &[("x-request-id", "not visible"), ("x-request-id", "second")],
        &[("grpc-timeout", "5S"), ("x-request-id", "request-2")],
        &[("grpc-timeout", "5")],
        &[("grpc-encoding", "identity"), ("grpc-accept-encoding", "gzip,zstd")],
        &[("grpc-encoding", "br")],
        &[("unknown", "header"), ("unknown-bin", "AAEC")],
    ];
    for headers in headers {
        assert_alike::<A>(wire, headers, &whole).await;
        assert_alike::<A>(wire, headers, &compressed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ways_count_alike() {
    let replica = Replica::start(&[]).await;
    replica.set("k", "v").await;
    let mut wire = Wire::connect(replica.address).await;
    for (way, content_type) in [PLAIN, GENERAL].into_iter().enumerate() {
        for key in ["k", "absent"] {
            let get = pb::GetRequest { key: key.into(), ..Default::default() };
            exchange::<pb::GetResponse>(&mut wire, content_type, &[], &body(&get.encode_to_vec())).await;
        }
        let set = body(&set("another", "v").encode_to_vec());
        exchange::<pb::SetResponse>(&mut wire, content_type, &[], &set).await;
        let (counts, gets) = (replica.counts("default").await, way as u64 + 1);
        assert_eq!((counts.l1_hits, counts.misses, counts.sets_stored), (gets, gets, gets + 1), "{content_type}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_limit_holds_for_both_ways() {
    let replica = Replica::start(&[("cache.max_requests_per_second", "0.0001")]).await;
    replica.set("k", "v").await;
    let mut wire = Wire::connect(replica.address).await;
    let get = body(&pb::GetRequest { key: "k".into(), ..Default::default() }.encode_to_vec());
    // The write has used the only permit.
    let set = body(&set("k", "v").encode_to_vec());
    for content_type in [PLAIN, GENERAL] {
        let refused = exchange::<pb::GetResponse>(&mut wire, content_type, &[], &get).await;
        assert_eq!((&refused.headers["grpc-status"], refused.message), (&HeaderValue::from_static("8"), None));
        let refused = exchange::<pb::SetResponse>(&mut wire, content_type, &[], &set).await;
        assert_eq!((&refused.headers["grpc-status"], refused.message), (&HeaderValue::from_static("8"), None));
    }
}
