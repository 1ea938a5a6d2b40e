//! Foreign data under the service's keys in Redis: it is contained and repaired.

use std::time::Duration;

use bytes::Bytes;
use twintier::backend::redis;
use twintier::cache::entry::{Content, Lifetime, NewEntry};
use twintier::cache::fleet::shared_store::{Settings, SharedStore as _};
use twintier::cache::invalidation::selector::Selector;
use twintier::cache::key::Key;
use twintier::cache::tier::{Acquired, Condition, LeaseClaim, LeaseId, RequestId, TierStatus as _, Write, WriteResult};
use twintier::cache::version::Version;

use super::harness::eventually;
use super::{Bench, HOUR, PARTITIONS};

const LIMIT: u64 = 1 << 53;

impl Bench {
    /// Runs Lua in the database of the service; `KEYS[1]` is `name`.
    async fn lua(&self, name: &str, code: &str) {
        let code = format!("redis.call('SELECT', 3) {code} return 1");
        self.redis.as_ref().unwrap().cli(&["EVAL", &code, "1", name]).await;
    }

    async fn publish(&self, channel: &str, bytes: &[u8]) {
        self.redis.as_ref().unwrap().cli(&[b"PUBLISH", channel.as_bytes(), bytes]).await;
    }

    fn counter(&self, key: &Key) -> String {
        format!("conformance:{{{}}}:c", self.partition(key))
    }

    fn name(&self, kind: char, key: &Key) -> String {
        let bytes = String::from_utf8_lossy(key.bytes()).into_owned();
        format!("conformance:{{{}}}:{kind}:{}:{bytes}", self.partition(key), key.namespace().name())
    }

    async fn proven(&self) {
        eventually("every partition is proven", async || self.coherence.proofs().proven == PARTITIONS).await;
    }

    /// Every kind of step works, in an epoch after `before`.
    async fn works(&self, key: &Key, before: Version, kind: &str) -> Version {
        let removed = self.remove(self.partition(key), std::slice::from_ref(key)).await;
        assert!(removed.version.epoch > before.epoch, "{kind}: {} after {before}", removed.version);
        let stored = self.store(key, kind).await;
        assert!(stored.epoch >= removed.version.epoch && stored.epoch < LIMIT, "{kind}: {stored}");
        assert!(self.read(key).await.is_some(), "{kind}");
        stored
    }
}

