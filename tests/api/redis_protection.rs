//! MACs of entries and messages, and encryption of values: who can write to Redis cannot make a
//! replica answer anything that was not stored under that key.

use std::path::Path;

use twintier::pb;

use crate::harness::{Answer as _, Redis, Replica, eventually, set_request};

const ONE_PARTITION: (&str, &str) = ("coherence.partitions", "1");

/// Files of keys.
struct KeyFiles(tempfile::TempDir);

impl KeyFiles {
    fn new() -> KeyFiles {
        KeyFiles(tempfile::tempdir().unwrap())
    }

    /// Writes key files, and returns the list of them as a setting has it.
    fn list(&self, numbers: &[u8]) -> String {
        let path = |number: &u8| {
            let path = self.0.path().join(format!("key-{number}"));
            std::fs::write(&path, format!("{}\n", format!("{number:02x}").repeat(32))).unwrap();
            path.display().to_string()
        };
        serde_json::json!(numbers.iter().map(path).collect::<Vec<_>>()).to_string()
    }
}

async fn protected(redis: &Redis, macs: &str, ciphers: &str, mode: &str) -> Replica {
    let settings = [
        ONE_PARTITION,
        ("redis.mac_key_files", macs),
        ("redis.encryption_key_files", ciphers),
        ("redis.protection", mode),
    ];
    Replica::on(redis, &settings).await
}

fn name(key: &str) -> String {
    format!("twintier:{{0}}:v:default:{key}")
}

async fn lua(redis: &Redis, code: &str, keys: &[&str]) {
    let names: Vec<String> = keys.iter().map(|key| name(key)).collect();
    let count = keys.len().to_string();
    let mut words = vec!["EVAL", code, &count];
    words.extend(names.iter().map(String::as_str));
    redis.cli(&words).await;
}

