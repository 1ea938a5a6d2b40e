//! Floods of legal frames: the connection is closed with ENHANCE_YOUR_CALM, others are served.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;
use twintier::pb;

use crate::harness::{Answer as _, Replica, WAIT_TIMEOUT, Wire, connect_from, eventually, framed, within};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const ENHANCE_YOUR_CALM: u8 = 11;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = &(payload.len() as u32).to_be_bytes()[1..];
    [length, &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header block of a Get: names and values as they are, without Huffman codes.
fn get_headers() -> Vec<u8> {
    let path = "/twintier.v1.CacheService/Get";
    let literal = |name: &str, value: &str| {
        [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    };
    // Indexed: POST and http.
    let indexed = vec![0x83, 0x86];
    let path = [&[4, path.len() as u8], path.as_bytes()].concat();
    [
        indexed,
        path,
        literal(":authority", "localhost"),
        literal("content-type", "application/grpc"),
        literal("te", "trailers"),
    ]
    .concat()
}

/// A connection that writes frames.
struct Peer {
    stream: TcpStream,
    next_stream: u32,
}

impl Peer {
    async fn connect(n: u8, address: SocketAddr) -> Peer {
        let mut stream = connect_from(n, address).await;
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
        Peer { stream, next_stream: 1 }
    }

    fn new_stream(&mut self) -> u32 {
        self.next_stream += 2;
        self.next_stream
    }

    /// Writes frames again and again until the server closes the connection. Returns the reason of
    /// its GOAWAY. `None` if there was none.
    async fn flood(self, first: Vec<u8>, mut frames: impl FnMut(u32) -> Vec<u8>) -> Option<u8> {
        let Peer { stream, mut next_stream } = self;
        let (mut read, mut write) = stream.into_split();
        let writing = async {
            if write.write_all(&first).await.is_err() {
                return;
            }
            // Ten times what a peer may send at once.
            for _ in 0..2_000 {
                let mut bytes = Vec::new();
                for _ in 0..100 {
                    next_stream += 2;
                    bytes.extend(frames(next_stream));
                }
                if write.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        };
        let mut bytes = Vec::new();
        let reading = async {
            // A reset may follow the GOAWAY.
            let _ = read.read_to_end(&mut bytes).await;
        };
        within(WAIT_TIMEOUT, async { tokio::join!(writing, reading) }).await;
        let mut rest = &bytes[..];
        while let Some((head, behind)) = rest.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            if head[3] == GOAWAY {
                return behind.get(7).copied();
            }
            rest = behind.get(length..).unwrap_or_default();
        }
        None
    }
}

type Frames = Box<dyn FnMut(u32) -> Vec<u8> + Send>;

/// A flood: its name, what comes before it, and frames, which may begin a stream.
fn floods() -> Vec<(&'static str, Vec<u8>, Frames)> {
    let open = || frame(HEADERS, END_HEADERS, 3, &get_headers());
    let headers = get_headers();
    let message = framed(&pb::GetRequest { key: "k".into(), ..Default::default() }.encode_to_vec());
    let same = |frame: Vec<u8>| -> Frames { Box::new(move |_| frame.clone()) };
    let window = 1u32.to_be_bytes();
    vec![
        ("SETTINGS", Vec::new(), same(frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]))),
        ("acknowledged SETTINGS", Vec::new(), same(frame(SETTINGS, 0, 0, &[]))),
        ("PING", Vec::new(), same(frame(PING, 0, 0, &[7; 8]))),
        ("PING acknowledgements", Vec::new(), same(frame(PING, 1, 0, &[7; 8]))),
        ("PRIORITY", Vec::new(), same(frame(PRIORITY, 0, 5, &[0, 0, 0, 0, 9]))),
        ("WINDOW_UPDATE", open(), same(frame(WINDOW_UPDATE, 0, 3, &window))),
        ("empty DATA", open(), same(frame(DATA, 0, 3, &[]))),
        ("padded DATA", open(), same(frame(DATA, PADDED, 3, &[&[200][..], &[0; 200]].concat()))),
        ("CONTINUATION", frame(HEADERS, 0, 3, &headers), same(frame(CONTINUATION, 0, 3, &[]))),
        ("unknown types", Vec::new(), same(frame(0xee, 0, 0, &[7; 8]))),
        ("rapid reset", Vec::new(), {
            let headers = headers.clone();
            Box::new(move |stream| {
                let reset = frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
                [frame(HEADERS, END_HEADERS, stream, &headers), reset].concat()
            })
        }),
        ("rapid reset of requests", Vec::new(), {
            Box::new(move |stream| {
                let reset = frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
                let request =
                    [frame(HEADERS, END_HEADERS, stream, &headers), frame(DATA, END_STREAM, stream, &message)];
                [request.concat(), reset].concat()
            })
        }),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_legal_frames_are_closed_and_others_are_served() {
    let replica = Replica::with_metrics(&[], &[]).await;
    replica.set("k", "v").await;
    let mut honest = Wire::connect_from(1, replica.address).await.client();
    let mut floods_before = 0.0;
    for (n, (name, first, frames)) in floods().into_iter().enumerate() {
        let peer = Peer::connect(10 + n as u8, replica.address).await;
        let flood = tokio::spawn(peer.flood(first, frames));
        while !flood.is_finished() {
            let get = pb::GetRequest { key: "k".into(), ..Default::default() };
            assert!(honest.get(get).await.expect("a neighbour is served").into_inner().is("v"), "{name}");
        }
        assert_eq!(flood.await.unwrap(), Some(ENHANCE_YOUR_CALM), "{name}");
        let floods = replica.scrape().get("twintier_connections_flooded_total", &[]);
        assert!(floods > floods_before, "{name}: {floods}");
        floods_before = floods;
    }
    eventually("no connection of a flood is left", async || replica.stats().await.replica.unwrap().connections == 2)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_one_peer_share_its_budget() {
    let replica = Replica::start(&[]).await;
    replica.set("k", "v").await;
    let floods = (0..8).map(|_| async {
        let peer = Peer::connect(9, replica.address).await;
        peer.flood(Vec::new(), |_| frame(PING, 0, 0, &[7; 8])).await
    });
    assert!(join_all(floods).await.iter().all(|reason| *reason == Some(ENHANCE_YOUR_CALM)));
    // A caller of the same address is served while its peer has no tokens.
    let honest = Wire::connect_from(9, replica.address).await;
    for _ in 0..1_000 {
        let get = pb::GetRequest { key: "k".into(), ..Default::default() };
        assert!(honest.client().get(get).await.unwrap().into_inner().is("v"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_large_responses_and_cancels_calls_is_not_closed() {
    let replica = Replica::start(&[]).await;
    let large = "v".repeat(1_000_000);
    replica.set("large", &large).await;
    // Small windows: a WINDOW_UPDATE for every few KiB.
    let wire = Wire::with_window(replica.address, 4_000).await;
    for _ in 0..10 {
        let get = pb::GetRequest { key: "large".into(), ..Default::default() };
        assert!(wire.client().get(get).await.unwrap().into_inner().is(&large));
    }
    for _ in 0..500 {
        let gets = (0..4).map(|_| {
            let mut client = wire.client();
            async move { client.get(pb::GetRequest { key: "none".into(), ..Default::default() }).await }
        });
        let mut gets = join_all(gets);
        // Sends the calls, and drops those that are not answered.
        let _ = timeout(Duration::ZERO, &mut gets).await;
        drop(gets);
        let get = pb::GetRequest { key: "none".into(), ..Default::default() };
        wire.client().get(get).await.expect("an open connection");
    }
    let get = pb::GetRequest { key: "none".into(), ..Default::default() };
    assert_eq!(wire.client().get(get).await.unwrap().into_inner().miss(), Some(pb::MissReason::Absent));
    assert!(wire.is_open());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_leaves_watches_to_others() {
    let replica = Replica::start(&[("limits.watches", "20")]).await;
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..8 {
        let wire = Wire::connect_from(5, replica.address).await;
        for _ in 0..5 {
            match wire.client().watch(pb::WatchRequest::default()).await {
                Ok(watch) => held.push((wire.clone(), watch)),
                Err(refusal) => {
                    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal:?}");
                    refused += 1;
                }
            }
        }
    }
    assert!((10..20).contains(&held.len()) && refused > 0, "{} watches", held.len());
    let other = Wire::connect_from(6, replica.address).await;
    other.client().watch(pb::WatchRequest::default()).await.expect("another address has room");
}
