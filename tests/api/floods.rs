//! Floods of legal frames: the connection is closed with ENHANCE_YOUR_CALM, others are served.

use std::time::Duration;

use futures_util::future::join_all;
use prost::Message as _;
use tokio::time::timeout;
use tonic::Code;
use twintier::pb;

use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FramePeer, HEADERS, PADDED, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, get_headers,
};
use crate::harness::{Answer as _, Replica, Wire, eventually, framed};

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
        let peer = FramePeer::connect(10 + n as u8, replica.address).await;
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
        let peer = FramePeer::connect(9, replica.address).await;
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
