//! Admission: no caller takes all request slots or all memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use http::Response;
use hyper::body::Incoming;
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::body::Body;
use twintier::pb;

use crate::harness::{
    Answer as _, Refusal as _, Replica, Unfinished, Wire, eventually, framed, one_message, set_request, within,
};

const GET: &str = "/twintier.v1.CacheService/Get";
const SET: &str = "/twintier.v1.CacheService/Set";
const BATCH_GET: &str = "/twintier.v1.CacheService/BatchGet";
const BATCH_SET: &str = "/twintier.v1.CacheService/BatchSet";
const BATCH_INVALIDATE: &str = "/twintier.v1.CacheService/BatchInvalidate";
const INVALIDATE: &str = "/twintier.v1.CacheService/Invalidate";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

const MIB: usize = 1 << 20;

/// Status in the head of a response.
fn status(response: &Response<Incoming>) -> Option<Code> {
    let code: i32 = response.headers().get("grpc-status")?.to_str().unwrap().parse().unwrap();
    Some(Code::from(code))
}

/// Message of the status in the head of a response.
fn message(response: &Response<Incoming>) -> String {
    let status = tonic::Status::from_header_map(response.headers());
    status.map_or(String::new(), |status| status.message().to_owned())
}

/// A caller on its own connection that counts its answers, from its start to its end.
struct SteadyCaller {
    stop: CancellationToken,
    calls: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl SteadyCaller {
    /// Gets `key` repeatedly, and fails at the first refusal.
    async fn start(replica: &Replica, key: &'static str, value: &'static str) -> SteadyCaller {
        let (stop, calls) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let mut client = Wire::connect(replica.address).await.client();
        let (stopped, counted) = (stop.clone(), calls.clone());
        let task = tokio::spawn(async move {
            while !stopped.is_cancelled() {
                let answer = client.get(pb::GetRequest { key: key.into(), ..Default::default() }).await;
                assert!(answer.expect("a caller is served").into_inner().is(value));
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        SteadyCaller { stop, calls, task }
    }

    /// Waits for another ten answers.
    async fn assert_progress(&self) {
        let before = self.calls.load(Ordering::Relaxed);
        eventually("the caller is served", async || {
            self.calls.load(Ordering::Relaxed) >= before + 10 || self.task.is_finished()
        })
        .await;
        assert!(!self.task.is_finished(), "the caller was refused");
    }

    async fn end(self) {
        self.assert_progress().await;
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn get(key: &str) -> Vec<u8> {
    pb::GetRequest { key: key.into(), ..Default::default() }.encode_to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_without_bodies_take_no_slots_and_time_out() {
    let replica = Replica::start(&[("server.max_in_flight", "8"), ("server.body_timeout", "1s")]).await;
    replica.set("k", "v").await;
    let caller = SteadyCaller::start(&replica, "k", "v").await;
    let mut calls = Vec::new();
    for _ in 0..4 {
        let wire = Wire::connect(replica.address).await;
        for begin in [None, Some(framed(b"not all of it").slice(..8))].into_iter().cycle().take(200) {
            let wire = wire.clone();
            calls.push(async move { wire.post(SET, Body::new(Unfinished(begin))).await });
        }
    }
    for response in within(Duration::from_secs(60), join_all(calls)).await {
        let response = response.unwrap();
        assert_eq!(status(&response), Some(Code::DeadlineExceeded), "{response:?}");
        assert!(message(&response).contains("the request body was not complete"), "{response:?}");
    }
    caller.end().await;
    assert_eq!(replica.stats().await.replica.unwrap().shed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_arrives_slowly_is_read_to_its_end() {
    let replica = Replica::start(&[("server.body_timeout", "1s")]).await;
    let whole = framed(&set_request("k", &"v".repeat(300_000)).encode_to_vec());
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let frames = tokio_stream_of(receiver);
    let wire = Wire::connect(replica.address).await;
    let body = Body::new(http_body_util::StreamBody::new(frames));
    let call = tokio::spawn(async move { wire.post(SET, body).await });
    // The body takes longer than the timeout in all, at a pace that is fast enough.
    for piece in whole.chunks(64 << 10) {
        sender.send(Ok::<_, tonic::Status>(http_body::Frame::data(piece.to_vec().into()))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    drop(sender);
    let response = within(Duration::from_secs(20), call).await.unwrap().unwrap();
    assert_eq!(status(&response), None, "{response:?}");
    assert!(replica.get("k").await.is(&"v".repeat(300_000)));
}

fn tokio_stream_of<T>(receiver: tokio::sync::mpsc::Receiver<T>) -> impl futures_util::Stream<Item = T> {
    futures_util::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_one_message_and_no_larger_than_allowed() {
    let replica = Replica::start(&[]).await;
    let wire = Wire::connect(replica.address).await;
    let two = [framed(&get("a")), framed(&get("b"))].concat();
    let half = framed(&get("a")).slice(..6);
    for (body, words) in
        [(two.into(), "was more than one"), (half, "one whole message"), (Default::default(), "one whole")]
    {
        let response = wire.post(GET, Body::new(http_body_util::Full::new(body))).await.unwrap();
        assert_eq!(status(&response), Some(Code::InvalidArgument), "{response:?}");
        assert!(message(&response).contains(words), "{response:?}");
    }
    // The service refuses the message when it has read its length.
    let long = Unfinished(Some(vec![0, 0xff, 0xff, 0xff, 0xff].into()));
    let response = within(Duration::from_secs(4), wire.post(GET, Body::new(long))).await.unwrap();
    assert_eq!(status(&response), Some(Code::ResourceExhausted), "{response:?}");
}

/// Requests an answer of 1 MiB on each stream of a connection, and reads none of them. Returns the
/// responses that were not refused.
async fn read_nothing(
    replica: &Replica,
    window: u32,
    path: &'static str,
    request: &[u8],
) -> (Wire, Vec<Response<Incoming>>) {
    let wire = Wire::with_window(replica.address, window).await;
    let calls = (0..64).map(|_| wire.post(path, one_message(request)));
    let responses = within(Duration::from_secs(30), join_all(calls)).await;
    let mut served = Vec::new();
    for response in responses.into_iter().map(Result::unwrap) {
        match status(&response) {
            None => served.push(response),
            refused => assert_eq!(refused, Some(Code::ResourceExhausted), "{response:?}"),
        }
    }
    (wire, served)
}

async fn unread_answers_leave_room_for_others(window: u32, path: &'static str, request: &[u8]) {
    let settings = [("server.max_bytes_in_flight", "16MiB")];
    let replica = Replica::start(&settings).await;
    replica.set("large", &"v".repeat(1_000_000)).await;
    replica.set("k", "v").await;
    let caller = SteadyCaller::start(&replica, "k", "v").await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(read_nothing(&replica, window, path, request).await);
        caller.assert_progress().await;
    }
    let served: usize = held.iter().map(|(_, responses)| responses.len()).sum();
    assert!((4..16).contains(&served), "{served} answers of 1 MiB in 16 MiB");
    // A large answer for another caller has room too.
    assert!(replica.get("large").await.is(&"v".repeat(1_000_000)));
    drop(held);
    eventually("their bytes are released", async || {
        let (_wire, served) = read_nothing(&replica, window, path, request).await;
        served.len() >= 4
    })
    .await;
    caller.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_without_a_window_leave_room_for_others() {
    unread_answers_leave_room_for_others(0, GET, &get("large")).await;
}

/// HTTP/2 buffers the whole answer once a part of it may be sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partly_read_responses_leave_room_for_others() {
    unread_answers_leave_room_for_others(1000, GET, &get("large")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_batches_leave_room_for_others() {
    let request = pb::BatchGetRequest { keys: vec!["large".into(); 2], ..Default::default() }.encode_to_vec();
    let settings = [("server.max_bytes_in_flight", "16MiB")];
    let replica = Replica::start(&settings).await;
    replica.set("large", &"v".repeat(1_000_000)).await;
    replica.set("k", "v").await;
    let caller = SteadyCaller::start(&replica, "k", "v").await;
    let mut held = Vec::new();
    for window in [0, 1000, 0, 1000] {
        held.push(read_nothing(&replica, window, BATCH_GET, &request).await);
        caller.assert_progress().await;
    }
    let served: usize = held.iter().map(|(_, responses)| responses.len()).sum();
    assert!((2..10).contains(&served), "{served} batches of 2 MiB in 16 MiB");
    caller.end().await;
}

/// A field of /proc/<id>/status, in bytes.
#[cfg(target_os = "linux")]
fn memory(replica: &Replica, name: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", replica.process_id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    1024 * line.trim_start_matches(':').trim_end_matches("kB").trim().parse::<usize>().unwrap()
}

/// Repeats the bytes `12 00`: a repeated field with an empty element.
fn bomb(elements: usize) -> Vec<u8> {
    [0x12, 0].repeat(elements)
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_many_empty_elements_is_refused_before_it_is_decoded() {
    let replica = Replica::process_with(&[], &[]).await;
    let wire = Wire::connect(replica.address).await;
    wire.post(GET, one_message(&get("k"))).await.unwrap();
    let mut keys = vec![0x1a];
    let inner = [0x0a, 0].repeat(1_900_000);
    prost::encoding::encode_varint(inner.len() as u64, &mut keys);
    keys.extend(inner);
    let before = memory(&replica, "VmHWM");
    for (path, request, words) in [
        (BATCH_SET, bomb(2_000_000), "items must be at most 1000 items; was 2000000 items"),
        (BATCH_INVALIDATE, bomb(2_000_000), "items must be at most 1000 items; was 2000000 items"),
        (BATCH_GET, bomb(2_000_000), "keys must be at most 1000 keys; was 2000000 keys"),
        (INVALIDATE, keys, "keys.keys must be at most 1000 keys; was 1900000 keys"),
        (GET, [0x2a, 0].repeat(2_000_000), "tokens must be at most 16 tokens; was 2000000 tokens"),
    ] {
        let response = wire.post(path, one_message(&request)).await.unwrap();
        assert_eq!(status(&response), Some(Code::InvalidArgument), "{path}: {response:?}");
        assert!(message(&response).contains(words), "{path}: {}", message(&response));
    }
    let grown = memory(&replica, "VmHWM") - before;
    // The largest message has 4 MB. Two copies of it may exist for a moment.
    assert!(grown < 48 * MIB, "{} MiB", grown / MIB);
}

/// Holds with the formula of docs/capacity.md.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_answers_take_no_more_memory_than_they_count() {
    let replica = Replica::process_with(&[("server.max_bytes_in_flight", "64MiB")], &[]).await;
    let wire = Wire::connect(replica.address).await;
    let set = set_request("large", &"v".repeat(MIB));
    let stored = wire.post(SET, one_message(&set.encode_to_vec())).await.unwrap();
    assert_eq!(status(&stored), None);
    let before = memory(&replica, "VmRSS");
    let mut held = Vec::new();
    for window in (0..16).map(|connection| if connection % 2 == 0 { 0 } else { 20_000 }) {
        held.push(read_nothing(&replica, window, GET, &get("large")).await);
    }
    let served: usize = held.iter().map(|(_, responses)| responses.len()).sum();
    assert!(served > 30, "{served}");
    let grown = memory(&replica, "VmHWM") - before;
    println!("{served} answers of 1 MiB unread, {} MiB more", grown / MIB);
    let connections = 17 * 2 * 37 * 1024;
    assert!(grown < 64 * MIB * 6 / 5 + connections + 8 * MIB, "{} MiB", grown / MIB);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_requests_take_no_more_memory_than_they_count() {
    let replica = Replica::process_with(&[("server.body_timeout", "2s")], &[]).await;
    let wire = Wire::connect(replica.address).await;
    wire.post(GET, one_message(&get("k"))).await.unwrap();
    let before = memory(&replica, "VmHWM");
    let mut calls = Vec::new();
    for _ in 0..8 {
        let wire = Wire::connect(replica.address).await;
        for _ in 0..250 {
            let wire = wire.clone();
            let begin = framed(&[0; 1000]).slice(..500);
            calls.push(async move { wire.post(SET, Body::new(Unfinished(Some(begin)))).await });
        }
    }
    for response in within(Duration::from_secs(60), join_all(calls)).await {
        assert_eq!(status(&response.unwrap()), Some(Code::DeadlineExceeded));
    }
    let grown = memory(&replica, "VmHWM") - before;
    println!("{} bytes for each of 2000 unfinished requests", grown / 2000);
    // Each counts as 16 KiB and its bytes.
    assert!(grown < 2000 * (16 * 1024 + 500) * 6 / 5 + 8 * 37 * 1024 + 4 * MIB, "{} MiB", grown / MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_reflection_are_bounded() {
    // There are as many watches of health as connections.
    let settings = [("server.max_uncounted", "64"), ("server.max_connections", "64"), ("server.body_timeout", "1s")];
    let replica = Replica::start(&settings).await;
    replica.set("k", "v").await;
    let caller = SteadyCaller::start(&replica, "k", "v").await;
    let wire = Wire::connect(replica.address).await;
    // Messages that do not end, and messages that are too large.
    let unfinished = (0..100).map(|_| wire.post(CHECK, Body::new(Unfinished(Some(vec![0, 0, 0, 0xff, 0xff].into())))));
    for response in within(Duration::from_secs(30), join_all(unfinished)).await {
        assert_eq!(status(&response.unwrap()), Some(Code::DeadlineExceeded));
    }
    for path in [CHECK, HEALTH_WATCH] {
        let response = wire.post(path, one_message(&vec![0; 100_000])).await.unwrap();
        assert_eq!(status(&response), Some(Code::ResourceExhausted), "{response:?}");
    }
    // Calls that stay open.
    let (mut watches, mut conversations) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let wire = Wire::connect(replica.address).await;
        let watching = join_all((0..40).map(|_| wire.post(HEALTH_WATCH, one_message(b"")))).await;
        let conversing = join_all((0..40).map(|_| wire.post(REFLECTION, Body::new(Unfinished(None))))).await;
        for (responses, held) in [(watching, &mut watches), (conversing, &mut conversations)] {
            for response in responses.into_iter().map(Result::unwrap) {
                match status(&response) {
                    None => held.push(response),
                    refused => assert_eq!(refused, Some(Code::ResourceExhausted), "{response:?}"),
                }
            }
        }
    }
    for held in [watches.len(), conversations.len()] {
        assert!((16..64).contains(&held), "{held}");
    }
    // A probe on another connection is still served.
    let response = Wire::connect(replica.address).await.post(CHECK, one_message(b"")).await.unwrap();
    assert_eq!(status(&response), None, "{response:?}");
    caller.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_health_requests_are_client_errors() {
    let replica = Replica::start(&[]).await;
    let wire = Wire::connect(replica.address).await;
    for path in [CHECK, HEALTH_WATCH, GET] {
        let response = wire.post(path, one_message(b"\xff\xff\xff")).await.unwrap();
        assert_eq!(status(&response), Some(Code::InvalidArgument), "{path}: {response:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_health_ends_at_its_deadline() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    let replica = Replica::start(&[]).await;
    let mut client = HealthClient::new(Wire::connect(replica.address).await);
    let mut request = tonic::Request::new(HealthCheckRequest { service: "liveness".into() });
    request.metadata_mut().insert("grpc-timeout", "300m".parse().unwrap());
    let mut watch = client.watch(request).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    let end = within(Duration::from_secs(10), watch.message()).await.unwrap_err();
    assert_eq!(end.code(), Code::DeadlineExceeded);
    assert_eq!(end.reason(), "DEADLINE_EXCEEDED");
}

macro_rules! reflection_tests {
    ($version:ident) => {
        mod $version {
            use std::time::Duration;

            use futures_util::StreamExt as _;
            use tonic::Code;
            use tonic_reflection::pb::$version::ServerReflectionRequest;
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

            use crate::harness::{Replica, Wire, within};

            fn question(question: MessageRequest) -> ServerReflectionRequest {
                ServerReflectionRequest { host: "here".into(), message_request: Some(question) }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_reflection_stream_continues_after_an_unknown_symbol() {
                let replica = Replica::start(&[]).await;
                let mut client = ServerReflectionClient::new(Wire::connect(replica.address).await);
                let known = "twintier.v1.CacheService.Get";
                let unknown = [
                    question(MessageRequest::FileContainingSymbol("no.Such".into())),
                    question(MessageRequest::FileByFilename("no/such.proto".into())),
                    question(MessageRequest::AllExtensionNumbersOfType("no.Such".into())),
                    ServerReflectionRequest { host: String::new(), message_request: None },
                ];
                let then = [
                    question(MessageRequest::FileContainingSymbol(known.into())),
                    question(MessageRequest::FileByFilename("twintier/v1/cache.proto".into())),
                    question(MessageRequest::AllExtensionNumbersOfType("twintier.v1.GetRequest".into())),
                ];
                let questions: Vec<_> = unknown.iter().chain(&then).cloned().collect();
                let answers = client.server_reflection_info(futures_util::stream::iter(questions.clone())).await;
                let answers: Vec<_> = answers.unwrap().into_inner().collect().await;
                assert_eq!(answers.len(), questions.len());
                let codes = [Code::NotFound, Code::NotFound, Code::NotFound, Code::InvalidArgument].map(i32::from);
                for (index, answer) in answers.into_iter().enumerate() {
                    let answer = answer.unwrap();
                    assert_eq!(answer.original_request.as_ref(), Some(&questions[index]));
                    match answer.message_response.unwrap() {
                        MessageResponse::ErrorResponse(error) => assert_eq!(Some(&error.error_code), codes.get(index)),
                        MessageResponse::FileDescriptorResponse(file) => {
                            assert!(index > 3 && file.file_descriptor_proto.len() == 1, "{index}");
                        }
                        MessageResponse::AllExtensionNumbersResponse(numbers) => {
                            assert_eq!((index, numbers.base_type_name.as_str()), (6, "twintier.v1.GetRequest"));
                        }
                        other => panic!("{index}: {other:?}"),
                    }
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_reflection_stream_ends_at_its_own_or_the_servers_deadline() {
                let replica = Replica::start(&[("server.max_deadline", "500ms")]).await;
                let mut client = ServerReflectionClient::new(Wire::connect(replica.address).await);
                let answers = client.server_reflection_info(futures_util::stream::pending()).await;
                let mut answers = answers.unwrap().into_inner();
                let end = within(Duration::from_secs(10), answers.message()).await.unwrap_err();
                assert_eq!(end.code(), Code::DeadlineExceeded, "{end:?}");
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_reflection_request_that_is_too_large_is_refused() {
                let replica = Replica::start(&[]).await;
                let mut client = ServerReflectionClient::new(Wire::connect(replica.address).await);
                let large = question(MessageRequest::FileContainingSymbol("x".repeat(100_000)));
                let answers = client.server_reflection_info(futures_util::stream::iter([large])).await;
                let mut answers = answers.unwrap().into_inner();
                let end = within(Duration::from_secs(10), answers.message()).await.unwrap_err();
                assert_eq!(end.code(), Code::ResourceExhausted, "{end:?}");
            }
        }
    };
}

reflection_tests!(v1);
reflection_tests!(v1alpha);
