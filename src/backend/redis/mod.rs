//! The shared tier in Redis, through fred. Standalone Redis 7 or newer.

mod bus;
mod call;
mod clock;
mod codec;
mod connection;
mod health;
mod info;
mod layout;
mod link;
mod scripts;
mod tier;
pub mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use tier::RedisTier;

use crate::cache::clock::Clock;
use crate::cache::coherence::message::BusSink;
use bus::Bus;
use call::Calls;
use connection::Shared;
use health::Health;
use link::Link;

/// Where Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Address {
    Tcp { host: String, port: u16 },
    Unix { path: PathBuf },
}

/// How Redis is used.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// Where it is.
    pub address: Address,
    /// TLS, when it is wanted.
    pub tls: Option<rustls::ClientConfig>,
    /// User; none means the default user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<SecretString>,
    /// Number of the database.
    pub database: u8,
    /// Prefix of every key and channel, without braces.
    pub prefix: String,
    /// Connections for commands, besides the subscription's.
    pub connections: usize,
    /// Longest time to connect and greet.
    pub connect_timeout: Duration,
    /// Time without an answer after which commands fail at once.
    pub unresponsive_after: Duration,
    /// Most commands in flight.
    pub max_in_flight: usize,
    /// The staleness bound, which sets the pace of audits.
    pub max_staleness: Duration,
}

/// Connects to Redis, now and whenever it is lost, and delivers the bus to `sink`. Does not wait for the first connection.
pub fn start(
    config: RedisConfig,
    partitions: u16,
    replica: u64,
    clock: Arc<dyn Clock>,
    sink: Arc<dyn BusSink>,
) -> Arc<RedisTier> {
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let health = Arc::new(Health::new(config.connections, clock.clone()));
    let shared = Arc::new(Shared::new(config, partitions, replica, clock));
    let links: Vec<_> =
        (0..shared.config.connections).map(|n| Arc::new(Link::new(n, shared.clone(), health.clone()))).collect();
    for link in &links {
        let (link, stop) = (link.clone(), stop.clone());
        tasks.spawn(async move { link.supervise(stop).await });
    }
    let bus = Arc::new(Bus::new(shared.clone(), health.clone(), sink));
    tasks.spawn({
        let (bus, stop) = (bus.clone(), stop.clone());
        async move { bus.run(stop).await }
    });
    let calls = Calls::new(shared.clone(), health.clone(), links, tasks.clone());
    let tier = Arc::new(RedisTier::new(shared, health, calls, bus, tasks.clone(), stop.clone()));
    tasks.spawn({
        let tier = tier.clone();
        async move { info::poll(&tier, stop).await }
    });
    tier
}
