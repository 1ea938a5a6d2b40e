//! Orderly close of connections: the peer receives everything that was written before.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tonic::Status;
use twintier::pb;

use crate::harness::{Answer as _, Replica, WAIT_TIMEOUT, Wire, eventually, within};

/// Bytes of the value. Several windows, so that the end of an answer waits in the socket buffers of
/// both sides.
const SIZE: usize = 400_000;
/// Bytes per second that a slow client reads.
const RATE: u32 = 400_000;

async fn replica(settings: &[(&str, &str)]) -> Replica {
    let settings = [&[("drain.timeout", "20s")], settings].concat();
    let replica = Replica::start(&settings).await;
    replica.set("k", &"v".repeat(SIZE)).await;
    replica
}

fn get() -> pb::GetRequest {
    pb::GetRequest { key: "k".into(), ..Default::default() }
}

/// True if the client refused the call itself: it learned of the end of the connection before it
/// sent the call.
fn is_unsent(refusal: &Status) -> bool {
    let words = format!("{refusal:?}");
    ["GoAway(b\"\", NO_ERROR", "hyper::Error(Canceled", "not ready"].iter().any(|unsent| words.contains(unsent))
}

/// Calls in sequence until the connection is closed. Every answer must be complete. Counts the
/// started calls.
async fn read_until_the_end(wire: Wire, began: Arc<AtomicUsize>) {
    while wire.is_open() {
        began.fetch_add(1, Ordering::Relaxed);
        match wire.client().get(get()).await {
            Ok(answer) => assert!(answer.into_inner().is(&"v".repeat(SIZE))),
            Err(refusal) => assert!(is_unsent(&refusal), "an answer was truncated: {refusal:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_whole_answers_until_its_connection_is_renewed() {
    let replica = replica(&[("server.max_connection_age", "1s")]).await;
    let began = Arc::new(AtomicUsize::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        readers.spawn(read_until_the_end(Wire::slow(replica.address, RATE).await, began.clone()));
    }
    readers.join_all().await;
    assert!(began.load(Ordering::Relaxed) >= 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_whole_answers_when_the_replica_stops() {
    let replica = replica(&[]).await;
    let began = Arc::new(AtomicUsize::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        readers.spawn(read_until_the_end(Wire::slow(replica.address, RATE).await, began.clone()));
    }
    eventually("each connection has an answer in flight", async || began.load(Ordering::Relaxed) >= 4).await;
    assert!(replica.stop().await);
    readers.join_all().await;
}

// === connections of raw frames ===

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const PROTOCOL_ERROR: u32 = 1;

/// An HTTP/2 frame.
#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
}

impl Frame {
    /// Error code of a GOAWAY.
    fn code(&self) -> u32 {
        u32::from_be_bytes(self.payload[4..8].try_into().unwrap())
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The preface and SETTINGS of a client.
fn preface_and_settings(settings: &[u8]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()
}

/// SETTINGS with the largest window for each stream. The window of the connection is 65,535 bytes.
const WIDE_WINDOW: &[u8] = &[0, 4, 0x7f, 0xff, 0xff, 0xff];

/// Opens a connection with a small receive buffer: unread bytes stay in the server's kernel.
async fn connect_with_small_buffer(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(address).await.unwrap()
}

/// A Get on stream 1.
fn raw_get() -> Vec<u8> {
    let literal = |name: u8, value: &[u8]| [&[name, u8::try_from(value.len()).unwrap()], value].concat();
    // Indexes of HPACK's static table: POST, http, a path, a content type.
    let path = literal(0x44, b"/twintier.v1.CacheService/Get");
    let headers = [&[0x83, 0x86][..], &path, &literal(0x5f, b"application/grpc")].concat();
    let message = get().encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = [&[0], &length[..], &message].concat();
    [frame(HEADERS, END_HEADERS, 1, &headers), frame(DATA, END_STREAM, 1, &body)].concat()
}

/// The next frame. `None` at the orderly end of the connection; a reset fails the test.
async fn next_frame(stream: &mut TcpStream) -> Option<Frame> {
    let mut head = [0; 9];
    let first = within(WAIT_TIMEOUT, stream.read(&mut head)).await.expect("no reset");
    if first == 0 {
        return None;
    }
    within(WAIT_TIMEOUT, stream.read_exact(&mut head[first..])).await.expect("no reset");
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    within(WAIT_TIMEOUT, stream.read_exact(&mut payload)).await.expect("no reset");
    Some(Frame { kind: head[3], flags: head[4], payload })
}

async fn frames_until_the_end(stream: &mut TcpStream) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = next_frame(stream).await {
        frames.push(frame);
    }
    frames
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protocol_error_reaches_a_peer_that_keeps_sending() {
    let replica = replica(&[]).await;
    let mut stream = connect_with_small_buffer(replica.address).await;
    stream.write_all(&[preface_and_settings(WIDE_WINDOW), raw_get()].concat()).await.unwrap();
    eventually("the answer is in flight", async || stream.peek(&mut [0; 1024]).await.unwrap() == 1024).await;
    // DATA on stream 0 is an error. More bytes follow it.
    stream.write_all(&[frame(DATA, 0, 0, b"x"), vec![0xff; 64 * 1024]].concat()).await.unwrap();
    let frames = frames_until_the_end(&mut stream).await;
    let last = frames.last().expect("frames");
    assert_eq!((last.kind, last.code()), (GOAWAY, PROTOCOL_ERROR), "{frames:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_gets_goaway_and_an_orderly_close() {
    let replica = replica(&[("server.max_deadline", "200ms")]).await;
    let mut stream = TcpStream::connect(replica.address).await.unwrap();
    // A window of zero bytes for answers.
    stream.write_all(&[preface_and_settings(&[0, 4, 0, 0, 0, 0]), raw_get()].concat()).await.unwrap();
    let frames = frames_until_the_end(&mut stream).await;
    let kinds: Vec<_> = frames.iter().map(|frame| frame.kind).collect();
    assert!(kinds.contains(&HEADERS) && !kinds.contains(&DATA), "{frames:?}");
    assert!(kinds.contains(&GOAWAY), "{frames:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_close_delays_a_stop_until_the_limit() {
    let replica = Replica::start(&[("drain.timeout", "2s")]).await;
    let mut stream = TcpStream::connect(replica.address).await.unwrap();
    stream.write_all(&preface_and_settings(&[])).await.unwrap();
    eventually("the connection is counted", async || replica.stats().await.replica.unwrap().connections == 2).await;
    let stopping = tokio::spawn(replica.stop());
    // The peer answers each PING of the graceful shutdown and reads to the end, but does not close.
    while let Some(received) = next_frame(&mut stream).await {
        if received.kind == PING && received.flags & ACK == 0 {
            stream.write_all(&frame(PING, ACK, 0, &received.payload)).await.unwrap();
        }
    }
    assert!(!within(WAIT_TIMEOUT, stopping).await.unwrap(), "the shutdown did not wait for the connection");
    drop(stream);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_delays_a_stop_until_the_limit() {
    let replica = replica(&[("drain.timeout", "2s")]).await;
    let mut stream = connect_with_small_buffer(replica.address).await;
    stream.write_all(&[preface_and_settings(WIDE_WINDOW), raw_get()].concat()).await.unwrap();
    eventually("the answer is in flight", async || stream.peek(&mut [0; 1024]).await.unwrap() == 1024).await;
    assert!(!within(WAIT_TIMEOUT, replica.stop()).await);
    drop(stream);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_beyond_the_limit_ends_in_order_before_anything_is_sent() {
    let settings = [("server.max_connections", "1"), ("server.first_byte_timeout", "30s")];
    let replica = Replica::start(&settings).await;
    replica.set("k", "v").await;
    for _ in 0..8 {
        let mut stream = TcpStream::connect(replica.address).await.unwrap();
        let _ = stream.write_all(&[preface_and_settings(&[]), vec![0; 64 * 1024]].concat()).await;
        assert!(frames_until_the_end(&mut stream).await.is_empty());
    }
    assert!(replica.get("k").await.is("v"));
}

/// Covers the burst of callers after the end of another replica: the accept queue must hold them.
#[tokio::test]
async fn hundreds_of_connections_at_once_are_completed_before_they_are_accepted() {
    let settings = [("admin.enabled", "true"), ("admin.listen", "127.0.0.1:0")];
    let replica = Replica::start(&settings).await;
    let limit: usize = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
    for address in [replica.address, replica.admin_address()] {
        // The runtime has this thread only, so nothing is accepted meanwhile. The kernel ignores a
        // connection attempt when the queue is full.
        let mut connected = Vec::new();
        for n in 0..limit.min(400) {
            let stream = std::net::TcpStream::connect_timeout(&address, WAIT_TIMEOUT);
            connected.push(stream.unwrap_or_else(|error| panic!("connection {n} to {address}: {error}")));
        }
    }
}
