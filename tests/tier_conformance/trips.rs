//! Trips: plain writes of many callers in one script.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use twintier::backend::boot_clock::BootClock;
use twintier::cache::clock::{Clock as _, Moment};
use twintier::cache::entry::{Content, NewEntry};
use twintier::cache::invalidation::selector::Selector;
use twintier::cache::key::Key;
use twintier::cache::lifetime::Lifetime;
use twintier::cache::tier::{Condition, L2Error, L2State, Write};
use twintier::cache::version::Version;

use super::harness::eventually;
use super::{Fixture, HOUR, PARTITIONS, version};

fn plain(key: &Key, value: Vec<u8>) -> Write {
    let entry = NewEntry::new(Content::Value(value.into()), Lifetime::of(HOUR));
    Write { key: key.clone(), entry, condition: Condition::None, request: None }
}

impl Fixture {
    /// Writes `key` until `deadline`.
    async fn write_until(&self, key: &Key, value: &str, deadline: Moment) -> Result<Version, L2Error> {
        let writes = [plain(key, value.into())];
        let mut written = self.l2.write(self.partition(key), &writes, deadline.into()).await?;
        Ok(version(written.remove(0)))
    }

    /// Writes all `keys` concurrently.
    async fn write_together(&self, keys: &[Key], value: &str) -> Vec<Version> {
        join_all(keys.iter().map(|key| self.store_plainly(key, value))).await
    }

    async fn store_plainly(&self, key: &Key, value: &str) -> Version {
        self.write_until(key, value, self.until()).await.unwrap()
    }

    fn keys(&self, namespace: &str, count: usize) -> Vec<Key> {
        (0..count).map(|n| self.key(namespace, &format!("key {n}"))).collect()
    }

    fn server(&self) -> &super::Redis {
        self.redis.as_ref().unwrap()
    }

    /// The number of scripts that the server has run.
    async fn scripts_run(&self) -> u64 {
        let info = self.server().cli(&["INFO", "commandstats"]).await.text();
        let stats = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap();
        stats.split(',').next().unwrap().parse().unwrap()
    }
}

pub async fn writes_that_wait_for_a_server_travel_together(fixture: &Fixture) {
    let keys = fixture.keys("one", 60);
    fixture.write_together(&keys, "first").await;
    let before = fixture.scripts_run().await;
    for round in 0..10 {
        fixture.write_together(&keys, &round.to_string()).await;
    }
    let scripts = fixture.scripts_run().await - before;
    assert!(scripts < 300, "{scripts} scripts for 600 writes");
    for key in &keys {
        assert_eq!(fixture.read(key).await.unwrap().content, Content::Value("9".into()));
    }
}

pub async fn a_trip_publishes_messages_that_every_build_reads(fixture: &Fixture) {
    eventually("every partition is proven", async || fixture.coherence.proofs().proven == PARTITIONS).await;
    let mut last = BTreeMap::new();
    for namespace in ["one", "two"] {
        let keys = fixture.keys(namespace, 60);
        for (key, version) in keys.iter().zip(fixture.write_together(&keys, "x").await) {
            let last = last.entry(fixture.partition(key)).or_insert(version);
            *last = version.max(*last);
        }
    }
    for (partition, version) in last {
        let applied = async || fixture.coherence.watermark(partition) == version;
        eventually("the last message is applied in sequence", applied).await;
    }
    let counters = &fixture.coherence.counters;
    assert_eq!((counters.gaps.get(), counters.undecodable.get()), (0, 0));
}

pub async fn writes_of_one_key_have_different_versions(fixture: &Fixture) {
    let key = fixture.key("one", "contended");
    let writes = join_all((0..50).map(async |n: u32| (fixture.store_plainly(&key, &n.to_string()).await, n))).await;
    let versions: BTreeMap<Version, u32> = writes.iter().copied().collect();
    assert_eq!(versions.len(), 50);
    let (last, value) = versions.last_key_value().unwrap();
    let read = fixture.read(&key).await.unwrap();
    assert_eq!((read.version, read.content), (*last, Content::Value(value.to_string().into())));
}

pub async fn values_of_every_size_are_stored_whole(fixture: &Fixture) {
    let value = |size: usize| (0..size).map(|at| (at % 251) as u8).collect::<Vec<u8>>();
    for size in (0..=900).step_by(50).chain([424, 425, 426, 427, 4096, 60_000]) {
        let key = fixture.key("one", &format!("size {size}"));
        let writes = [plain(&key, value(size))];
        let written = fixture.l2.write(fixture.partition(&key), &writes, fixture.until().into()).await;
        let stored = version(written.unwrap().remove(0));
        let read = fixture.read(&key).await.unwrap();
        assert_eq!((read.version, read.content), (stored, Content::Value(value(size).into())), "{size}");
    }
}

