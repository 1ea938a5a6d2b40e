//! The configuration of the Redis tier: servers, credentials, timeouts and limits.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::cache::coherence::safeguards::Safeguards;

/// Where a server listens.
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

/// How the servers divide the work.
#[derive(Clone, Debug)]
pub enum Servers {
    /// One server.
    Standalone(Address),
    /// Sentinels, which know the primary.
    Sentinel {
        /// The sentinels.
        sentinels: Vec<Address>,
        /// The name of what they watch.
        service: String,
        /// How they are spoken to.
        credentials: Credentials,
    },
    /// A Cluster.
    Cluster {
        /// Members to begin from.
        seeds: Vec<Address>,
    },
}

impl Servers {
    /// Whether partitions live in different slots of a Cluster.
    pub fn sharded(&self) -> bool {
        matches!(self, Servers::Cluster { .. })
    }
}

/// What a server is told to be let in.
#[derive(Clone, Default)]
pub struct Credentials {
    /// User; none means the default user.
    pub username: Option<String>,
    /// Reads the password, or says why it cannot be read. Asked on every new connection: it may have changed.
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

/// What becomes of entries when Redis begins another life and may have lost the last acknowledged writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failover {
    /// They count again once every replica has invalidated what was lost.
    #[default]
    Repair,
    /// They are gone.
    Cold,
}

/// How Redis is used.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// Where it is.
    pub servers: Servers,
    /// TLS, when it is wanted.
    pub tls: Option<rustls::ClientConfig>,
    /// How it is spoken to.
    pub credentials: Credentials,
    /// Number of the database.
    pub database: u8,
    /// Prefix of every key and channel, without braces.
    pub prefix: String,
    /// Connections for commands to each primary, besides the subscription's.
    pub connections: usize,
    /// Longest time to connect and greet.
    pub connect_timeout: Duration,
    /// Time without an answer after which commands fail at once.
    pub unresponsive_after: Duration,
    /// Most commands in flight.
    pub max_in_flight: usize,
    /// Bytes of the largest value that is unpacked.
    pub value_size: usize,
    /// Bytes of the largest reply that is read. A server that sends a larger one is disconnected from.
    pub max_reply_size: usize,
    /// The staleness bound, which sets the pace of audits.
    pub max_staleness: Duration,
    /// Prefixes and tags of a namespace whose invalidations are remembered one by one at least.
    pub tombstones: usize,
    /// What becomes of entries when Redis begins another life.
    pub failover: Failover,
    /// Time between two estimates of what namespaces hold; zero: none is made.
    pub namespace_sampling: Duration,
    /// Protections that are on.
    pub protections: Safeguards,
}