/// What a counter is turned into.
const DAMAGED: &[&str] = &[
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

pub async fn a_damaged_counter_begins_a_new_epoch(bench: &Bench) {
    let key = bench.key("one", "damaged");
    for damage in DAMAGED {
        let before = bench.store(&key, "before").await;
        bench.lua(&bench.counter(&key), damage).await;
        bench.works(&key, before, damage).await;
        bench.proven().await;
    }
    // A number that no clock led to does not come back when everything is lost.
    for damage in ["'9223372036854775807'", "'-5'", "'9007199254740991'", "'9007199254740990'"] {
        let before = bench.store(&key, "before").await;
        bench.lua(&bench.counter(&key), &format!("redis.call('HSET', KEYS[1], 'e', {damage})")).await;
        let _ = bench.l2.read(&key, bench.until().into()).await;
        bench.redis.as_ref().unwrap().cli(&["FLUSHALL"]).await;
        bench.works(&key, before, damage).await;
        bench.proven().await;
    }
}

/// A counter that nobody writes is repaired, too: else memory of all partitions would stay
/// unproven.
pub async fn a_damaged_counter_leaves_memory_proven(bench: &Bench) {
    let key = bench.key("one", "audited");
    let before = bench.store(&key, "before").await;
    bench.lua(&bench.counter(&key), "redis.call('SET', KEYS[1], 'x')").await;
    let partition = bench.partition(&key);
    eventually("a new epoch is followed", async || bench.coherence.watermark(partition).epoch > before.epoch).await;
    for field in ["p", "a", "b", "k"] {
        bench.lua("conformance:{0}:c", &format!("redis.call('HSET', KEYS[1], '{field}', 'x')")).await;
        eventually("an audit has repaired it", async || {
            let read = ["HGET", "conformance:{0}:c", field];
            let read =
                format!("redis.call('SELECT', 3) return redis.call('{}', KEYS[1], '{}') or ''", read[0], read[2]);
            let value = bench.redis.as_ref().unwrap().cli(&["EVAL", &read, "1", "conformance:{0}:c"]).await;
            value.text() != "x"
        })
        .await;
    }
    bench.proven().await;
    // One field of a registry costs that field.
    bench.lua("conformance:{0}:c", "redis.call('HSET', KEYS[1], 'r:00000000000000ff', 'x')").await;
    let barrier = bench.l2.barrier();
    bench.store(&key, "after").await;
    barrier.passed(&[0], bench.until()).await.unwrap();
}

/// The clock tells apart epochs that begin above the same floor, and one that is far in the future
/// is not followed.
pub async fn a_forged_echo_does_not_lead_to_an_epoch(bench: &Bench) {
    let key = bench.key("one", "forged");
    let before = bench.store(&key, "before").await;
    let partition = bench.partition(&key);
    for (nonce, epoch) in [(1u64, LIMIT), (1, LIMIT - 1), (u64::MAX, before.epoch + 1_000_000_000), (0, LIMIT - 2)] {
        let mut echo = vec![1, 3];
        echo.extend(nonce.to_be_bytes());
        for partition in 0..PARTITIONS {
            echo.extend(partition.to_be_bytes());
            echo.extend(epoch.to_be_bytes());
            echo.extend(7u64.to_be_bytes());
        }
        bench.publish("conformance:{0}:e:0000000000000007", &echo).await;
    }
    // Behind them comes a genuine one.
    let audits = bench.coherence.counters.audits_echoed.get();
    eventually("an audit came back", async || bench.coherence.counters.audits_echoed.get() > audits + 1).await;
    let mut last = before;
    for _ in 0..3 {
        bench.redis.as_ref().unwrap().cli(&["FLUSHALL"]).await;
        let stored = bench.store(&key, "after").await;
        assert!(stored.epoch > last.epoch && stored.epoch < before.epoch + 1_000_000_000, "{stored} after {last}");
        let refused = bench.write(&key, "another", Condition::Version(last)).await;
        assert!(matches!(refused, WriteResult::Refused { .. }), "a version of another life");
        last = stored;
    }
    eventually("memory follows", async || bench.coherence.watermark(partition).epoch == last.epoch).await;
}

/// A message of an epoch that never was makes memory suspect, and blinds nothing.
pub async fn a_forged_message_is_forgotten(bench: &Bench) {
    let key = bench.key("one", "message");
    let before = bench.store(&key, "before").await;
    let partition = bench.partition(&key);
    let gaps = bench.coherence.counters.gaps.get();
    let mut message = vec![1, 2];
    message.extend(partition.to_be_bytes());
    for number in [4711, 0, LIMIT - 1, 1, 0] {
        message.extend(u64::to_be_bytes(number));
    }
    message.extend(b"\x02\x03one\0\0\0");
    // The bench is in database 3.
    bench.publish(&format!("conformance:{{{partition}}}:b:3"), &message).await;
    eventually("it is heard", async || bench.coherence.counters.gaps.get() > gaps).await;
    let followed = async || bench.coherence.watermark(partition).epoch == before.epoch;
    eventually("the line is followed as before", followed).await;
    assert!(key.namespace().invalidation_log().latest(partition) <= bench.coherence.watermark(partition));
    assert_eq!(bench.store(&key, "after").await.epoch, before.epoch);
}

pub async fn something_else_beside_an_entry_costs_itself_only(bench: &Bench) {
    let key = bench.key("one", "beside");
    let list = "redis.call('DEL', KEYS[1]) redis.call('RPUSH', KEYS[1], 'x')";
    let claim = |lease| LeaseClaim { lease: LeaseId(lease), duration: HOUR, seen: None };
    // A lease, for each script that looks at it. Leases are looked at while one may be out.
    assert_eq!(bench.l2.acquire(&key, claim(1), bench.until()).await, Ok(Acquired::Granted));
    for (lease, is_set) in [(2, false), (3, true)] {
        bench.lua(&bench.name('l', &key), list).await;
        let granted = bench.l2.acquire(&key, claim(lease), bench.until()).await;
        assert_eq!(granted, Ok(Acquired::Granted));
        bench.lua(&bench.name('l', &key), list).await;
        if is_set {
            let refused = bench.write(&key, "x", Condition::Lease(LeaseId(lease))).await;
            assert!(matches!(refused, WriteResult::Refused { .. }), "the lease was lost: {refused:?}");
            bench.lua(&bench.name('l', &key), list).await;
            bench.store(&key, "x").await;
        } else {
            bench.remove(bench.partition(&key), std::slice::from_ref(&key)).await;
        }
    }
    bench.lua(&bench.name('l', &key), list).await;
    let seen = bench.l2.inspect(&key, bench.until()).await.unwrap();
    assert!(seen.stored.is_some() && seen.lease.is_none());
    // What is remembered of its source.
    let of_source =
        NewEntry { source_version: Some(7), ..NewEntry::new(Content::Value("x".into()), Lifetime::of(HOUR)) };
    for other in [list, "redis.call('SET', KEYS[1], 'x')"] {
        bench.lua(&bench.name('x', &key), other).await;
        super::version(bench.write_entry(&key, of_source.clone(), Condition::None).await);
        bench.lua(&bench.name('x', &key), other).await;
        bench.remove(bench.partition(&key), std::slice::from_ref(&key)).await;
    }
    // A request.
    let request = Write {
        key: key.clone(),
        entry: NewEntry::new(Content::Value("x".into()), Lifetime::of(HOUR)),
        condition: Condition::None,
        request: Some(RequestId(Bytes::from_static(b"id"))),
    };
    let name = format!("conformance:{{{}}}:q:one:2:idbeside", bench.partition(&key));
    for other in [list, "redis.call('SET', KEYS[1], string.rep('\\255', 17))", "redis.call('SET', KEYS[1], 'x')"] {
        bench.lua(&name, other).await;
        super::version(bench.request(request.clone()).await);
        assert!(matches!(bench.request(request.clone()).await, WriteResult::Repeated { .. }), "it is remembered again");
    }
    // An entry.
    bench.lua(&bench.name('v', &key), list).await;
    assert_eq!(bench.read(&key).await, None);
    assert!(bench.l2.inspect(&key, bench.until()).await.is_ok());
    bench.store(&key, "x").await;
    // Stones of prefixes and tags.
    let selectors = [Selector::Tag("t".into()), Selector::Prefix("p".into())];
    let partition = bench.partition(&key);
    for kind in ['t', 'o'] {
        bench.invalidate(partition, key.namespace(), &selectors).await;
        bench.lua(&format!("conformance:{{{partition}}}:{kind}:one"), list).await;
        bench.invalidate(partition, key.namespace(), &selectors).await;
        bench.store(&key, "x").await;
        assert!(bench.read(&key).await.is_some());
    }
}

/// What replicas tell each other beside entries.
pub async fn something_else_on_the_board_costs_itself_only(bench: &Bench) {
    let config = bench.config.clone().unwrap();
    let tier = redis::start(config, PARTITIONS, 8, std::sync::Arc::new(super::BootClock), bench.coherence.clone());
    let known = Settings::default();
    let list = "redis.call('DEL', KEYS[1]) redis.call('RPUSH', KEYS[1], 'x')";
    let field = |value: &str| [("f".to_owned(), Some(value.to_owned()))];
    eventually("it is connected", async || tier.settings(&known, bench.until()).await.is_ok()).await;
    bench.lua("conformance:{0}:p", list).await;
    let set = tier.set(&known, &field("1"), bench.until()).await.unwrap();
    assert_eq!(set.fields["f"], "1");
    // Those who know them restore them.
    for damage in [list, "redis.call('HSET', KEYS[1], 'revision', '9223372036854775807')"] {
        bench.lua("conformance:{0}:p", damage).await;
        let restored = tier.settings(&set, bench.until()).await.unwrap().unwrap();
        assert_eq!(restored.fields, set.fields, "{damage}");
    }
    let lifetime = Duration::from_secs(60);
    tier.publish_note("note".into(), lifetime, bench.until()).await.unwrap();
    for name in ["conformance:{0}:h", "conformance:{0}:f:0000000000000007"] {
        bench.lua(name, list).await;
    }
    assert_eq!(tier.hot_keys(lifetime, bench.until()).await, Ok(None));
    assert_eq!(tier.notes(lifetime, bench.until()).await, Ok(Vec::new()));
    tier.save_hot_keys("keys".into(), lifetime, bench.until()).await.unwrap();
    assert_eq!(tier.hot_keys(lifetime, bench.until()).await.unwrap().unwrap().text, "keys");
    tier.close().await;
}
