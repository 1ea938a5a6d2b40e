//! The configuration of the Redis tier: servers, credentials, timeouts and limits.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::cache::coherence::safeguards::Safeguards;

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Address {
    Tcp { host: String, port: u16 },
    Unix { path: PathBuf },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix { path } => write!(f, "{}", path.display()),
        }
    }
}

/// The topology of the servers.
#[derive(Clone, Debug)]
pub enum Servers {
    /// One server.
    Standalone(Address),
    /// Sentinels, which name the primary.
    Sentinel {
        /// The sentinels.
        sentinels: Vec<Address>,
        /// The name of the primary that they watch.
        service: String,
        /// Credentials for the sentinels.
        credentials: Credentials,
    },
    /// A Cluster.
    Cluster {
        /// Members from which the others are discovered.
        seeds: Vec<Address>,
    },
}

impl Servers {
    /// Returns true if partitions live in different slots of a Cluster.
    pub fn sharded(&self) -> bool {
        matches!(self, Servers::Cluster { .. })
    }
}

/// User and password for a server.
#[derive(Clone, Default)]
pub struct Credentials {
    /// User; the default user if `None`.
    pub username: Option<String>,
    /// Reads the password, or returns why it cannot be read.
    ///
    /// Called for each new connection, because the password may have changed.
    pub password: Option<ReadPassword>,
}

/// Reads a password.
pub type ReadPassword = Arc<dyn Fn() -> Result<SecretString, String> + Send + Sync>;

impl Credentials {
    pub(crate) fn password(&self) -> Result<Option<String>, String> {
        let password = self.password.as_ref().map(|read| read()).transpose()?;
        Ok(password.map(|password| password.expose_secret().to_owned()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Treatment of entries when Redis begins another life and may have lost the last acknowledged
/// writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failover {
    /// Entries count again once every replica has invalidated what was lost.
    #[default]
    Repair,
    /// Entries are dropped.
    Cold,
}

/// Configuration of the Redis tier.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// Servers.
    pub servers: Servers,
    /// TLS, if it is used.
    pub tls: Option<rustls::ClientConfig>,
    /// Credentials for the data servers.
    pub credentials: Credentials,
    /// Number of the database.
    pub database: u8,
    /// Prefix of every key and channel, without braces.
    pub prefix: String,
    /// Connections for commands to each primary, beside the subscription's.
    pub connections: usize,
    /// Timeout of connecting and the handshake.
    pub connect_timeout: Duration,
    /// Time without an answer after which commands fail immediately.
    pub unresponsive_after: Duration,
    /// Limit of commands in flight.
    pub max_in_flight: usize,
    /// Bytes of the largest value that is decompressed.
    pub value_size: usize,
    /// Bytes of the largest reply that is read.
    ///
    /// The connection is closed if a server sends a larger one.
    pub max_reply_size: usize,
    /// The staleness bound. It sets the interval of audits.
    pub max_staleness: Duration,
    /// Smallest number of prefixes and tags of a namespace whose invalidations are remembered one
    /// by one.
    pub tombstones: usize,
    /// Treatment of entries when Redis begins another life.
    pub failover: Failover,
    /// Time between two estimates of keys and memory of namespaces; zero disables them.
    pub namespace_sampling: Duration,
    /// Safeguards that are on.
    pub protections: Safeguards,
}