/// Reads a key from Redis, and nothing that memory knows.
async fn strong(replica: &Replica, key: &str) -> pb::GetResponse {
    replica.get_strong(key).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_was_moved_or_changed_in_redis_is_a_miss() {
    let (redis, keys) = (Redis::start().await, KeyFiles::new());
    for (macs, ciphers) in [(keys.list(&[1]), "[]".to_owned()), (keys.list(&[1]), keys.list(&[2]))] {
        let replica = protected(&redis, &macs, &ciphers, "require").await;
        replica.wait_until_proven().await;
        replica.set("a", "the value of a").await;
        replica.set("b", "the value of b").await;
        assert!(strong(&replica, "a").await.is("the value of a"));
        let shown = redis.cli(&["GETRANGE", &name("a"), "0", "-1"]).await;
        let is_shown =
            format!("{shown:?}").contains(&format!("{:?}", b"the value").trim_matches(['[', ']']).to_owned());
        assert_eq!(is_shown, ciphers == "[]", "{shown:?}");
        let before = replica.redis().await.undecodable;
        lua(&redis, "redis.call('SET', KEYS[2], redis.call('GET', KEYS[1]))", &["a", "b"]).await;
        assert_eq!(strong(&replica, "b").await.miss(), Some(pb::MissReason::Absent), "of another key");
        lua(&redis, "redis.call('SETRANGE', KEYS[1], 90, 'x')", &["a"]).await;
        assert_eq!(strong(&replica, "a").await.miss(), Some(pb::MissReason::Absent), "changed");
        assert!(replica.redis().await.undecodable >= before + 2);
        let inspected = replica.inspect("a").await;
        assert!(inspected.l2_error.is_empty(), "{inspected:?}");
        // A Set replaces it, and all works.
        replica.set("a", "again").await;
        assert!(strong(&replica, "a").await.is("again"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_message_costs_proof_and_nothing_else() {
    let (redis, keys) = (Redis::start().await, KeyFiles::new());
    let replica = protected(&redis, &keys.list(&[1]), "[]", "require").await;
    replica.wait_until_proven().await;
    replica.set("k", "v").await;
    let undecodable = replica.coherence().await.undecodable;
    // A message of format 1, as a replica without keys publishes it.
    let mut message = vec![1, 1, 0, 0];
    for number in [7u64, 0, 1, 1, 0] {
        message.extend(number.to_be_bytes());
    }
    message.extend(b"\x02\x07default\0\x01k\0\0");
    for _ in 0..100 {
        redis.cli(&[b"PUBLISH", &b"twintier:{0}:b"[..], &message]).await;
    }
    eventually("the messages are counted", async || replica.coherence().await.undecodable >= undecodable + 100).await;
    replica.wait_until_proven().await;
    assert!(replica.get("k").await.is("v"));
    replica.wait_until_cached("k", "v").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_without_a_miss() {
    let (redis, keys) = (Redis::start().await, KeyFiles::new());
    let mut steps = Vec::new();
    for numbers in [&[1][..], &[1, 2], &[2, 1], &[2]] {
        let list = keys.list(numbers);
        steps.push(protected(&redis, &list, &list, "require").await);
    }
    for replica in &steps {
        replica.wait_until_proven().await;
    }
    for pair in steps.windows(2) {
        for (writer, reader) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
            writer.set("k", "v").await;
            reader.wait_until_visible("k", "v").await;
            assert!(strong(reader, "k").await.is("v"));
        }
    }
    steps[0].set("k", "of the first key").await;
    assert_eq!(strong(&steps[3], "k").await.miss(), Some(pb::MissReason::Absent), "its key is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_introduced_without_a_miss() {
    let (redis, keys) = (Redis::start().await, KeyFiles::new());
    let (macs, ciphers) = (keys.list(&[1]), keys.list(&[2]));
    let none = Replica::on(&redis, &[ONE_PARTITION]).await;
    let reads = protected(&redis, &macs, &ciphers, "read").await;
    let writes = protected(&redis, &macs, &ciphers, "write").await;
    let requires = protected(&redis, &macs, &ciphers, "require").await;
    let steps = [&none, &reads, &writes, &requires];
    for replica in steps {
        replica.wait_until_proven().await;
    }
    for pair in steps.windows(2) {
        for (writer, reader) in [(pair[0], pair[1]), (pair[1], pair[0])] {
            writer.store(pb::SetRequest { tags: vec!["t".into()], ..set_request("k", "v") }).await.unwrap();
            assert!(strong(reader, "k").await.is("v"));
            writer.invalidate("k").await;
            assert_eq!(strong(reader, "k").await.miss(), Some(pb::MissReason::Absent));
        }
    }
    // Without keys a replica follows signed messages, and reads signed entries that are not encrypted.
    let signs = protected(&redis, &macs, "[]", "require").await;
    signs.wait_until_proven().await;
    signs.set("signed", "v").await;
    none.wait_until_visible("signed", "v").await;
    // The replica does not use its entries.
    none.set("signed", "unsigned").await;
    assert_eq!(strong(&signs, "signed").await.miss(), Some(pb::MissReason::Absent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_touch_extends_a_signed_entry() {
    let (redis, keys) = (Redis::start().await, KeyFiles::new());
    let replica = protected(&redis, &keys.list(&[1]), "[]", "require").await;
    replica.wait_until_proven().await;
    replica.set("k", "v").await;
    for hours in [30, 20, 40] {
        let ttl = prost_types::Duration { seconds: hours * 3600, nanos: 0 };
        let request = pb::TouchRequest {
            key: "k".into(),
            expiry: Some(pb::touch_request::Expiry::Ttl(ttl)),
            ..Default::default()
        };
        replica.client.clone().touch(request).await.unwrap();
        let read = strong(&replica, "k").await;
        assert!(read.is("v") && read.ttl().as_secs() > (hours as u64 - 1) * 3600, "{read:?}");
    }
}

#[test]
fn a_file_that_holds_no_key_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let short = directory.path().join("short");
    std::fs::write(&short, "xyz").unwrap();
    let load = |path: &Path| {
        let list = serde_json::json!([path]).to_string();
        let overrides = vec![("redis.url".into(), "redis://a".into()), ("redis.mac_key_files".into(), list)];
        let sources = twintier::config::Sources { overrides, ..Default::default() };
        twintier::config::Config::load(&sources).map(|_| ()).unwrap_err().to_string()
    };
    let problems = load(&short);
    assert!(problems.contains("redis.mac_key_files") && problems.contains("it holds 3 bytes"), "{problems}");
    assert!(load(&directory.path().join("none")).contains("must be a readable file"));
}
