//! Hostile peers: they neither exhaust a replica nor hurt its neighbours.
//!
//! A neighbour at another address calls all the time. Each of its calls has to be answered. How
//! long they take is reported.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::Full;
use prost::Message as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::body::Body;
use tower_service::Service as _;
use twintier::pb;

use super::drill::at_length;
use super::harness::frames::{END_HEADERS, FramePeer, HEADERS, PING, RST_STREAM, frame, get_headers};
use super::harness::{
    Answer as _, Redis, Replica, Wire, connect_from, eventually, framed, one_message, set_request, within,
};
use super::report::print_line;

const MIB: usize = 1 << 20;
const L1_SIZE: usize = 16 * MIB;
const BYTES_IN_FLIGHT: usize = 32 * MIB;
/// Connections at once of the largest attack.
const CONNECTIONS: usize = 600;
/// The last part of the loopback address of attackers.
const ATTACKER: u8 = 9;

const SETTINGS: &[(&str, &str)] = &[
    ("l1.size", "16MiB"),
    ("server.max_bytes_in_flight", "32MiB"),
    ("server.max_connections", "600"),
    ("server.first_byte_timeout", "2s"),
];

const SET: &str = "/twintier.v1.CacheService/Set";
const GET: &str = "/twintier.v1.CacheService/Get";
const BATCH_SET: &str = "/twintier.v1.CacheService/BatchSet";

/// Calls of an honest caller at its own address.
struct Neighbour {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Vec<Duration>>,
}

impl Neighbour {
    async fn start(replica: &Replica) -> Neighbour {
        let stop = CancellationToken::new();
        let mut client = Wire::connect_from(1, replica.address).await.client();
        let set = pb::SetRequest { namespace: "honest".into(), ..set_request("k", "v") };
        client.set(set).await.expect("stored");
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut times = Vec::new();
            while !stopped.is_cancelled() {
                let get = pb::GetRequest { namespace: "honest".into(), key: "k".into(), ..Default::default() };
                let begun = Instant::now();
                let answer = client.get(get).await.expect("a neighbour is served");
                times.push(begun.elapsed());
                assert!(answer.into_inner().is("v"), "an entry of a neighbour is gone");
            }
            times
        });
        Neighbour { stop, task }
    }

    /// Asserts that every call was answered. Reports how long they took.
    async fn end(self, name: &str) {
        self.stop.cancel();
        let mut times = self.task.await.expect("every call was answered");
        times.sort();
        assert!(times.len() > 10, "{} calls", times.len());
        let p99 = times[times.len() * 99 / 100];
        print_line(&format!(
            "{name}: {} calls of a neighbour, p50 {:?}, p99 {p99:?}",
            times.len(),
            times[times.len() / 2]
        ));
    }
}

/// Memory of the process, without the pages of its file: those of a debug build are many.
fn memory(id: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
}

fn open_files(id: u32) -> usize {
    std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count()
}

/// Runs `attack` twice beside a neighbour: to its end, and with SIGTERM in the middle.
///
/// Asserts that the neighbour is served, that the stated memory holds, that no file stays open, and
/// that the process ends within its drain.
async fn under<Held>(name: &str, mut replica: Replica, attack: impl AsyncFn(&Replica) -> Held) {
    let id = replica.process_id();
    let neighbour = Neighbour::start(&replica).await;
    let files_before = open_files(id);
    let watched = CancellationToken::new();
    let watch = {
        let watched = watched.clone();
        tokio::spawn(async move {
            let mut most = 0;
            while !watched.is_cancelled() {
                most = most.max(memory(id));
                sleep(Duration::from_millis(5)).await;
            }
            most
        })
    };
    drop(attack(&replica).await);
    eventually("no file of the attack is open", async || open_files(id) <= files_before + 2).await;
    let after_first = memory(id);
    let held = attack(&replica).await;
    watched.cancel();
    let most = watch.await.unwrap();
    let stated = 64 * MIB + 6 * (L1_SIZE + BYTES_IN_FLIGHT) / 5 + 40 * 1024 * CONNECTIONS;
    print_line(&format!(
        "{name}: {} MiB at most, {} MiB after, {} MiB stated",
        most / MIB,
        after_first / MIB,
        stated / MIB
    ));
    assert!(most < stated, "{} MiB of {}", most / MIB, stated / MIB);
    neighbour.end(name).await;
    replica.terminate();
    // drain.timeout of the harness.
    assert!(within(Duration::from_secs(3), replica.wait_for_exit()).await, "the process failed");
    drop(held);
}

