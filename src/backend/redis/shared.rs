//! What all connections of a replica share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::RedisConfig;
use super::barrier::Barriers;
use super::layout::Layout;
use super::operation::Operations;
use super::scripts::Script;
use super::wanted::Wanted;
use crate::cache::clock::Clock;
use crate::cache::stats::{Counter, Histogram};

/// What all connections of a replica share.
pub struct Shared {
    /// Configuration.
    pub config: RedisConfig,
    /// Names.
    pub layout: Layout,
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
    pub wanted: Wanted,
    /// Changes that wait for the fleet.
    pub barriers: Barriers,
    scripts: Vec<String>,
    floor: AtomicU64,
}

impl Shared {
    /// Nothing is known yet.
    pub fn new(config: RedisConfig, partitions: u16, replica: u64, clock: Arc<dyn Clock>) -> Shared {
        let scripts =
            Script::ALL.iter().map(|script| script.text(config.servers.sharded(), config.protections)).collect();
        Shared {
            layout: Layout::new(&config.prefix, partitions, config.servers.sharded()),
            config,
            replica,
            clock,
            misplaced: Notify::new(),
            scripts,
            operations: Operations::default(),
            lag: Histogram::default(),
            barriers: Barriers::default(),
            wanted: Wanted::default(),
            commands: Counter::default(),
            errors: Counter::default(),
            reconnects: Counter::default(),
            keys_gone: Default::default(),
            floor: AtomicU64::new(0),
        }
    }

    /// The highest epoch seen: a new one is made greater, even when Redis's clock went back.
    pub fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    /// An epoch was seen.
    pub fn saw_epoch(&self, epoch: u64) {
        self.floor.fetch_max(epoch, Ordering::AcqRel);
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
