//! Foreign data under the service's keys in Redis: it is contained and repaired.

use std::time::Duration;

use bytes::Bytes;
use twintier::backend::redis;
use twintier::cache::entry::{Content, NewEntry};
use twintier::cache::fleet::shared_store::{Settings, SharedStore as _};
use twintier::cache::invalidation::selector::Selector;
use twintier::cache::key::Key;
use twintier::cache::lifetime::Lifetime;
use twintier::cache::tier::{Acquired, Condition, LeaseClaim, LeaseId, RequestId, TierStatus as _, Write, WriteResult};
use twintier::cache::version::Version;

use super::harness::eventually;
use super::{Fixture, HOUR, PARTITIONS};

const LIMIT: u64 = 1 << 53;

impl Fixture {
    /// Runs Lua in the database of the service; `KEYS[1]` is `name`.
    pub async fn lua(&self, name: &str, code: &str) {
        let code = format!("redis.call('SELECT', 3) {code} return 1");
        self.redis.as_ref().unwrap().cli(&["EVAL", &code, "1", name]).await;
    }

    async fn publish(&self, channel: &str, bytes: &[u8]) {
        self.redis.as_ref().unwrap().cli(&[b"PUBLISH", channel.as_bytes(), bytes]).await;
    }

    fn counter(&self, key: &Key) -> String {
        format!("conformance:{{{}}}:c", self.partition(key))
    }

    pub fn name(&self, kind: char, key: &Key) -> String {
        let bytes = String::from_utf8_lossy(key.bytes()).into_owned();
        format!("conformance:{{{}}}:{kind}:{}:{bytes}", self.partition(key), key.namespace().name())
    }

    async fn wait_until_proven(&self) {
        eventually("every partition is proven", async || self.coherence.proofs().proven == PARTITIONS).await;
    }

    /// Asserts that every kind of step works, in an epoch after `before`.
    async fn assert_steps_work(&self, key: &Key, before: Version, kind: &str) -> Version {
        let removed = self.remove(self.partition(key), std::slice::from_ref(key)).await;
        assert!(removed.version.epoch > before.epoch, "{kind}: {} after {before}", removed.version);
        let stored = self.store(key, kind).await;
        assert!(stored.epoch >= removed.version.epoch && stored.epoch < LIMIT, "{kind}: {stored}");
        assert!(self.read(key).await.is_some(), "{kind}");
        stored
    }
}

/// Invalid states of a counter, as Lua code.
const DAMAGED_COUNTERS: &[&str] = &[
    "redis.call('SET', KEYS[1], 'x')",
    "redis.call('DEL', KEYS[1]) redis.call('RPUSH', KEYS[1], 'x')",
    "redis.call('DEL', KEYS[1]) redis.call('SADD', KEYS[1], 'x')",
    "redis.call('DEL', KEYS[1]) redis.call('ZADD', KEYS[1], 1, 'x')",
    "redis.call('DEL', KEYS[1]) redis.call('XADD', KEYS[1], '*', 'x', 'y')",
    "redis.call('HSET', KEYS[1], 'e', '9223372036854775807')",
    "redis.call('HSET', KEYS[1], 'e', '9007199254740992')",
    "redis.call('HSET', KEYS[1], 'e', '9007199254740991')",
    "redis.call('HSET', KEYS[1], 'e', '-5')",
    "redis.call('HSET', KEYS[1], 'e', '0')",
    "redis.call('HSET', KEYS[1], 'e', '')",
    "redis.call('HSET', KEYS[1], 'e', 'nan')",
    "redis.call('HSET', KEYS[1], 'e', '0x10')",
    "redis.call('HSET', KEYS[1], 'e', '1e15')",
    "redis.call('HSET', KEYS[1], 'e', '1.5')",
    "redis.call('HDEL', KEYS[1], 'e')",
    "redis.call('HSET', KEYS[1], 's', 'x')",
    "redis.call('HSET', KEYS[1], 's', '-1')",
    "redis.call('HSET', KEYS[1], 's', '9007199254740991')",
    "redis.call('HSET', KEYS[1], 's', '9223372036854775807')",
    "redis.call('HSET', KEYS[1], 't', 'x')",
    "redis.call('HSET', KEYS[1], 't', '9007199254740990')",
    "redis.call('HSET', KEYS[1], 'u', 'x')",
    "redis.call('HSET', KEYS[1], 'y', 'x')",
    "redis.call('HSET', KEYS[1], 'n:one', 'x')",
    "redis.call('HSET', KEYS[1], 'n:one', string.rep('\\255', 200))",
    "redis.call('HSET', KEYS[1], 'n:one', string.rep('\\0', 152) .. 'x')",
];