pub async fn a_step_that_is_not_plain_leaves_the_others_of_its_trip_alone(fixture: &Fixture) {
    let keys: Vec<Key> = fixture.keys("one", 20).into_iter().chain(fixture.keys("two", 20)).collect();
    let before = fixture.write_together(&keys, "before").await;
    // Active patterns in one namespace, and a lost counter in one partition.
    let pattern = Selector::Pattern(Bytes::from_static(b"no such key*"));
    fixture.invalidate(1, keys[0].namespace(), std::slice::from_ref(&pattern)).await;
    fixture
        .server()
        .cli(&["EVAL", "redis.call('SELECT', 3) return redis.call('DEL', KEYS[1])", "1", "conformance:{2}:c"])
        .await;
    let after = fixture.write_together(&keys, "after").await;
    for ((key, before), after) in keys.iter().zip(before).zip(after) {
        assert!(after > before, "{key:?}: {after} after {before}");
        assert_eq!(fixture.partition(key) == 2, after.epoch > before.epoch, "{key:?}");
        let read = fixture.read(key).await.unwrap();
        assert_eq!((read.version, read.content), (after, Content::Value("after".into())), "{key:?}");
    }
}

pub async fn a_forgotten_script_is_loaded_again(fixture: &Fixture) {
    let keys = fixture.keys("one", 10);
    fixture.server().cli(&["SCRIPT", "FLUSH"]).await;
    fixture.write_together(&keys, "1").await;
    fixture.write_together(&keys, "2").await;
    assert_eq!(fixture.read(&keys[9]).await.unwrap().content, Content::Value("2".into()));
}

pub async fn each_caller_of_a_trip_has_its_own_deadline(fixture: &Fixture) {
    let (short, long) = (fixture.keys("one", 8), fixture.keys("two", 8));
    fixture.write_together(&short, "before").await;
    fixture.server().freeze();
    let soon = BootClock.now().plus(Duration::from_secs(1));
    let writes = |keys: Vec<Key>, deadline| async move {
        join_all(keys.iter().map(|key| fixture.write_until(key, "after", deadline))).await
    };
    let (late, stored) = tokio::join!(
        async {
            let late = writes(short.clone(), soon).await;
            fixture.server().thaw();
            late
        },
        writes(long.clone(), fixture.until()),
    );
    let mut unknown = 0;
    for write in late {
        let Err(L2Error::Unavailable { outcome_unknown_for, .. }) = write else { panic!("{write:?}") };
        // A write that still waited for its trip was not sent.
        let Some(left) = outcome_unknown_for else { continue };
        unknown += 1;
        assert!(left < Duration::from_secs(5), "no longer than its own deadline: {left:?}");
    }
    assert!(unknown > 0, "those of the first trip");
    for (key, stored) in long.iter().zip(stored) {
        assert_eq!(fixture.read(key).await.unwrap().version, stored.unwrap());
    }
    for key in &short {
        assert_eq!(fixture.read(key).await.unwrap().content, Content::Value("before".into()), "refused as too late");
    }
}

pub async fn a_lost_reply_leaves_every_caller_with_an_unknown_outcome(fixture: &Fixture) {
    let keys = fixture.keys("one", 20);
    fixture.write_together(&keys, "before").await;
    fixture.server().freeze();
    // The connection is given up long before the deadline.
    let writes = join_all(keys.iter().map(|key| fixture.write_until(key, "after", fixture.until()))).await;
    fixture.server().thaw();
    eventually("redis is healthy", async || fixture.l2.report().state == L2State::Healthy).await;
    let mut unknown = 0;
    for (key, write) in keys.iter().zip(writes) {
        let Err(L2Error::Unavailable { outcome_unknown_for, .. }) = write else { panic!("{write:?}") };
        match outcome_unknown_for {
            Some(_) => unknown += 1,
            // It still waited for its trip.
            None => assert_eq!(fixture.read(key).await.unwrap().content, Content::Value("before".into())),
        }
    }
    assert!(unknown > 0, "those of the first trip");
}

pub async fn writes_beyond_the_limit_in_flight_are_refused(fixture: &Fixture) {
    let keys = fixture.keys("one", 80);
    fixture.server().freeze();
    let soon = BootClock.now().plus(Duration::from_millis(300));
    let writes = join_all(keys.iter().map(|key| fixture.write_until(key, "x", soon))).await;
    fixture.server().thaw();
    let busy = writes.iter().filter(|write| matches!(write, Err(L2Error::Busy { limit: 64 }))).count();
    assert!(busy >= 80 - 64, "{busy} of {writes:?}");
}

pub async fn a_full_server_refuses_every_write_of_a_trip(fixture: &Fixture) {
    let keys = fixture.keys("one", 20);
    fixture.write_together(&keys, "before").await;
    fixture.server().cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    fixture.server().cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let writes = join_all(keys.iter().map(|key| fixture.write_until(key, "after", fixture.until()))).await;
    assert!(writes.iter().all(|write| *write == Err(L2Error::Full)), "{writes:?}");
    fixture.server().cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let versions: BTreeSet<Version> = fixture.write_together(&keys, "again").await.into_iter().collect();
    assert!(!versions.is_empty());
}

pub async fn a_batch_is_one_step_for_each_partition(fixture: &Fixture) {
    let keys: Vec<Key> = fixture.keys("one", 60).into_iter().filter(|key| fixture.partition(key) == 1).collect();
    let writes: Vec<Write> = keys.iter().map(|key| plain(key, b"batch".to_vec())).collect();
    let written = fixture.l2.write(1, &writes, fixture.until().into()).await.unwrap();
    let versions: BTreeSet<Version> = written.into_iter().map(version).collect();
    assert_eq!(versions.len(), 1, "they share a version");
    for key in &keys {
        assert_eq!(fixture.read(key).await.unwrap().version, *versions.first().unwrap());
    }
}
