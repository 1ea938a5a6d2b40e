//! Reads of Redis: those that wait travel together, and each finds the end of an entry's life.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::join;
use twintier::backend::boot_clock::BootClock;
use twintier::cache::clock::Clock as _;
use twintier::cache::key::Key;
use twintier::cache::tier::{Touch, TouchMode};

use super::{Fixture, HOUR};

const READS: usize = 40;
const SECOND: Duration = Duration::from_secs(1);

impl Fixture {
    /// The number of calls of a command that Redis has counted.
    async fn calls(&self, command: &str) -> usize {
        let statistics = self.redis.as_ref().unwrap().cli(&["INFO", "commandstats"]).await.text();
        let calls = statistics.split_once(&format!("cmdstat_{command}:calls=")).map(|(_, rest)| rest);
        calls.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    }

    async fn stored(&self, count: usize) -> Vec<Key> {
        let keys: Vec<Key> = (0..count).map(|n| self.key("one", &format!("read {n}"))).collect();
        for key in &keys {
            self.store(key, "x").await;
        }
        keys
    }
}

pub async fn reads_that_wait_travel_together(fixture: &Fixture) {
    let (redis, keys) = (fixture.redis.as_ref().unwrap(), fixture.stored(READS).await);
    let before = (fixture.calls("hmget").await, fixture.calls("getrange").await, fixture.calls("pttl").await);
    redis.freeze();
    let reads = join_all(keys.iter().map(|key| fixture.read(key)));
    let (found, ()) = join!(reads, async { redis.thaw() });
    assert!(found.iter().all(Option::is_some));
    let (counters, entries) = (fixture.calls("hmget").await - before.0, fixture.calls("getrange").await - before.1);
    assert_eq!(entries, READS);
    // Audits read counters, too: without a trip in common there are more reads of them than of
    // entries.
    assert!(counters < READS, "{counters}");
    assert_eq!(fixture.calls("pttl").await, before.2, "the head of an entry shows its end");
}

pub async fn each_read_of_a_trip_keeps_its_own_deadline(fixture: &Fixture) {
    let (redis, keys) = (fixture.redis.as_ref().unwrap(), fixture.stored(5).await);
    redis.freeze();
    // The first two are under way; the others wait for them.
    let patient = join_all([0, 1, 2].map(|n| fixture.read(&keys[n])));
    let short = async {
        let soon = BootClock.now().plus(SECOND / 20);
        let left = tokio::time::timeout(SECOND / 50, fixture.l2.read(&keys[3], fixture.until().into())).await;
        left.expect_err("its caller leaves");
        fixture.l2.read(&keys[4], soon.into()).await.expect_err("its deadline passes");
        redis.thaw();
    };
    let (found, ()) = join!(patient, short);
    assert!(found.iter().all(Option::is_some), "the others are answered");
    assert!(fixture.read(&keys[4]).await.is_some());
}

pub async fn a_read_respects_a_life_that_a_touch_shortened(fixture: &Fixture) {
    let key = &fixture.stored(1).await[0];
    let touch = |ttl| fixture.l2.touch(key, Touch { ttl: Some(ttl), mode: TouchMode::Overwrite }, fixture.until());
    touch(30 * SECOND).await.unwrap();
    let before = fixture.calls("pttl").await;
    let ends = fixture.read(key).await.unwrap().expires_at;
    let left = ends.since(BootClock.now());
    assert!(left <= 30 * SECOND && left > 20 * SECOND, "{left:?}");
    touch(2 * HOUR).await.unwrap();
    let scripts = fixture.calls("pttl").await - before;
    let left = fixture.read(key).await.unwrap().expires_at.since(BootClock.now());
    assert!(left <= 2 * HOUR && left > HOUR, "{left:?}");
    assert_eq!(fixture.calls("pttl").await - before, scripts, "a Touch leaves the end in the head");
}

/// An earlier build leaves in the head a time to live that begins with its Touch.
pub async fn a_read_respects_a_touch_of_an_earlier_build(fixture: &Fixture) {
    let key = &fixture.stored(1).await[0];
    let name = fixture.name('v', key);
    let touch = "redis.call('SETRANGE', KEYS[1], 26, struct.pack('>I8', 30000)) redis.call('PEXPIRE', KEYS[1], 30000)";
    fixture.lua(&name, touch).await;
    let left = fixture.read(key).await.unwrap().expires_at.since(BootClock.now());
    assert!(left <= 30 * SECOND && left > 20 * SECOND, "{left:?}");
    // Written two hours ago for an hour, and touched for another hour now.
    let written = "local now = redis.call('TIME')
        redis.call('SETRANGE', KEYS[1], 18, struct.pack('>I8', (now[1] - 7200) * 1000000))
        redis.call('SETRANGE', KEYS[1], 26, struct.pack('>I8', 3600000)) redis.call('PEXPIRE', KEYS[1], 3600000)";
    fixture.lua(&name, written).await;
    let left = fixture.read(key).await.unwrap().expires_at.since(BootClock.now());
    assert!(left <= HOUR && left > HOUR / 2, "{left:?}");
}
