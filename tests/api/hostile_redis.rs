//! A server at the address of Redis that sends what no Redis would send: it costs the connection and nothing else.

use twintier::pb;

use crate::harness::{Impostor, Replica, eventually};

/// What sockets and the relay hold on the way, beside what a reply may have: 16 MiB with the default limits.
const ON_THE_WAY: usize = 24 << 20;

async fn is_cut_off(what: &str, impostor: &Impostor, url: &str, reason: &str) {
    let replica = Replica::at(url, &[]).await;
    eventually(&format!("{what}: the reason is named"), async || {
        let redis = replica.redis().await;
        redis.state() == pb::RedisState::Unavailable && redis.reason.contains(reason)
    })
    .await;
    eventually(&format!("{what}: connections end, and it goes on trying"), async || impostor.ended() >= 4).await;
    assert!(impostor.most_taken() <= 16 * 1024 * 1024 + ON_THE_WAY, "{what}: {} bytes", impostor.most_taken());
    assert_eq!(replica.redis().await.state(), pb::RedisState::Unavailable, "{what}: it serves Stats");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_server_costs_its_connection_and_no_memory() {
    let megabyte = vec![b'x'; 1 << 20];
    let cases: [(&str, Vec<u8>, &[u8], &str); 9] = [
        ("nested arrays", b"*1\r\n".repeat(100_000), b"", "of more than 32 levels"),
        ("nested maps", b"%1\r\n+a\r\n".repeat(200_000), b"", "of more than 32 levels"),
        ("nested attributes", b"|1\r\n+a\r\n".repeat(200_000), b"", "of more than 32 levels"),
        ("endless nesting", Vec::new(), b"*1\r\n", "of more than 32 levels"),
        ("an endless line", b"+".to_vec(), &megabyte, "a line of more than 65536 bytes"),
        ("an endless blob", b"$999999999\r\n".to_vec(), &megabyte, "a reply of more than 16777216 bytes"),
        (
            "blobs in a list",
            b"*100000\r\n".to_vec(),
            &[b"$1048576\r\n", &megabyte[..], b"\r\n"].concat(),
            "a reply of more than 16777216 bytes",
        ),
        ("many elements", b"*999999999\r\n".to_vec(), b":1\r\n", "a reply of more than 131072 elements"),
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), b"", "does not speak the protocol of Redis"),
    ];
    for (what, head, body, reason) in cases {
        let impostor = Impostor::saying(&head, body).await;
        is_cut_off(what, &impostor, &format!("redis://127.0.0.1:{}", impostor.port()), reason).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_sentinels_and_cluster_nodes_cost_their_connections_and_no_memory() {
    for scheme in ["redis-sentinel://127.0.0.1:PORT/0?service=main", "redis-cluster://127.0.0.1:PORT"] {
        let impostor = Impostor::saying(&b"*1\r\n".repeat(100_000), b"").await;
        let url = scheme.replace("PORT", &impostor.port().to_string());
        is_cut_off(scheme, &impostor, &url, "of more than 32 levels").await;
    }
}