pub async fn a_damaged_counter_begins_a_new_epoch(fixture: &Fixture) {
    let key = fixture.key("one", "damaged");
    for damage in DAMAGED_COUNTERS {
        let before = fixture.store(&key, "before").await;
        fixture.lua(&fixture.counter(&key), damage).await;
        fixture.assert_steps_work(&key, before, damage).await;
        fixture.wait_until_proven().await;
    }
    // An epoch that no clock leads to does not return after all data is lost.
    for damage in ["'9223372036854775807'", "'-5'", "'9007199254740991'", "'9007199254740990'"] {
        let before = fixture.store(&key, "before").await;
        fixture.lua(&fixture.counter(&key), &format!("redis.call('HSET', KEYS[1], 'e', {damage})")).await;
        let _ = fixture.l2.read(&key, fixture.until().into()).await;
        fixture.redis.as_ref().unwrap().cli(&["FLUSHALL"]).await;
        fixture.assert_steps_work(&key, before, damage).await;
        fixture.wait_until_proven().await;
    }
}

/// A counter without writes is repaired too. Otherwise the memory of all partitions would stay
/// unproven.
pub async fn a_damaged_counter_leaves_memory_proven(fixture: &Fixture) {
    let key = fixture.key("one", "audited");
    let before = fixture.store(&key, "before").await;
    fixture.lua(&fixture.counter(&key), "redis.call('SET', KEYS[1], 'x')").await;
    let partition = fixture.partition(&key);
    eventually("a new epoch is followed", async || fixture.coherence.watermark(partition).epoch > before.epoch).await;
    for field in ["p", "a", "b", "k"] {
        fixture.lua("conformance:{0}:c", &format!("redis.call('HSET', KEYS[1], '{field}', 'x')")).await;
        eventually("an audit has repaired the counter", async || {
            let read = ["HGET", "conformance:{0}:c", field];
            let read =
                format!("redis.call('SELECT', 3) return redis.call('{}', KEYS[1], '{}') or ''", read[0], read[2]);
            let value = fixture.redis.as_ref().unwrap().cli(&["EVAL", &read, "1", "conformance:{0}:c"]).await;
            value.text() != "x"
        })
        .await;
    }
    fixture.wait_until_proven().await;
    // A damaged field of the registry affects that field only.
    fixture.lua("conformance:{0}:c", "redis.call('HSET', KEYS[1], 'r:00000000000000ff', 'x')").await;
    let barrier = fixture.l2.barrier();
    fixture.store(&key, "after").await;
    barrier.passed(&[0], fixture.until()).await.unwrap();
}

