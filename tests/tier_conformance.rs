//! Conformance suite of L2, for its implementations: the local sequencer and Redis.
#![allow(clippy::unwrap_used, dead_code, unused_imports, unused_macros)]

#[path = "tier_conformance/damage.rs"]
mod damage;
#[path = "api/harness/mod.rs"]
mod harness;
#[path = "tier_conformance/leases.rs"]
mod leases;
#[path = "tier_conformance/lives.rs"]
mod lives;
#[path = "tier_conformance/looks.rs"]
mod looks;
#[path = "tier_conformance/many.rs"]
mod many;
#[path = "tier_conformance/returns.rs"]
mod returns;
#[path = "tier_conformance/selectors.rs"]
mod selectors;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use harness::{Redis, eventually};
use twintier::backend::boot_clock::BootClock;
use twintier::backend::local::Local;
use twintier::backend::memory::{Eviction, MokaL1};
use twintier::backend::redis::{self, Address, Credentials, Failover, RedisConfig, Servers};
use twintier::cache::clock::{Clock, Moment};
use twintier::cache::coherence::safeguards::Safeguards;
use twintier::cache::coherence::{Coherence, CoherenceConfig};
use twintier::cache::entry::{Content, Entry, Lifetime, NewEntry};
use twintier::cache::invalidation::selector::Selector;
use twintier::cache::key::{Key, KeyRef};
use twintier::cache::namespace::{Namespace, NamespaceRules, Namespaces};
use twintier::cache::tier::{Condition, L2State, Mode, Removal, RemoveResult, TierStore, Write, WriteResult};
use twintier::cache::version::Version;

const PARTITIONS: u16 = 4;
const TOMBSTONES: usize = 100;
const HOUR: Duration = Duration::from_secs(3600);

/// An implementation under test, with the coherence that hears its announcements.
struct Bench {
    l2: Arc<dyn TierStore>,
    coherence: Arc<Coherence>,
    namespaces: Arc<Namespaces>,
    redis: Option<Redis>,
    config: Option<RedisConfig>,
}

impl Bench {
    fn parts() -> (Arc<MokaL1>, Arc<Coherence>, Arc<Namespaces>) {
        let namespaces = Arc::new(Namespaces::new(
            NamespaceRules { limit: 8, tombstones: TOMBSTONES, ..Default::default() },
            PARTITIONS,
        ));
        let l1 = Arc::new(MokaL1::new(1 << 26, Eviction::Lru));
        let config = CoherenceConfig {
            partitions: PARTITIONS,
            max_staleness: Duration::from_secs(2),
            repair: false,
            safeguards: Safeguards::default(),
        };
        let coherence = Arc::new(Coherence::new(config, l1.clone(), namespaces.clone(), Arc::new(BootClock)));
        (l1, coherence, namespaces)
    }

    fn local() -> Bench {
        let (l1, coherence, namespaces) = Bench::parts();
        let l2 = Arc::new(Local::new(l1, coherence.clone(), Arc::new(BootClock)));
        Bench { l2, coherence, namespaces, redis: None, config: None }
    }

    async fn redis() -> Bench {
        let redis = Redis::start().await;
        let (_, coherence, namespaces) = Bench::parts();
        let config = RedisConfig {
            servers: Servers::Standalone(Address::Tcp { host: "127.0.0.1".into(), port: redis.port() }),
            tls: None,
            credentials: Credentials::default(),
            database: 3,
            prefix: "conformance".into(),
            connections: 2,
            connect_timeout: Duration::from_secs(5),
            unresponsive_after: Duration::from_secs(5),
            max_in_flight: 64,
            value_size: 1 << 20,
            max_reply_size: 16 << 20,
            max_staleness: Duration::from_secs(2),
            tombstones: TOMBSTONES,
            failover: Failover::Cold,
            namespace_sampling: Duration::ZERO,
            protections: Safeguards::default(),
        };
        let l2 = redis::start(config.clone(), PARTITIONS, 7, Arc::new(BootClock), coherence.clone());
        let bench = Bench { l2, coherence, namespaces, redis: Some(redis), config: Some(config) };
        eventually("redis is healthy", async || bench.l2.report().state == L2State::Healthy).await;
        bench
    }

    fn key(&self, namespace: &str, name: &str) -> Key {
        KeyRef::new(&self.namespaces.get("namespace", namespace).unwrap(), name.as_bytes()).to_key()
    }

    fn until(&self) -> Moment {
        BootClock.now().plus(Duration::from_secs(10))
    }

    async fn write(&self, key: &Key, value: &str, condition: Condition) -> WriteResult {
        let content = Content::Value(Bytes::copy_from_slice(value.as_bytes()));
        let entry = NewEntry { content_type: "text/plain".into(), ..NewEntry::new(content, Lifetime::of(HOUR)) };
        self.write_entry(key, entry, condition).await
    }

    async fn write_entry(&self, key: &Key, entry: NewEntry, condition: Condition) -> WriteResult {
        self.request(Write { key: key.clone(), entry, condition, request: None }).await
    }

