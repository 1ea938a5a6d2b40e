//! Conformance suite of L2, for its implementations: the local sequencer and Redis.
#![allow(clippy::unwrap_used, dead_code, unused_imports, unused_macros)]

#[path = "tier_conformance/batches.rs"]
mod batches;
#[path = "tier_conformance/damage.rs"]
mod damage;
#[path = "tier_conformance/entries.rs"]
mod entries;
#[path = "api/harness/mod.rs"]
mod harness;
#[path = "tier_conformance/inspect.rs"]
mod inspect;
#[path = "tier_conformance/leases.rs"]
mod leases;
#[path = "tier_conformance/reads.rs"]
mod reads;
#[path = "tier_conformance/returning_server.rs"]
mod returning_server;
#[path = "tier_conformance/scans.rs"]
mod scans;
#[path = "tier_conformance/selectors.rs"]
mod selectors;
#[path = "tier_conformance/trips.rs"]
mod trips;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use harness::{Redis, eventually};
use twintier::backend::boot_clock::BootClock;
use twintier::backend::local::Local;
use twintier::backend::memory::{Eviction, L1Config, MemoryL1};
use twintier::backend::redis::{
    self, Address, Credentials, Failover, ProtectionConfig, RedisConfig, RedisSetup, RedisUrl, SecretKey, Servers,
    TlsFiles,
};
use twintier::cache::clock::{Clock, Moment};
use twintier::cache::coherence::safeguards::Safeguards;
use twintier::cache::coherence::{Coherence, CoherenceConfig};
use twintier::cache::entry::{Content, Entry, NewEntry};
use twintier::cache::invalidation::selector::Selector;
use twintier::cache::key::{Key, KeyRef};
use twintier::cache::lifetime::Lifetime;
use twintier::cache::namespace::{Namespace, NamespaceRules, Namespaces};
use twintier::cache::policy::Limits;
use twintier::cache::tier::{Condition, L2State, Mode, Removal, RemoveResult, TierStore, Write, WriteResult};
use twintier::cache::version::Version;

const PARTITIONS: u16 = 4;
const TOMBSTONES: usize = 100;
const HOUR: Duration = Duration::from_secs(3600);

fn setup(config: RedisConfig, replica: u64) -> RedisSetup {
    RedisSetup { config, tls: None, partitions: PARTITIONS, replica, clock: Arc::new(BootClock) }
}

/// An implementation under test, with the coherence that receives its messages.
struct Fixture {
    l2: Arc<dyn TierStore>,
    coherence: Arc<Coherence>,
    namespaces: Arc<Namespaces>,
    redis: Option<Redis>,
    config: Option<RedisConfig>,
}

impl Fixture {
    fn parts() -> (Arc<MemoryL1>, Arc<Coherence>, Arc<Namespaces>) {
        let namespaces = Arc::new(Namespaces::new(
            NamespaceRules { limit: 8, tombstones: TOMBSTONES, ..Default::default() },
            PARTITIONS,
        ));
        let l1 = Arc::new(MemoryL1::new(L1Config { size: 1 << 26, eviction: Eviction::Lru }, Arc::new(BootClock)));
        let config = CoherenceConfig {
            partitions: PARTITIONS,
            max_staleness: Duration::from_secs(2),
            repair: false,
            safeguards: Safeguards::default(),
        };
        let coherence = Arc::new(Coherence::new(config, l1.clone(), namespaces.clone(), Arc::new(BootClock)));
        (l1, coherence, namespaces)
    }

    fn local() -> Fixture {
        let (l1, coherence, namespaces) = Fixture::parts();
        let l2 = Arc::new(Local::new(l1, coherence.clone(), Arc::new(BootClock)));
        Fixture { l2, coherence, namespaces, redis: None, config: None }
    }

    async fn redis() -> Fixture {
        Fixture::redis_with(ProtectionConfig::default()).await
    }