/// Epochs above the same floor differ by the clock, and an epoch in the far future is not
/// followed.
pub async fn a_forged_echo_starts_no_epoch(fixture: &Fixture) {
    let key = fixture.key("one", "forged");
    let before = fixture.store(&key, "before").await;
    let partition = fixture.partition(&key);
    for (nonce, epoch) in [(1u64, LIMIT), (1, LIMIT - 1), (u64::MAX, before.epoch + 1_000_000_000), (0, LIMIT - 2)] {
        let mut echo = vec![1, 3];
        echo.extend(nonce.to_be_bytes());
        for partition in 0..PARTITIONS {
            echo.extend(partition.to_be_bytes());
            echo.extend(epoch.to_be_bytes());
            echo.extend(7u64.to_be_bytes());
        }
        fixture.publish("conformance:{0}:e:0000000000000007", &echo).await;
    }
    // Genuine echoes follow the forged ones.
    let audits = fixture.coherence.counters.audits_echoed.get();
    eventually("an audit was echoed", async || fixture.coherence.counters.audits_echoed.get() > audits + 1).await;
    let mut last = before;
    for _ in 0..3 {
        fixture.redis.as_ref().unwrap().cli(&["FLUSHALL"]).await;
        let stored = fixture.store(&key, "after").await;
        assert!(stored.epoch > last.epoch && stored.epoch < before.epoch + 1_000_000_000, "{stored} after {last}");
        let refused = fixture.write(&key, "another", Condition::Version(last)).await;
        assert!(matches!(refused, WriteResult::Refused { .. }), "the version is of another epoch");
        last = stored;
    }
    eventually("memory follows", async || fixture.coherence.watermark(partition).epoch == last.epoch).await;
}

/// A message of an epoch that never existed makes memory suspect, and later messages still count.
pub async fn a_forged_message_has_no_lasting_effect(fixture: &Fixture) {
    let key = fixture.key("one", "message");
    let before = fixture.store(&key, "before").await;
    let partition = fixture.partition(&key);
    let gaps = fixture.coherence.counters.gaps.get();
    let mut message = vec![1, 2];
    message.extend(partition.to_be_bytes());
    for number in [4711, 0, LIMIT - 1, 1, 0] {
        message.extend(u64::to_be_bytes(number));
    }
    message.extend(b"\x02\x03one\0\0\0");
    // The fixture uses database 3.
    fixture.publish(&format!("conformance:{{{partition}}}:b:3"), &message).await;
    eventually("the message is applied", async || fixture.coherence.counters.gaps.get() > gaps).await;
    let followed = async || fixture.coherence.watermark(partition).epoch == before.epoch;
    eventually("the partition is followed as before", followed).await;
    assert!(key.namespace().invalidation_log().latest(partition) <= fixture.coherence.watermark(partition));
    assert_eq!(fixture.store(&key, "after").await.epoch, before.epoch);
}

