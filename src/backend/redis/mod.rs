//! L2 in Redis 7 or newer, through fred: standalone, behind Sentinel, or a Cluster.
//!
//! fred only carries commands over single connections. This module decides which server is the
//! primary of which partition, and when a connection is replaced.

mod bus;
mod command;
pub mod config;
mod connection;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod keyspace;
mod schema;
mod store;
mod topology;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{
    Address, ClientIdentity, Credentials, Failover, KeyFileError, Password, ProtectionConfig, ProtectionMode,
    RedisConfig, RedisSetup, RedisUrl, SecretKey, Servers, TlsFiles,
};
pub use connection::tls;
pub use schema::crypto::Protection;
pub use store::redis_l2::RedisL2;

use crate::cache::tier::bus::BusSink;
use command::executor::CommandExecutor;
use connection::context::RedisContext;
use connection::health::RedisHealth;

/// Starts the tier: keeps it connected to Redis, and delivers the bus to `sink`.
///
/// Does not wait for the first connection.
pub fn start(setup: RedisSetup, sink: Arc<dyn BusSink>) -> Arc<RedisL2> {
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let health = RedisHealth::new(setup.clock.clone());
    warn_of_exposed_keys(&setup.config.protection);
    let context = Arc::new(RedisContext::new(setup));
    let executor = CommandExecutor::new(context.clone(), health.clone(), tasks.clone());
    let tier = Arc::new(RedisL2::new(context, health, executor, tasks.clone(), stop.clone()));
    tasks.spawn({
        let (tier, stop) = (tier.clone(), stop.clone());
        async move { topology::placement::follow(&tier, &sink, &stop).await }
    });
    tasks.spawn({
        let (tier, stop) = (tier.clone(), stop.clone());
        async move { store::pattern_reclaim::run(&tier, &stop).await }
    });
    tasks.spawn({
        let (tier, stop) = (tier.clone(), stop.clone());
        async move { keyspace::run(&tier, &stop).await }
    });
    tasks.spawn({
        let tier = tier.clone();
        async move { topology::server_info::poll(&tier, stop).await }
    });
    tier
}

/// Warns of key files that every user of the machine may read.
pub fn warn_of_exposed_keys(config: &ProtectionConfig) {
    for file in &config.readable_by_others {
        tracing::warn!(file = %file.display(), "redis: every user of this machine may read a key file");
    }
}
