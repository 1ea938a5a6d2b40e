//! State that all connections of a replica share: configuration, names, scripts, counters.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use fred::types::Value;
use tokio::sync::Notify;

use super::command_metrics::Operations;
use super::foreign_messages::ForeignMessages;
use super::tls::CurrentTls;
use crate::backend::redis::config::{RedisConfig, RedisSetup};
use crate::backend::redis::schema::barrier::Barriers;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::crypto::{Protection, Refusals};
use crate::backend::redis::schema::damaged_keys::DamagedKeys;
use crate::backend::redis::schema::keys::KeySchema;
use crate::backend::redis::schema::log_interval::LogInterval;
use crate::backend::redis::schema::reclaim_queue::ReclaimQueue;
use crate::backend::redis::schema::scripts::Script;
use crate::cache::clock::Clock;
use crate::cache::coherence::safeguards::Safeguard;
use crate::cache::stats::{Counter, Histogram};
use crate::cache::version::Version;
use crate::sync::Mutex;

/// State that all connections of a replica share: configuration, names, scripts, counters.
pub struct RedisContext {
    /// Configuration.
    pub config: RedisConfig,
    /// TLS. `None` if it is not used.
    pub tls: Option<CurrentTls>,
    /// Names.
    pub keys: KeySchema,
    /// This replica, as origin of messages.
    pub replica: u64,
    /// The clock of this machine.
    pub clock: Arc<dyn Clock>,
    /// Notified when a server redirects a command, or is not the primary.
    pub misplaced: Notify,
    /// Commands sent.
    pub commands: Counter,
    /// Commands that failed.
    pub errors: Counter,
    /// Connections that replaced a lost one.
    pub reconnects: Counter,
    /// Keys that the servers evicted, and keys that expired there, while this replica watched them.
    pub keys_gone: [Counter; 2],
    /// Latencies of commands.
    pub operations: Operations,
    /// Time from publishing a message to its dispatch.
    pub lag: Histogram,
    /// Namespaces with active patterns.
    pub reclaim_queue: ReclaimQueue,
    /// Changes that wait for a barrier.
    pub barriers: Barriers,
    /// Keys in Redis that held foreign data, repaired by scripts.
    pub damaged_keys: DamagedKeys,
    /// Messages of other deployments on this deployment's channels.
    pub foreign: ForeignMessages,
    /// Log of messages that cannot be read.
    pub undecodable_messages: LogInterval,
    /// Keys of MACs and encryption.
    pub protection: Arc<Protection>,
    /// Entries and messages that were refused by them.
    pub refusals: Refusals,
    scripts: Vec<String>,
    /// The highest position that this replica has seen, by partition.
    floors: Box<[Mutex<Version>]>,
}

impl RedisContext {
    /// Creates the state before the first connection.
    pub fn new(setup: RedisSetup) -> RedisContext {
        let RedisSetup { config, tls, partitions, replica, clock } = setup;
        let (sharded, database) = (config.url.servers.sharded(), config.url.database);
        let scripts = Script::ALL.iter().map(|script| script.text(sharded, config.safeguards)).collect();
        let protection = Protection::new(&config.protection, &config.prefix, database);
        RedisContext {
            protection: Arc::new(protection),
            refusals: Refusals::default(),
            undecodable_messages: LogInterval::default(),
            keys: KeySchema::new(&config.prefix, partitions, sharded).in_database(database),
            tls: tls.map(|tls| CurrentTls::new(config.tls.clone(), tls)),
            config,
            replica,
            clock,
            misplaced: Notify::new(),
            scripts,
            operations: Operations::default(),
            lag: Histogram::default(),
            barriers: Barriers::default(),
            reclaim_queue: ReclaimQueue::default(),
            commands: Counter::default(),
            errors: Counter::default(),
            reconnects: Counter::default(),
            keys_gone: Default::default(),
            damaged_keys: DamagedKeys::default(),
            foreign: ForeignMessages::default(),
            floors: (0..partitions).map(|_| Mutex::default()).collect(),
        }
    }

    /// Returns the highest position seen of `partition`.
    ///
    /// A new epoch begins above it, even if Redis's clock went back. A server below it has older
    /// data: another one had taken over in between.
    pub fn floor(&self, partition: u16) -> Version {
        // A test build may ignore it.
        let on = |safeguard| self.config.safeguards.on(safeguard);
        let counts = on(Safeguard::Return) && on(Safeguard::NewEpoch);
        self.lock_floor(partition).filter(|_| counts).map_or(Version::ZERO, |floor| *floor)
    }

    /// The floors, as scripts take them.
    pub fn floors_argument(&self, partitions: &[u16]) -> Value {
        let floors = partitions.iter().flat_map(|partition| codec::version_bytes(self.floor(*partition)));
        Value::Bytes(floors.collect::<Vec<u8>>().into())
    }

    /// Raises the floor of `partition` to `position`, which only the server can have sent.
    pub fn raise_floor(&self, partition: u16, position: Version) {
        if let Some(mut floor) = self.lock_floor(partition) {
            *floor = floor.max(position);
        }
    }

    /// Lowers the floor after the server showed a lower `position`: the floor lies too far ahead of
    /// its clock.
    pub fn lower_floor(&self, partition: u16, floor: Version, position: Version) {
        if let Some(mut known) = self.lock_floor(partition).filter(|known| **known == floor && position < floor) {
            tracing::warn!(partition, %floor, %position, "redis: ignored an epoch far in the future");
            *known = position;
        }
    }

    fn lock_floor(&self, partition: u16) -> Option<MutexGuard<'_, Version>> {
        let floor = self.floors.get(usize::from(partition))?;
        Some(floor.lock())
    }

    /// The longest pause between audits of a fleet while Redis and its clock work.
    pub fn longest_pause(&self) -> Duration {
        self.config.max_staleness / 4
    }

    /// The text of a script.
    pub fn script(&self, script: Script) -> &str {
        &self.scripts[script as usize]
    }
}