pub async fn foreign_data_beside_an_entry_affects_only_itself(fixture: &Fixture) {
    let key = fixture.key("one", "beside");
    let list = "redis.call('DEL', KEYS[1]) redis.call('RPUSH', KEYS[1], 'x')";
    let claim = |lease| LeaseClaim { lease: LeaseId(lease), duration: HOUR, seen: None };
    // A lease, for each script that reads it. Scripts read leases only while one may be granted.
    assert_eq!(fixture.l2.acquire(&key, claim(1), fixture.until()).await, Ok(Acquired::Granted));
    for (lease, is_set) in [(2, false), (3, true)] {
        fixture.lua(&fixture.name('l', &key), list).await;
        let granted = fixture.l2.acquire(&key, claim(lease), fixture.until()).await;
        assert_eq!(granted, Ok(Acquired::Granted));
        fixture.lua(&fixture.name('l', &key), list).await;
        if is_set {
            let refused = fixture.write(&key, "x", Condition::Lease(LeaseId(lease))).await;
            assert!(matches!(refused, WriteResult::Refused { .. }), "the lease was lost: {refused:?}");
            fixture.lua(&fixture.name('l', &key), list).await;
            fixture.store(&key, "x").await;
        } else {
            fixture.remove(fixture.partition(&key), std::slice::from_ref(&key)).await;
        }
    }
    fixture.lua(&fixture.name('l', &key), list).await;
    let seen = fixture.l2.inspect(&key, fixture.until()).await.unwrap();
    assert!(seen.stored.is_some() && seen.lease.is_none());
    // The recorded source version.
    let of_source =
        NewEntry { source_version: Some(7), ..NewEntry::new(Content::Value("x".into()), Lifetime::of(HOUR)) };
    for other in [list, "redis.call('SET', KEYS[1], 'x')"] {
        fixture.lua(&fixture.name('x', &key), other).await;
        super::version(fixture.write_entry(&key, of_source.clone(), Condition::None).await);
        fixture.lua(&fixture.name('x', &key), other).await;
        fixture.remove(fixture.partition(&key), std::slice::from_ref(&key)).await;
    }
    // A recorded request.
    let request = Write {
        key: key.clone(),
        entry: NewEntry::new(Content::Value("x".into()), Lifetime::of(HOUR)),
        condition: Condition::None,
        request: Some(RequestId(Bytes::from_static(b"id"))),
    };
    let name = format!("conformance:{{{}}}:q:one:2:idbeside", fixture.partition(&key));
    for other in [list, "redis.call('SET', KEYS[1], string.rep('\\255', 17))", "redis.call('SET', KEYS[1], 'x')"] {
        fixture.lua(&name, other).await;
        super::version(fixture.request(request.clone()).await);
        assert!(
            matches!(fixture.request(request.clone()).await, WriteResult::Repeated { .. }),
            "the request is recorded again"
        );
    }
    // An entry.
    fixture.lua(&fixture.name('v', &key), list).await;
    assert_eq!(fixture.read(&key).await, None);
    assert!(fixture.l2.inspect(&key, fixture.until()).await.is_ok());
    fixture.store(&key, "x").await;
    // Invalidation records of prefixes and tags.
    let selectors = [Selector::Tag("t".into()), Selector::Prefix("p".into())];
    let partition = fixture.partition(&key);
    for kind in ['t', 'o'] {
        fixture.invalidate(partition, key.namespace(), &selectors).await;
        fixture.lua(&format!("conformance:{{{partition}}}:{kind}:one"), list).await;
        fixture.invalidate(partition, key.namespace(), &selectors).await;
        fixture.store(&key, "x").await;
        assert!(fixture.read(&key).await.is_some());
    }
}

/// Damages the data that replicas share in addition to entries.
pub async fn foreign_data_in_the_shared_store_affects_only_itself(fixture: &Fixture) {
    let config = fixture.config.clone().unwrap();
    let tier = redis::start(super::setup(config, 8), fixture.coherence.clone());
    let known = Settings::default();
    let list = "redis.call('DEL', KEYS[1]) redis.call('RPUSH', KEYS[1], 'x')";
    let field = |value: &str| [("f".to_owned(), Some(value.to_owned()))];
    eventually("redis is connected", async || tier.settings(&known, fixture.until()).await.is_ok()).await;
    fixture.lua("conformance:{0}:p", list).await;
    let set = tier.set(&known, &field("1"), fixture.until()).await.unwrap();
    assert_eq!(set.fields["f"], "1");
    // Replicas that know the settings restore them.
    for damage in [list, "redis.call('HSET', KEYS[1], 'revision', '9223372036854775807')"] {
        fixture.lua("conformance:{0}:p", damage).await;
        let restored = tier.settings(&set, fixture.until()).await.unwrap().unwrap();
        assert_eq!(restored.fields, set.fields, "{damage}");
    }
    let lifetime = Duration::from_secs(60);
    tier.publish_note("note".into(), lifetime, fixture.until()).await.unwrap();
    for name in ["conformance:{0}:h", "conformance:{0}:f:0000000000000007"] {
        fixture.lua(name, list).await;
    }
    assert_eq!(tier.hot_keys(lifetime, fixture.until()).await, Ok(None));
    assert_eq!(tier.notes(lifetime, fixture.until()).await, Ok(Vec::new()));
    tier.save_hot_keys("keys".into(), lifetime, fixture.until()).await.unwrap();
    assert_eq!(tier.hot_keys(lifetime, fixture.until()).await.unwrap().unwrap().text, "keys");
    tier.close().await;
}