    async fn redis_with(protection: ProtectionConfig) -> Fixture {
        let redis = Redis::start().await;
        let (_, coherence, namespaces) = Fixture::parts();
        let config = RedisConfig {
            url: RedisUrl {
                servers: Servers::Standalone(Address::Tcp { host: "127.0.0.1".into(), port: redis.port() }),
                tls: false,
                credentials: Credentials::default(),
                database: 3,
            },
            sentinel: Credentials::default(),
            tls: TlsFiles::default(),
            prefix: "conformance".into(),
            connections: 2,
            connect_timeout: Duration::from_secs(5),
            unresponsive_after: Duration::from_secs(5),
            max_in_flight: 64,
            limits: Limits { tombstones: TOMBSTONES, ..Limits::default() },
            max_staleness: Duration::from_secs(2),
            failover: Failover::Cold,
            namespace_sampling: Duration::ZERO,
            protection,
            safeguards: Safeguards::default(),
        };
        let l2 = redis::start(setup(config.clone(), 7), coherence.clone());
        let fixture = Fixture { l2, coherence, namespaces, redis: Some(redis), config: Some(config) };
        eventually("redis is healthy", async || fixture.l2.report().state == L2State::Healthy).await;
        fixture
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

async fn a_written_entry_reads_back(fixture: &Fixture) {
    let key = fixture.key("one", "a key {with} odd*bytes\0:");
    assert_eq!(fixture.read(&key).await, None);
    let sent = BootClock.now();
    let version = fixture.store(&key, "value").await;
    let read = fixture.read(&key).await.unwrap();
    assert_eq!((read.version, &read.content), (version, &Content::Value("value".into())));
    assert_eq!(&*read.content_type, "text/plain");
    assert!(read.expires_at <= BootClock.now().plus(HOUR) && read.expires_at >= sent.plus(HOUR / 2));
    let entry = NewEntry::new(Content::KnownAbsent, Lifetime::of(HOUR));
    fixture.write_entry(&key, entry, Condition::None).await;
    assert_eq!(fixture.read(&key).await.unwrap().content, Content::KnownAbsent);
    let empty = NewEntry::new(Content::Value(Bytes::new()), Lifetime::of(HOUR));
    fixture.write_entry(&key, empty, Condition::None).await;
    assert_eq!(fixture.read(&key).await.unwrap().content, Content::Value(Bytes::new()));
}

async fn every_step_takes_the_next_position_of_its_partition(fixture: &Fixture) {
    let mut last = std::collections::BTreeMap::new();
    for n in 0..40 {
        let key = fixture.key(if n % 2 == 0 { "one" } else { "two" }, &format!("step {n}"));
        let version = match n % 4 {
            3 => fixture.remove(fixture.partition(&key), std::slice::from_ref(&key)).await.version,
            _ => fixture.store(&key, "x").await,
        };
        let before = last.insert(fixture.partition(&key), version);
        if let Some(before) = before {
            assert_eq!(version, Version::new(before.epoch, before.sequence + 1));
        }
        let read = fixture.l2.read(&key, fixture.until().into()).await.unwrap();
        assert_eq!(read.position, version, "a missing entry has a position too");
    }
}

async fn conditions_see_only_live_entries(fixture: &Fixture) {
    let key = fixture.key("one", "condition");
    assert_eq!(refused(fixture.write(&key, "1", Condition::Present).await), None);
    assert_eq!(refused(fixture.write(&key, "1", Condition::Version(Version::new(1, 1))).await), None);
    let first = version(fixture.write(&key, "1", Condition::Absent).await);
    assert_eq!(refused(fixture.write(&key, "2", Condition::Absent).await), Some(first));
    let second = version(fixture.write(&key, "2", Condition::Present).await);
    assert_eq!(refused(fixture.write(&key, "3", Condition::Version(first)).await), Some(second));
    let third = version(fixture.write(&key, "3", Condition::Version(second)).await);
    assert_eq!(fixture.read(&key).await.unwrap().version, third);
    fixture.invalidate(fixture.partition(&key), key.namespace(), &[Selector::Namespace]).await;
    assert_eq!(refused(fixture.write(&key, "4", Condition::Present).await), None);
    assert_eq!(refused(fixture.write(&key, "4", Condition::Version(third)).await), None);
    version(fixture.write(&key, "4", Condition::Absent).await);
}

async fn removed_keys_are_gone_and_counted(fixture: &Fixture) {
    let keys: Vec<Key> = (0..200).map(|n| fixture.key("one", &format!("removed {n}"))).collect();
    let keys: Vec<Key> = keys.into_iter().filter(|key| fixture.partition(key) == 2).collect();
    for key in keys.iter().step_by(2) {
        fixture.store(key, "x").await;
    }
    let removed = fixture.remove(2, &keys).await;
    assert_eq!(removed.removed, (0..keys.len()).map(|n| n % 2 == 0).collect::<Vec<_>>());
    for key in &keys {
        assert_eq!(fixture.read(key).await, None);
    }
}

async fn a_namespace_invalidation_hides_older_entries_only(fixture: &Fixture) {
    let (old, new, other) = (fixture.key("one", "old"), fixture.key("one", "new"), fixture.key("two", "old"));
    fixture.store(&old, "x").await;
    fixture.store(&other, "x").await;
    for partition in 0..PARTITIONS {
        fixture.invalidate(partition, old.namespace(), &[Selector::Namespace]).await;
    }
    let version = fixture.store(&new, "y").await;
    assert_eq!(fixture.read(&old).await, None);
    assert_eq!(fixture.read(&new).await.unwrap().version, version);
    assert!(fixture.read(&other).await.is_some());
}

async fn an_entry_expires_at_its_time(fixture: &Fixture) {
    let key = fixture.key("one", "short");
    let entry = NewEntry::new(Content::Value("x".into()), Lifetime::of(Duration::from_millis(60)));
    fixture.write_entry(&key, entry, Condition::None).await;
    let ended = async || fixture.read(&key).await.is_none_or(|entry| !entry.lives(BootClock.now()));
    eventually("the entry ends", ended).await;
    version(fixture.write(&key, "again", Condition::Absent).await);
}

async fn every_step_is_announced_in_order(fixture: &Fixture) {
    let key = fixture.key("one", "announced");
    for _ in 0..50 {
        fixture.store(&key, "x").await;
    }
    let last = fixture.store(&key, "x").await;
    let partition = fixture.partition(&key);
    eventually("the last message has arrived", async || fixture.coherence.watermark(partition) >= last).await;
    assert_eq!(fixture.coherence.counters.gaps.get(), 0);
    let last = fixture.invalidate(partition, key.namespace(), &[Selector::Namespace]).await;
    eventually("the message of the invalidation has arrived", async || fixture.coherence.watermark(partition) == last)
        .await;
    assert_eq!(key.namespace().invalidation_log().latest(partition), last);
}

async fn concurrent_conditional_writes_store_once(fixture: &Fixture) {
    let key = fixture.key("one", "contended");
    let writes = (0..32).map(|n| {
        let (key, value) = (key.clone(), n.to_string());
        async move { matches!(fixture.write(&key, &value, Condition::Absent).await, WriteResult::Stored(_)) }
    });
    let stored = futures_util::future::join_all(writes).await;
    assert_eq!(stored.into_iter().filter(|stored| *stored).count(), 1);
}

async fn conforms(fixture: Fixture) {
    a_written_entry_reads_back(&fixture).await;
    every_step_takes_the_next_position_of_its_partition(&fixture).await;
    conditions_see_only_live_entries(&fixture).await;
    removed_keys_are_gone_and_counted(&fixture).await;
    a_namespace_invalidation_hides_older_entries_only(&fixture).await;
    an_entry_expires_at_its_time(&fixture).await;
    every_step_is_announced_in_order(&fixture).await;
    concurrent_conditional_writes_store_once(&fixture).await;
    batches::conforms(&fixture).await;
    entries::an_older_source_version_is_refused(&fixture).await;
    entries::an_older_source_version_is_refused_after_a_selector(&fixture).await;
    entries::a_removal_can_record_a_newer_source_version(&fixture).await;
    entries::a_repeated_request_takes_effect_once(&fixture).await;
    entries::a_touch_changes_the_expiry(&fixture).await;
    entries::an_entry_may_have_no_expiry(&fixture).await;
    entries::a_sliding_entry_expires_at_its_limit(&fixture).await;
    entries::an_expired_entry_is_kept_for_its_window_and_counts_as_absent(&fixture).await;
    entries::a_marked_entry_is_kept_and_counts_as_absent(&fixture).await;
    entries::an_immutable_entry_is_written_once_without_a_message(&fixture).await;
    entries::a_waiter_for_an_immutable_entry_is_notified(&fixture).await;
    entries::values_are_readable_in_every_compression(&fixture).await;
    entries::tags_and_the_soft_ttl_are_stored(&fixture).await;
    inspect::a_lease_is_reported_while_it_is_held(&fixture).await;
    inspect::a_stored_entry_is_reported_live_or_expired(&fixture).await;
    inspect::the_selector_that_invalidated_an_entry_is_reported(&fixture).await;
    scans::every_key_of_a_namespace_is_found(&fixture).await;
    selectors::conform(&fixture).await;
    leases::conform(&fixture).await;
    fixture.l2.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_local_sequencer_conforms() {
    conforms(Fixture::local()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_conforms() {
    conforms(Fixture::redis().await).await;
}

/// With keys for MACs and encryption everything works as without them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_conforms_with_signed_and_encrypted_entries() {
    let key = |number| vec![SecretKey::from_bytes([number; 32])];
    let protection = ProtectionConfig { mac_keys: key(1), encryption_keys: key(2), ..ProtectionConfig::default() };
    let fixture = Fixture::redis_with(protection).await;
    trips::writes_that_wait_for_a_server_travel_together(&fixture).await;
    conforms(fixture).await;
}

macro_rules! on_redis {
    ($module:ident: $($name:ident),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let fixture = Fixture::redis().await;
            $module::$name(&fixture).await;
            fixture.l2.close().await;
        })+
    };
}

on_redis! {
    damage:
    a_damaged_counter_begins_a_new_epoch,
    a_damaged_counter_leaves_memory_proven,
    a_forged_echo_starts_no_epoch,
    a_forged_message_has_no_lasting_effect,
    foreign_data_beside_an_entry_affects_only_itself,
    foreign_data_in_the_shared_store_affects_only_itself,
}

on_redis! {
    returning_server:
    a_returning_server_starts_a_new_epoch,
    a_counter_that_goes_back_starts_a_new_epoch,
    an_audit_detects_a_returning_server,
}

on_redis! {
    reads:
    a_read_respects_a_life_that_a_touch_shortened,
    a_read_respects_a_touch_of_an_earlier_build,
    each_read_of_a_trip_keeps_its_own_deadline,
    reads_that_wait_travel_together,
}

on_redis! {
    trips:
    writes_that_wait_for_a_server_travel_together,
    a_trip_publishes_messages_that_every_build_reads,
    writes_of_one_key_have_different_versions,
    values_of_every_size_are_stored_whole,
    a_step_that_is_not_plain_leaves_the_others_of_its_trip_alone,
    a_forgotten_script_is_loaded_again,
    each_caller_of_a_trip_has_its_own_deadline,
    a_lost_reply_leaves_every_caller_with_an_unknown_outcome,
    writes_beyond_the_limit_in_flight_are_refused,
    a_full_server_refuses_every_write_of_a_trip,
    a_batch_is_one_step_for_each_partition,
}