    async fn request(&self, write: Write) -> WriteResult {
        let partition = self.partition(&write.key);
        self.l2.write(partition, &[write], self.until().into()).await.unwrap().remove(0)
    }

    async fn remove(&self, partition: u16, keys: &[Key]) -> RemoveResult {
        let removals: Vec<_> = keys.iter().map(|key| Removal { key: key.clone(), source_version: None }).collect();
        self.l2.remove(partition, &removals, Mode::Remove, self.until().into()).await.unwrap()
    }

    async fn invalidate(&self, partition: u16, namespace: &Arc<Namespace>, selectors: &[Selector]) -> Version {
        self.l2.invalidate(partition, namespace, selectors, Mode::Remove, self.until().into()).await.unwrap()
    }

    async fn store(&self, key: &Key, value: &str) -> Version {
        version(self.write(key, value, Condition::None).await)
    }

    async fn read(&self, key: &Key) -> Option<Entry> {
        self.l2.read(key, self.until().into()).await.unwrap().entry
    }

    fn partition(&self, key: &Key) -> u16 {
        self.coherence.partition_of(key.as_ref())
    }
}

fn version(written: WriteResult) -> Version {
    match written {
        WriteResult::Stored(entry) => entry.version,
        refused => panic!("not stored: {refused:?}"),
    }
}

fn refused(written: WriteResult) -> Option<Version> {
    match written {
        WriteResult::Refused { current, .. } => current,
        stored => panic!("stored: {stored:?}"),
    }
}

async fn what_is_written_reads_back(bench: &Bench) {
    let key = bench.key("one", "a key {with} odd*bytes\0:");
    assert_eq!(bench.read(&key).await, None);
    let sent = BootClock.now();
    let version = bench.store(&key, "value").await;
    let read = bench.read(&key).await.unwrap();
    assert_eq!((read.version, &read.content), (version, &Content::Value("value".into())));
    assert_eq!(&*read.content_type, "text/plain");
    assert!(read.expires_at <= BootClock.now().plus(HOUR) && read.expires_at >= sent.plus(HOUR / 2));
    let entry = NewEntry::new(Content::KnownAbsent, Lifetime::of(HOUR));
    bench.write_entry(&key, entry, Condition::None).await;
    assert_eq!(bench.read(&key).await.unwrap().content, Content::KnownAbsent);
    let empty = NewEntry::new(Content::Value(Bytes::new()), Lifetime::of(HOUR));
    bench.write_entry(&key, empty, Condition::None).await;
    assert_eq!(bench.read(&key).await.unwrap().content, Content::Value(Bytes::new()));
}

async fn every_step_takes_the_next_position_of_its_partition(bench: &Bench) {
    let mut last = std::collections::BTreeMap::new();
    for n in 0..40 {
        let key = bench.key(if n % 2 == 0 { "one" } else { "two" }, &format!("step {n}"));
        let version = match n % 4 {
            3 => bench.remove(bench.partition(&key), std::slice::from_ref(&key)).await.version,
            _ => bench.store(&key, "x").await,
        };
        let before = last.insert(bench.partition(&key), version);
        if let Some(before) = before {
            assert_eq!(version, Version::new(before.epoch, before.sequence + 1));
        }
        let read = bench.l2.read(&key, bench.until().into()).await.unwrap();
        assert_eq!(read.position, version, "an absence has a position too");
    }
}

async fn conditions_see_only_live_entries(bench: &Bench) {
    let key = bench.key("one", "condition");
    assert_eq!(refused(bench.write(&key, "1", Condition::Present).await), None);
    assert_eq!(refused(bench.write(&key, "1", Condition::Version(Version::new(1, 1))).await), None);
    let first = version(bench.write(&key, "1", Condition::Absent).await);
    assert_eq!(refused(bench.write(&key, "2", Condition::Absent).await), Some(first));
    let second = version(bench.write(&key, "2", Condition::Present).await);
    assert_eq!(refused(bench.write(&key, "3", Condition::Version(first)).await), Some(second));
    let third = version(bench.write(&key, "3", Condition::Version(second)).await);
    assert_eq!(bench.read(&key).await.unwrap().version, third);
    bench.invalidate(bench.partition(&key), key.namespace(), &[Selector::Namespace]).await;
    assert_eq!(refused(bench.write(&key, "4", Condition::Present).await), None);
    assert_eq!(refused(bench.write(&key, "4", Condition::Version(third)).await), None);
    version(bench.write(&key, "4", Condition::Absent).await);
}

async fn removed_keys_are_gone_and_counted(bench: &Bench) {
    let keys: Vec<Key> = (0..200).map(|n| bench.key("one", &format!("removed {n}"))).collect();
    let keys: Vec<Key> = keys.into_iter().filter(|key| bench.partition(key) == 2).collect();
    for key in keys.iter().step_by(2) {
        bench.store(key, "x").await;
    }
    let removed = bench.remove(2, &keys).await;
    assert_eq!(removed.removed, (0..keys.len()).map(|n| n % 2 == 0).collect::<Vec<_>>());
    for key in &keys {
        assert_eq!(bench.read(key).await, None);
    }
}

