//! Compression of values in Redis.

use twintier::pb;

use crate::harness::{Answer as _, Redis, Replica, Reply, eventually};

const NAMESPACES: [(&str, &str); 5] = [
    ("namespaces.zstd.compression", "zstd"),
    ("namespaces.lz4.compression", "lz4"),
    ("namespaces.zstd.compression_threshold", "100B"),
    ("cache.default_ttl", "1h"),
    ("limits.value_size", "2MiB"),
];

fn text(size: usize) -> String {
    "all work and no play ".chars().cycle().take(size).collect()
}

/// Returns the bytes in Redis of the only entry of a namespace.
async fn stored(redis: &Redis, namespace: &str) -> (String, i64) {
    let Reply::List(names) = redis.cli(&["KEYS", &format!("*:v:{namespace}:*")]).await else { panic!("no array") };
    let [Reply::Text(name)] = names.as_slice() else { panic!("{names:?}") };
    let name = String::from_utf8(name.clone()).unwrap();
    let Reply::Number(size) = redis.cli(&["STRLEN", &name]).await else { panic!("no size") };
    (name, size)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_compressed_in_redis_and_unchanged_for_callers() {
    let redis = Redis::start().await;
    let (writer, reader) = (Replica::on(&redis, &NAMESPACES).await, Replica::on(&redis, &NAMESPACES).await);
    // One size is compressed on the worker thread, the other on the compression pool.
    for size in [10_000, 2 << 20] {
        for namespace in ["zstd", "lz4", "default"] {
            writer.set_in(namespace, "k", &text(size)).await;
            for replica in [&writer, &reader] {
                let answer = replica.get_from(namespace, "k").await;
                assert!(answer.is(&text(size)), "{namespace}");
            }
            let (_, in_redis) = stored(&redis, namespace).await;
            let is_small = in_redis < size as i64 / 2;
            assert_eq!(is_small, namespace != "default", "{namespace}: {in_redis} of {size} bytes");
        }
    }
    assert_eq!(reader.redis().await.undecodable, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incompressible_value_is_stored_uncompressed() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &NAMESPACES).await;
    replica.set_in("zstd", "k", &text(99)).await;
    assert!(stored(&redis, "zstd").await.1 > 99, "below the threshold");
    let noise: Vec<u8> = (0..10_000).map(|_| rand::random()).collect();
    let content = Some(pb::set_request::Content::Value(noise.clone().into()));
    let request = pb::SetRequest { namespace: "lz4".into(), key: "k".into(), content, ..Default::default() };
    replica.store(request).await.unwrap();
    assert!(stored(&redis, "lz4").await.1 < 10_000 + 100, "a value never grows");
    let Some(pb::get_response::Result::Hit(hit)) = replica.get_from("lz4", "k").await.result else { panic!("a hit") };
    assert_eq!(hit.value, noise);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_is_readable_after_the_compression_policy_changed() {
    let redis = Redis::start().await;
    let before = Replica::on(&redis, &[("cache.compression", "zstd")]).await;
    before.set("old", &text(10_000)).await;
    before.stop().await;
    let now = Replica::on(&redis, &[("cache.compression", "lz4")]).await;
    now.set("new", &text(10_000)).await;
    let later = Replica::on(&redis, &[]).await;
    assert!(later.get("old").await.is(&text(10_000)));
    assert!(later.get("new").await.is(&text(10_000)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_cannot_be_decompressed_is_a_miss() {
    let redis = Redis::start().await;
    let replica =
        Replica::on(&redis, &[("namespaces.zstd.compression", "zstd"), ("namespaces.zstd.l1", "false")]).await;
    replica.set_in("zstd", "k", &text(100_000)).await;
    assert!(replica.get_from("zstd", "k").await.is(&text(100_000)));
    let (name, _) = stored(&redis, "zstd").await;
    // The stored size is made larger than any value may be; then larger than the value; then the
    // data is damaged.
    for (count, (at, bytes)) in [(80, &[255u8; 4][..]), (80, &[0, 1, 134, 161]), (95, &[0; 20])].into_iter().enumerate()
    {
        let args = [b"SETRANGE".as_slice(), name.as_bytes(), at.to_string().as_bytes(), bytes].map(<[u8]>::to_vec);
        redis.cli(&args).await;
        assert!(replica.get_from("zstd", "k").await.miss().is_some());
        assert_eq!(replica.redis().await.undecodable, count as u64 + 1);
    }
    replica.set_in("zstd", "k", "mended").await;
    eventually("the entry is filled again", async || replica.get_from("zstd", "k").await.is("mended")).await;
}
