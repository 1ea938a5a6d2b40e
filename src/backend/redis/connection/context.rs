//! What all connections of a replica share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fred::types::Value;
use tokio::sync::Notify;

use super::command_metrics::Operations;
use super::foreign_messages::ForeignMessages;
use crate::backend::redis::config::RedisConfig;
use crate::backend::redis::schema::barrier::Barriers;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::damaged_keys::Damages;
use crate::backend::redis::schema::keys::KeySchema;
use crate::backend::redis::schema::reclaim_queue::ReclaimQueue;
use crate::backend::redis::schema::scripts::Script;
use crate::cache::clock::Clock;
use crate::cache::coherence::safeguards::Safeguard;
use crate::cache::stats::{Counter, Histogram};
use crate::cache::version::Version;

/// What all connections of a replica share.
pub struct RedisContext {
    /// Configuration.
    pub config: RedisConfig,
    /// Names.
    pub layout: KeySchema,
    /// This replica, as origin of messages.
    pub replica: u64,
    /// The clock of this machine.
    pub clock: Arc<dyn Clock>,
    /// Told when a server says that another one is asked for, or that it is no primary.
    pub misplaced: Notify,
    /// Commands sent.
    pub commands: Counter,
    /// Commands that failed.
    pub errors: Counter,
    /// Connections opened in place of one that was lost.
    pub reconnects: Counter,
    /// Keys that the servers evicted, and keys that expired there, as long as this replica has watched them.
    pub keys_gone: [Counter; 2],
    /// How long commands take.
    pub operations: Operations,
    /// Time from publishing to dispatch.
    pub lag: Histogram,
    /// Namespaces in which patterns are at work.
    pub wanted: ReclaimQueue,
    /// Changes that wait for the fleet.
    pub barriers: Barriers,
    /// Names in Redis that held something else, repaired by scripts.
    pub damages: Damages,
    /// Messages of other deployments on this deployment's channels.
    pub foreign: ForeignMessages,
    scripts: Vec<String>,
    /// The farthest position that this replica has seen, by partition.
    floors: Box<[Mutex<Version>]>,
}

impl RedisContext {
    /// Nothing is known yet.
    pub fn new(config: RedisConfig, partitions: u16, replica: u64, clock: Arc<dyn Clock>) -> RedisContext {
        let scripts =
            Script::ALL.iter().map(|script| script.text(config.servers.sharded(), config.protections)).collect();
        RedisContext {
            layout: KeySchema::new(&config.prefix, partitions, config.servers.sharded()).in_database(config.database),
            config,
            replica,
            clock,
            misplaced: Notify::new(),
            scripts,
            operations: Operations::default(),
            lag: Histogram::default(),
            barriers: Barriers::default(),
            wanted: ReclaimQueue::default(),
            commands: Counter::default(),
            errors: Counter::default(),
            reconnects: Counter::default(),
            keys_gone: Default::default(),
            damages: Damages::default(),
            foreign: ForeignMessages::default(),
            floors: (0..partitions).map(|_| Mutex::default()).collect(),
        }
    }

    /// The farthest position seen on the number line of `partition`. A new epoch begins above it, even when Redis's clock went back, and a
    /// server that stands before it has older data: another one had taken over in between.
    pub fn floor(&self, partition: u16) -> Version {
        // A test build may forget what it has seen.
        let on = |protection| self.config.protections.on(protection);
        let counts = on(Safeguard::Return) && on(Safeguard::NewEpoch);
        self.lock_floor(partition).filter(|_| counts).map_or(Version::ZERO, |floor| *floor)
    }

    /// The floor as scripts take it.
    pub fn floor_argument(&self, partitions: &[u16]) -> Value {
        let floors = partitions.iter().flat_map(|partition| codec::version_bytes(self.floor(*partition)));
        Value::Bytes(floors.collect::<Vec<u8>>().into())
    }

    /// The number line of `partition` was seen at `position`, by something that only the server can have said.
    pub fn saw(&self, partition: u16, position: Version) {
        if let Some(mut floor) = self.lock_floor(partition) {
            *floor = floor.max(position);
        }
    }

    /// A greeting that said `floor` was answered with a lower `position`: what was seen before cannot have come from a clock, and counts no
    /// longer.
    pub fn let_go(&self, partition: u16, floor: Version, position: Version) {
        if let Some(mut known) = self.lock_floor(partition).filter(|known| **known == floor && position < floor) {
            tracing::warn!(partition, %floor, %position, "redis: an epoch far in the future does not count any more");
            *known = position;
        }
    }

    fn lock_floor(&self, partition: u16) -> Option<MutexGuard<'_, Version>> {
        let floor = self.floors.get(usize::from(partition))?;
        Some(floor.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The longest pause between audits of a fleet, while its Redis and its clock are as they should be.
    pub fn longest_pause(&self) -> Duration {
        self.config.max_staleness / 4
    }

    /// The text of a script.
    pub fn script(&self, script: Script) -> &str {
        &self.scripts[script as usize]
    }
}