async fn an_invalidated_namespace_hides_what_is_older_and_spares_the_rest(bench: &Bench) {
    let (old, new, other) = (bench.key("one", "old"), bench.key("one", "new"), bench.key("two", "old"));
    bench.store(&old, "x").await;
    bench.store(&other, "x").await;
    for partition in 0..PARTITIONS {
        bench.invalidate(partition, old.namespace(), &[Selector::Namespace]).await;
    }
    let version = bench.store(&new, "y").await;
    assert_eq!(bench.read(&old).await, None);
    assert_eq!(bench.read(&new).await.unwrap().version, version);
    assert!(bench.read(&other).await.is_some());
}

async fn an_entry_ends_with_its_time(bench: &Bench) {
    let key = bench.key("one", "short");
    let entry = NewEntry::new(Content::Value("x".into()), Lifetime::of(Duration::from_millis(60)));
    bench.write_entry(&key, entry, Condition::None).await;
    let ended = async || bench.read(&key).await.is_none_or(|entry| !entry.lives(BootClock.now()));
    eventually("the entry ends", ended).await;
    version(bench.write(&key, "again", Condition::Absent).await);
}

async fn every_step_is_announced_in_order(bench: &Bench) {
    let key = bench.key("one", "announced");
    for _ in 0..50 {
        bench.store(&key, "x").await;
    }
    let last = bench.store(&key, "x").await;
    let partition = bench.partition(&key);
    eventually("the last step is heard of", async || bench.coherence.watermark(partition) >= last).await;
    assert_eq!(bench.coherence.counters.gaps.get(), 0);
    let last = bench.invalidate(partition, key.namespace(), &[Selector::Namespace]).await;
    eventually("the invalidation is heard of", async || bench.coherence.watermark(partition) == last).await;
    assert_eq!(key.namespace().invalidation_log().latest(partition), last);
}

async fn concurrent_conditional_writes_store_once(bench: &Bench) {
    let key = bench.key("one", "contended");
    let writes = (0..32).map(|n| {
        let (key, value) = (key.clone(), n.to_string());
        async move { matches!(bench.write(&key, &value, Condition::Absent).await, WriteResult::Stored(_)) }
    });
    let stored = futures_util::future::join_all(writes).await;
    assert_eq!(stored.into_iter().filter(|stored| *stored).count(), 1);
}

async fn conforms(bench: Bench) {
    what_is_written_reads_back(&bench).await;
    every_step_takes_the_next_position_of_its_partition(&bench).await;
    conditions_see_only_live_entries(&bench).await;
    removed_keys_are_gone_and_counted(&bench).await;
    an_invalidated_namespace_hides_what_is_older_and_spares_the_rest(&bench).await;
    an_entry_ends_with_its_time(&bench).await;
    every_step_is_announced_in_order(&bench).await;
    concurrent_conditional_writes_store_once(&bench).await;
    many::conforms(&bench).await;
    lives::an_older_version_of_the_source_does_not_come_back(&bench).await;
    lives::an_older_version_of_the_source_does_not_come_back_after_a_selector(&bench).await;
    lives::a_removal_may_know_a_newer_source(&bench).await;
    lives::a_repeated_request_takes_effect_once(&bench).await;
    lives::a_touch_changes_when_an_entry_ends(&bench).await;
    lives::an_entry_may_live_for_ever(&bench).await;
    lives::a_sliding_entry_has_a_hard_end(&bench).await;
    lives::what_has_ended_is_kept_for_its_window_and_counts_as_absent(&bench).await;
    lives::what_is_marked_is_kept_and_counts_as_absent(&bench).await;
    lives::an_immutable_entry_is_written_once_and_quietly(&bench).await;
    lives::who_waits_for_an_immutable_entry_is_told(&bench).await;
    lives::values_are_read_whatever_they_are_packed_by(&bench).await;
    lives::tags_and_what_is_due_are_kept(&bench).await;
    looks::a_lease_is_seen_while_somebody_has_it(&bench).await;
    looks::what_is_stored_is_seen_dead_or_alive(&bench).await;
    looks::what_an_entry_was_invalidated_with_is_told(&bench).await;
    selectors::conform(&bench).await;
    leases::conform(&bench).await;
    bench.l2.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_local_sequencer_conforms() {
    conforms(Bench::local()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_conforms() {
    conforms(Bench::redis().await).await;
}

macro_rules! on_redis {
    ($module:ident: $($name:ident),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let bench = Bench::redis().await;
            $module::$name(&bench).await;
            bench.l2.close().await;
        })+
    };
}

on_redis! {
    damage:
    a_damaged_counter_begins_a_new_epoch,
    a_damaged_counter_leaves_memory_proven,
    a_forged_echo_does_not_lead_to_an_epoch,
    a_forged_message_is_forgotten,
    something_else_beside_an_entry_costs_itself_only,
    something_else_on_the_board_costs_itself_only,
}

on_redis! {
    returns:
    a_life_that_comes_back_begins_a_new_epoch,
    a_line_that_goes_back_within_its_epoch_begins_a_new_one,
    an_audit_finds_a_life_that_comes_back,
}