async fn replica() -> Replica {
    Replica::process_with(SETTINGS, &[]).await
}

/// Sends a message and returns its status. `None` if the connection ended before.
async fn call(wire: &Wire, path: &'static str, message: Bytes, encoding: Option<&str>) -> Option<Code> {
    let mut wire = wire.clone();
    std::future::poll_fn(|context| wire.poll_ready(context)).await.ok()?;
    let mut request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    let response = wire.call(request.body(Body::new(Full::new(message))).unwrap()).await.ok()?;
    let code = response.headers().get("grpc-status").map_or(0, |code| code.to_str().unwrap().parse().unwrap());
    Some(Code::from(code))
}

fn set_of(size: usize) -> Bytes {
    let set = pb::SetRequest { namespace: "evil".into(), ..set_request("large", &"v".repeat(size)) };
    framed(&set.encode_to_vec())
}

fn batch_of(items: usize) -> Bytes {
    let items = (0..items).map(|n| set_request(&format!("k{n}"), "v")).collect();
    framed(&pb::BatchSetRequest { namespace: "evil".into(), items, ..Default::default() }.encode_to_vec())
}

/// A gzip of zeros that is a hundredth of a percent of their size.
fn bomb(size: usize) -> Bytes {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), size as u64), &mut packed).unwrap();
    let packed = packed.finish().unwrap();
    [&[1][..], &(packed.len() as u32).to_be_bytes(), &packed].concat().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d24_values_batches_and_bombs_are_huge() {
    let bomb = bomb(100 * MIB);
    under("d24", replica().await, async |replica| {
        let wire = Wire::connect_from(ATTACKER, replica.address).await;
        for (size, code) in [
            (MIB - 1, Code::Ok),
            (MIB, Code::Ok),
            (MIB + 1, Code::InvalidArgument),
            (100 * MIB, Code::ResourceExhausted),
        ] {
            assert_eq!(call(&wire, SET, set_of(size), None).await, Some(code), "a value of {size} bytes");
        }
        for (items, code) in
            [(999, Code::Ok), (1_000, Code::Ok), (1_001, Code::InvalidArgument), (100_000, Code::InvalidArgument)]
        {
            assert_eq!(call(&wire, BATCH_SET, batch_of(items), None).await, Some(code), "{items} items");
        }
        for path in [SET, GET, BATCH_SET] {
            assert_eq!(call(&wire, path, bomb.clone(), Some("gzip")).await, Some(Code::ResourceExhausted), "{path}");
        }
        // Large values, and bombs, on all streams at once: answered, or refused for their size or
        // because they are not whole in time. Then unread large answers.
        let (large, wire) = (set_of(MIB), &wire);
        let many = (0..64).map(|n| match n % 2 {
            0 => call(wire, SET, large.clone(), None),
            _ => call(wire, SET, bomb.clone(), Some("gzip")),
        });
        for code in join_all(many).await {
            assert!(matches!(code, Some(Code::Ok | Code::ResourceExhausted | Code::DeadlineExceeded)), "{code:?}");
        }
        let get = pb::GetRequest { namespace: "evil".into(), key: "large".into(), ..Default::default() };
        let mut unread = Vec::new();
        for n in 0..4 {
            let slow = Wire::with_window(replica.address, n * 1_000).await;
            let gets = (0..64).map(|_| slow.post(GET, one_message(&get.encode_to_vec())));
            let responses = within(Duration::from_secs(30), join_all(gets)).await;
            unread.push((slow.clone(), responses));
        }
        unread
    })
    .await;
}

