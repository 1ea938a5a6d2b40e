//! A server that returns with older data in the same life, after another had taken over.

use twintier::cache::key::Key;
use twintier::cache::tier::{L2State, Mode, Removal};
use twintier::cache::version::Version;

use super::harness::eventually;
use super::{Bench, PARTITIONS};

/// A database that the service does not use.
const ASIDE: u8 = 4;
const OWN: u8 = 3;

impl Bench {
    /// Copies every name of the service that `keys` and counters have from one database to another.
    async fn copy(&self, keys: &[&Key], from: u8, to: u8) {
        let counters = (0..PARTITIONS).map(|partition| format!("conformance:{{{partition}}}:c"));
        let entries = keys.iter().map(|key| self.entry_name(key));
        let names: Vec<String> = counters.chain(entries).collect();
        let code = format!(
            "for _, name in ipairs(KEYS) do
               redis.call('SELECT', {to}) redis.call('DEL', name)
               redis.call('SELECT', {from}) redis.call('COPY', name, name, 'DB', {to})
             end return 1"
        );
        let count = names.len().to_string();
        let mut words = vec!["EVAL", &code, &count];
        words.extend(names.iter().map(String::as_str));
        self.redis.as_ref().unwrap().cli(&words).await;
    }

    fn entry_name(&self, key: &Key) -> String {
        let bytes = String::from_utf8_lossy(key.bytes()).into_owned();
        format!("conformance:{{{}}}:v:{}:{bytes}", self.partition(key), key.namespace().name())
    }

    /// As if another server had taken over with the same data: a new epoch begins.
    async fn is_taken_over(&self, before: Version, key: &Key) {
        let code = format!(
            "redis.call('SELECT', {OWN})
             for _, name in ipairs(KEYS) do redis.call('HSET', name, 'i', 'another') end return 1"
        );
        let names: Vec<String> = (0..PARTITIONS).map(|partition| format!("conformance:{{{partition}}}:c")).collect();
        let count = names.len().to_string();
        let mut words = vec!["EVAL", &code, &count];
        words.extend(names.iter().map(String::as_str));
        let redis = self.redis.as_ref().unwrap();
        redis.cli(&words).await;
        redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        redis.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        let begun = async || self.l2.read(key, self.until().into()).await.is_ok_and(|read| read.position > before);
        eventually("a new epoch has begun", begun).await;
    }

    /// Writes, once that is possible again.
    async fn is_stored(&self, key: &Key, value: &str) -> Version {
        let removal = [Removal { key: key.clone(), source_version: None }];
        let removed =
            async || self.l2.remove(self.partition(key), &removal, Mode::Remove, self.until().into()).await.is_ok();
        eventually("writes are taken", removed).await;
        self.store(key, value).await
    }

    /// From here on the old value never counts, and a new epoch begins above `seen`.
    async fn is_never_answered_again(&self, key: &Key, seen: Version) {
        let mut answered = false;
        eventually("reads are answered in a new epoch", async || {
            if let Ok(read) = self.l2.read(key, self.until().into()).await {
                assert_eq!(read.entry, None, "of a life that ended, at {}, after {seen}", read.position);
                answered = read.position.epoch > seen.epoch;
            }
            answered
        })
        .await;
        assert!(self.is_stored(key, "newest").await.epoch > seen.epoch);
        assert!(self.read(key).await.is_some());
        let followed =
            async || self.coherence.proofs().proven == PARTITIONS && self.l2.report().state == L2State::Healthy;
        eventually("all is well", followed).await;
    }
}

/// With the connections that stood at the old data all along, and with new ones.
pub async fn a_life_that_comes_back_begins_a_new_epoch(bench: &Bench) {
    let key = bench.key("one", "returns");
    for is_cut in [false, true] {
        let old = bench.is_stored(&key, "old").await;
        bench.copy(&[&key], OWN, ASIDE).await;
        bench.is_taken_over(old, &key).await;
        let new = bench.is_stored(&key, "new").await;
        assert!(new.epoch > old.epoch);
        bench.copy(&[&key], ASIDE, OWN).await;
        if is_cut {
            bench.redis.as_ref().unwrap().cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
            bench.redis.as_ref().unwrap().cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        }
        bench.is_never_answered_again(&key, new).await;
    }
}

/// A life that nobody took over from, and that lost its last steps all the same.
pub async fn a_line_that_goes_back_within_its_epoch_begins_a_new_one(bench: &Bench) {
    let key = bench.key("one", "goes back");
    let old = bench.store(&key, "old").await;
    bench.copy(&[&key], OWN, ASIDE).await;
    let new = bench.store(&key, "new").await;
    assert_eq!(new, Version::new(old.epoch, old.sequence + 1));
    bench.copy(&[&key], ASIDE, OWN).await;
    bench.is_never_answered_again(&key, new).await;
}

/// Nobody reads or writes: an audit finds it.
pub async fn an_audit_finds_a_life_that_comes_back(bench: &Bench) {
    let key = bench.key("one", "audited");
    let partition = bench.partition(&key);
    let old = bench.store(&key, "old").await;
    bench.copy(&[&key], OWN, ASIDE).await;
    bench.is_taken_over(old, &key).await;
    let new = bench.is_stored(&key, "new").await;
    eventually("it is heard of", async || bench.coherence.watermark(partition) >= new).await;
    bench.copy(&[&key], ASIDE, OWN).await;
    eventually("a new epoch is followed", async || bench.coherence.watermark(partition).epoch > new.epoch).await;
    assert_eq!(bench.read(&key).await, None);
}
