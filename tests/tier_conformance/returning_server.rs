//! A server that returns with older data, in its old life, after another server had taken over.

use twintier::cache::key::Key;
use twintier::cache::tier::{L2State, Mode, Removal};
use twintier::cache::version::Version;

use super::harness::eventually;
use super::{Fixture, PARTITIONS};

/// A database that the service does not use.
const UNUSED_DATABASE: u8 = 4;
const SERVICE_DATABASE: u8 = 3;

impl Fixture {
    /// Copies `keys` and the counters from one database to another.
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

    /// Simulates a takeover by another server with the same data: a new epoch starts.
    async fn take_over(&self, before: Version, key: &Key) {
        let code = format!(
            "redis.call('SELECT', {SERVICE_DATABASE})
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

    /// Writes, as soon as that is possible again.
    async fn store_when_possible(&self, key: &Key, value: &str) -> Version {
        let removal = [Removal { key: key.clone(), source_version: None }];
        let removed =
            async || self.l2.remove(self.partition(key), &removal, Mode::Remove, self.until().into()).await.is_ok();
        eventually("writes are accepted", removed).await;
        self.store(key, value).await
    }

    /// Asserts that the old value is never answered again, and that a new epoch starts above
    /// `seen`.
    async fn assert_never_answered_again(&self, key: &Key, seen: Version) {
        let mut answered = false;
        eventually("reads are answered in a new epoch", async || {
            if let Ok(read) = self.l2.read(key, self.until().into()).await {
                assert_eq!(read.entry, None, "an answer of the old life at {}, after {seen}", read.position);
                answered = read.position.epoch > seen.epoch;
            }
            answered
        })
        .await;
        assert!(self.store_when_possible(key, "newest").await.epoch > seen.epoch);
        assert!(self.read(key).await.is_some());
        let followed =
            async || self.coherence.proofs().proven == PARTITIONS && self.l2.report().state == L2State::Healthy;
        eventually("every partition is proven", followed).await;
    }
}

/// Holds for connections that were open to the old data all along, and for new ones.
pub async fn a_returning_server_starts_a_new_epoch(fixture: &Fixture) {
    let key = fixture.key("one", "returns");
    for is_cut in [false, true] {
        let old = fixture.store_when_possible(&key, "old").await;
        fixture.copy(&[&key], SERVICE_DATABASE, UNUSED_DATABASE).await;
        fixture.take_over(old, &key).await;
        let new = fixture.store_when_possible(&key, "new").await;
        assert!(new.epoch > old.epoch);
        fixture.copy(&[&key], UNUSED_DATABASE, SERVICE_DATABASE).await;
        if is_cut {
            fixture.redis.as_ref().unwrap().cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
            fixture.redis.as_ref().unwrap().cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        }
        fixture.assert_never_answered_again(&key, new).await;
    }
}

/// Covers a server that lost its last steps without a takeover.
pub async fn a_counter_that_goes_back_starts_a_new_epoch(fixture: &Fixture) {
    let key = fixture.key("one", "goes back");
    let old = fixture.store(&key, "old").await;
    fixture.copy(&[&key], SERVICE_DATABASE, UNUSED_DATABASE).await;
    let new = fixture.store(&key, "new").await;
    assert_eq!(new, Version::new(old.epoch, old.sequence + 1));
    fixture.copy(&[&key], UNUSED_DATABASE, SERVICE_DATABASE).await;
    fixture.assert_never_answered_again(&key, new).await;
}

/// An audit detects it, without reads or writes.
pub async fn an_audit_detects_a_returning_server(fixture: &Fixture) {
    let key = fixture.key("one", "audited");
    let partition = fixture.partition(&key);
    let old = fixture.store(&key, "old").await;
    fixture.copy(&[&key], SERVICE_DATABASE, UNUSED_DATABASE).await;
    fixture.take_over(old, &key).await;
    let new = fixture.store_when_possible(&key, "new").await;
    eventually("the message is applied", async || fixture.coherence.watermark(partition) >= new).await;
    fixture.copy(&[&key], UNUSED_DATABASE, SERVICE_DATABASE).await;
    eventually("a new epoch is followed", async || fixture.coherence.watermark(partition).epoch > new.epoch).await;
    assert_eq!(fixture.read(&key).await, None);
}