/// Connections that never become useful: silent, half a preface, half a frame, a byte at a time.
async fn useless_connections(replica: &Replica) -> Vec<TcpStream> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut streams = Vec::new();
    for n in 0..CONNECTIONS + 100 {
        // More than a peer may have, of each of several.
        let mut stream = connect_from(ATTACKER + (n / 300) as u8, replica.address).await;
        let begin: &[u8] = match n % 4 {
            0 => b"",
            1 => &preface[..10],
            2 => &[&preface[..], &frame(HEADERS, END_HEADERS, 1, &get_headers())[..20]].concat(),
            _ => &[&preface[..], &frame(4, 0, 0, &[])].concat(),
        };
        // The server may have closed it.
        let _ = stream.write_all(begin).await;
        streams.push(stream);
    }
    for byte in [0, 0, 8, 6] {
        for stream in &mut streams {
            let _ = stream.write_all(&[byte]).await;
        }
        sleep(Duration::from_millis(100)).await;
    }
    streams
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d26_peers_are_silent_or_slow() {
    under("d26", replica().await, async |replica| {
        let streams = useless_connections(replica).await;
        // A new caller of another address finds room.
        let other = Wire::connect_from(100, replica.address).await;
        other.client().get(pb::GetRequest { key: "k".into(), ..Default::default() }).await.expect("served");
        streams
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d27_connections_come_and_go_and_streams_are_reset() {
    under("d27", replica().await, async |replica| {
        let reset = |stream: u32| {
            let reset = frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
            [frame(HEADERS, END_HEADERS, stream, &get_headers()), reset].concat()
        };
        let churn = (0..8).map(|_| async {
            for _ in 0..100 {
                let mut peer = FramePeer::connect(ATTACKER, replica.address).await;
                let frames: Vec<u8> = (1..20).flat_map(|n| reset(2 * n + 1)).collect();
                let _ = peer.stream.write_all(&frames).await;
            }
        });
        join_all(churn).await;
        let mut floods = Vec::new();
        for _ in 0..4 {
            let resets = FramePeer::connect(ATTACKER, replica.address).await.flood(Vec::new(), reset);
            let pings = FramePeer::connect(ATTACKER, replica.address).await;
            let pings = pings.flood(Vec::new(), |_| frame(PING, 0, 0, &[7; 8]));
            let (resets, pings) = tokio::join!(resets, pings);
            floods.extend([resets, pings]);
        }
        assert_eq!(floods, [Some(super::harness::frames::ENHANCE_YOUR_CALM); 8]);
    })
    .await;
}

/// SIGTERM amid silent connections and load: the replica ends within its drain, and every call of a
/// client that repeats it elsewhere is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d28_a_replica_stops_amid_silent_connections() {
    let redis = Redis::start().await;
    let mut replicas = Vec::new();
    for _ in 0..2 {
        replicas.push(Replica::process(&redis.url(), SETTINGS, &[]).await);
    }
    let (mut stopping, other) = (replicas.remove(0), replicas.remove(0));
    let channels = [stopping.channel.clone(), other.channel.clone()];
    let stop = CancellationToken::new();
    let caller = {
        let stop = stop.clone();
        tokio::spawn(async move {
            let mut answered = 0;
            while !stop.is_cancelled() {
                let get = || pb::GetRequest { key: "k".into(), ..Default::default() };
                let mut clients = channels.clone().map(pb::cache_service_client::CacheServiceClient::new);
                if clients[0].get(get()).await.is_err() {
                    clients[1].get(get()).await.expect("the other replica answers");
                }
                answered += 1;
            }
            answered
        })
    };
    let held = useless_connections(&stopping).await;
    stopping.terminate();
    assert!(within(Duration::from_secs(3), stopping.wait_for_exit()).await, "the process failed");
    stop.cancel();
    assert!(caller.await.expect("every call was answered") > 10);
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d31_a_tenant_attacks_another() {
    let redis = Redis::start().await;
    let quota = [("namespaces.evil.max_bytes", "1MiB"), ("namespaces.evil.max_requests_per_second", "500")];
    let replica = Replica::process(&redis.url(), &[SETTINGS, &quota].concat(), &[]).await;
    replica.wait_until_proven().await;
    under("d31", replica, async |replica| {
        let mut client = Wire::connect_from(ATTACKER, replica.address).await.client();
        let keys = ["*", "?", "[a-z]", "\\", "{0}", ":", "\0", "honest:k", "honest\0k", "k", "{honest}:v:honest:k"];
        for round in 0..if at_length() { 40 } else { 10 } {
            for key in keys {
                let key = format!("{key}{}", if round % 2 == 0 { String::new() } else { "x".repeat(round) });
                let set = pb::SetRequest { namespace: "evil".into(), ..set_request(&key, &"e".repeat(4_000)) };
                let get = pb::GetRequest { namespace: "evil".into(), key: key.clone(), ..Default::default() };
                let (stored, read) = (client.set(set).await, client.get(get).await);
                for refused in [stored.err(), read.err()].into_iter().flatten() {
                    assert_eq!(refused.code(), Code::ResourceExhausted, "{key:?}: {refused:?}");
                }
            }
            let long = "*?".repeat(100);
            for pattern in ["*", "?", "[!z]*", "honest*", "\\*", long.as_str()] {
                let selector = Some(pb::invalidate_request::Selector::Pattern(pattern.into()));
                let invalidate = pb::InvalidateRequest { namespace: "evil".into(), selector, ..Default::default() };
                // Its quota may refuse it.
                let _ = client.invalidate(invalidate).await;
            }
        }
    })
    .await;
}
