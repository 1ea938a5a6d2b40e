//! Peers that do not end their handshakes: others are served, and a shutdown does not wait.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Replica, TlsPair, TlsReplica, WAIT_TIMEOUT, connect_from, eventually, set_request, within};

/// The beginning of a record with a ClientHello of 512 bytes.
const HALF_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

/// The harness's drain.timeout.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_handshakes_time_out() {
    let pair = TlsPair::new();
    let replica = TlsReplica::start(&pair.settings(&[("tls.handshake_timeout", "200ms")])).await;
    let mut silent = TcpStream::connect(replica.address).await.unwrap();
    let mut halting = TcpStream::connect(replica.address).await.unwrap();
    halting.write_all(HALF_HELLO).await.unwrap();
    for peer in [&mut silent, &mut halting] {
        // A reset or an end.
        let _ = within(WAIT_TIMEOUT, peer.read(&mut [0])).await;
    }
    eventually("each is counted", async || replica.handshakes("timeout") == 2.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_half_handshakes_keeps_no_honest_peer_out() {
    let pair = TlsPair::new();
    let limits =
        [("server.max_connections", "32"), ("server.max_connections_per_peer", "24"), ("tls.handshake_timeout", "60s")];
    let replica = TlsReplica::start(&pair.settings(&limits)).await;
    let wire = pair.client().wire(replica.address).await;
    wire.client().set(set_request("k", "v")).await.unwrap();
    let mut flood = Vec::new();
    for peer in 0..96 {
        let mut stream = connect_from(2 + peer % 3, replica.address).await;
        stream.write_all(HALF_HELLO).await.unwrap();
        flood.push(stream);
        if peer % 12 == 0 {
            let honest = pair.client().on(connect_from(9, replica.address).await).await.unwrap();
            drop(honest);
            pair.client().wire(replica.address).await.client().set(set_request("k", "v")).await.unwrap();
        }
    }
    assert!(wire.is_open(), "a connection that has ended its handshake is not evicted");
    wire.client().set(set_request("k", "v")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_does_not_wait_for_half_handshakes() {
    let pair = TlsPair::new();
    // In this process, then as one that gets SIGTERM. No handshake ends before the limit.
    let settings = pair.settings(&[("tls.handshake_timeout", "60s"), ("drain.timeout", "2m")]);
    let replica = TlsReplica::start(&settings).await;
    let _half = half_handshakes(replica.address).await;
    assert!(within(DRAIN_LIMIT, replica.drain()).await);
    let mut process = Replica::process_with(&settings, &[]).await;
    let _half = half_handshakes(process.address).await;
    process.terminate();
    assert!(within(DRAIN_LIMIT, process.wait_for_exit()).await);
}

/// Peers that have sent nothing, or half of a ClientHello.
async fn half_handshakes(address: std::net::SocketAddr) -> Vec<TcpStream> {
    let mut peers = Vec::new();
    for peer in 0..8 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if peer % 2 == 0 {
            stream.write_all(HALF_HELLO).await.unwrap();
        }
        peers.push(stream);
    }
    peers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_ends_only_its_own_connection() {
    let pair = TlsPair::new();
    let replica = TlsReplica::start(&pair.settings(&[])).await;
    for garbage in [&[22_u8; 600][..], &[22, 3, 1, 0xff, 0xff], &[22, 3, 1, 0, 4, 1, 0, 0, 0], &[0; 64], b"\r\n\r\n"] {
        let mut stream = TcpStream::connect(replica.address).await.unwrap();
        let _ = stream.write_all(garbage).await;
        drop(stream);
    }
    eventually("each is counted", async || {
        ["plain_text", "protocol", "closed"].iter().map(|result| replica.handshakes(result)).sum::<f64>() == 5.0
    })
    .await;
    pair.client().wire(replica.address).await.client().set(set_request("k", "v")).await.unwrap();
}
