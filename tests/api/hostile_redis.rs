//! Hostile Redis servers: invalid replies cost the connection and nothing else.

use twintier::pb;

use crate::harness::{Answer as _, Impostor, Redis, Replica, eventually, set_request};

/// Bytes that socket buffers may hold, in addition to the limit of a reply (16 MiB by default).
const SOCKET_BUFFERS: usize = 24 << 20;

async fn assert_disconnected(what: &str, impostor: &Impostor, url: &str, reason: &str) {
    let replica = Replica::connected_to(url, &[]).await;
    eventually(&format!("{what}: the reason is reported"), async || {
        let redis = replica.redis().await;
        redis.state() == pb::RedisState::Unavailable && redis.reason.contains(reason)
    })
    .await;
    eventually(&format!("{what}: connections end, and new ones follow"), async || impostor.closed_connections() >= 4)
        .await;
    assert!(
        impostor.max_bytes_read() <= 16 * 1024 * 1024 + SOCKET_BUFFERS,
        "{what}: {} bytes",
        impostor.max_bytes_read()
    );
    assert_eq!(replica.redis().await.state(), pb::RedisState::Unavailable, "{what}: the replica serves Stats");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_server_costs_its_connection_and_no_memory() {
    let megabyte = vec![b'x'; 1 << 20];
    let cases: [(&str, Vec<u8>, &[u8], &str); 9] = [
        ("nested arrays", b"*1\r\n".repeat(100_000), b"", "of more than 8 levels"),
        ("nested maps", b"%1\r\n+a\r\n".repeat(200_000), b"", "of more than 8 levels"),
        ("nested attributes", b"|1\r\n+a\r\n".repeat(200_000), b"", "of more than 8 levels"),
        ("endless nesting", Vec::new(), b"*1\r\n", "of more than 8 levels"),
        ("an endless line", b"+".to_vec(), &megabyte, "a line of more than 65536 bytes"),
        ("an endless blob", b"$999999999\r\n".to_vec(), &megabyte, "a value of more than 5173024 bytes"),
        (
            "blobs in a list",
            b"*100000\r\n".to_vec(),
            &[b"$1048576\r\n", &megabyte[..], b"\r\n"].concat(),
            "a reply of more than 16777216 bytes",
        ),
        ("many elements", b"*999999999\r\n".to_vec(), b":1\r\n", "a reply of more than 100000 elements"),
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), b"", "does not speak the protocol of Redis"),
    ];
    for (what, head, body, reason) in cases {
        let impostor = Impostor::sending(&head, body).await;
        assert_disconnected(what, &impostor, &format!("redis://127.0.0.1:{}", impostor.port()), reason).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_sentinels_and_cluster_nodes_cost_their_connections_and_no_memory() {
    for scheme in ["redis-sentinel://127.0.0.1:PORT/0?service=main", "redis-cluster://127.0.0.1:PORT"] {
        let impostor = Impostor::sending(&b"*1\r\n".repeat(100_000), b"").await;
        let url = scheme.replace("PORT", &impostor.port().to_string());
        assert_disconnected(scheme, &impostor, &url, "of more than 8 levels").await;
    }
}

/// Last offset of an oversized value, which replaces an entry, its lease or the list of hot keys.
const HUGE: &str = "67108863";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_value_in_redis_is_a_miss_and_keeps_the_connection() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[("coherence.partitions", "1"), ("limits.value_size", "64KiB")]).await;
    let name = "twintier:{0}:v:default:k";
    redis.cli(&["SETRANGE", name, HUGE, "x"]).await;
    redis.cli(&["SETRANGE", "twintier:{0}:l:default:k", HUGE, "x"]).await;
    redis.cli(&["SETRANGE", "twintier:{0}:x:default:k", HUGE, "x"]).await;
    let (before, errors) = (output(&redis).await, replica.redis().await.errors);
    assert_eq!(replica.get("k").await.miss(), Some(pb::MissReason::Absent));
    let keys = vec!["k".to_owned(), "other".to_owned()];
    let request = pb::BatchGetRequest { keys, ..Default::default() };
    let mut found = replica.client.clone().batch_get(request).await.unwrap().into_inner();
    while let Some(part) = found.message().await.unwrap() {
        assert!(part.items.iter().all(|item| matches!(item.result, Some(pb::batch_get_item::Result::Miss(_)))));
    }
    let inspected = replica.inspect("k").await;
    assert!(inspected.l2_error.is_empty(), "{inspected:?}");
    let sent = output(&redis).await - before;
    assert!(sent < 4 << 20, "redis sent {sent} bytes");
    let after = replica.redis().await;
    assert!(after.undecodable >= 2 && after.reconnects == 0 && after.errors == errors, "{after:?}");
    // A Set replaces it like any other damaged entry.
    replica.store(pb::SetRequest { source_version: Some(1), ..set_request("k", "v") }).await.unwrap();
    assert!(replica.get_strong("k").await.unwrap().is("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_shared_records_are_ignored() {
    let redis = Redis::start().await;
    redis.cli(&["SETRANGE", "twintier:{0}:h", HUGE, "x"]).await;
    redis.cli(&["PEXPIRE", "twintier:{0}:h", "86400000"]).await;
    let longest = "x".repeat(1 << 20);
    redis.cli(&["HSET", "twintier:{0}:p", "revision", "1", "n:namespace:jitter", &longest]).await;
    let before = output(&redis).await;
    let replica = Replica::on(&redis, &[]).await;
    let policy = Some(pb::Policy { jitter: Some(0.1), ..Default::default() });
    replica.admin().set_policy(pb::SetPolicyRequest { namespace: "n".into(), policy }).await.unwrap();
    eventually("the list is ignored", async || replica.redis().await.undecodable >= 1).await;
    let sent = output(&redis).await - before;
    assert!(sent < 8 << 20, "redis sent {sent} bytes");
    assert_eq!(replica.redis().await.reconnects, 0);
    let fields = redis.cli(&["HKEYS", "twintier:{0}:p"]).await;
    assert!(!format!("{fields:?}").contains(&format!("{:?}", b"n:namespace:jitter")), "{fields:?}");
}

/// Bytes that this Redis has sent so far.
async fn output(redis: &Redis) -> u64 {
    let info = redis.cli(&["INFO", "stats"]).await.text();
    let line = info.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:"));
    line.unwrap().trim().parse().unwrap()
}
