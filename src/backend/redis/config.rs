//! The configuration of the Redis tier: servers, credentials, timeouts and limits.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

pub use crate::backend::redis::schema::crypto::{KeyFileError, ProtectionConfig, ProtectionMode, SecretKey};
use crate::cache::clock::Clock;
use crate::cache::coherence::safeguards::Safeguards;
use crate::cache::policy::Limits;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Servers {
    /// One server.
    Standalone(Address),
    /// Sentinels, which name the primary.
    Sentinel {
        /// The sentinels.
        sentinels: Vec<Address>,
        /// The name of the primary that they watch.
        service: String,
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

    /// Returns the configured servers, at least one.
    pub fn addresses(&self) -> &[Address] {
        match self {
            Servers::Standalone(address) => std::slice::from_ref(address),
            Servers::Sentinel { sentinels: addresses, .. } | Servers::Cluster { seeds: addresses } => addresses,
        }
    }
}

/// A password, or the file that contains it.
#[derive(Clone, Debug)]
pub enum Password {
    /// The password as given.
    Text(SecretString),
    /// A file, whose content may change.
    File {
        /// The setting that names the file.
        setting: &'static str,
        /// Path of the file.
        path: PathBuf,
    },
}

impl Password {
    /// Returns the current password, or why it cannot be read.
    pub fn read(&self) -> Result<SecretString, String> {
        match self {
            Password::Text(password) => Ok(password.clone()),
            Password::File { setting, path } => Password::read_file(path).map_err(|rule| format!("{setting}: {rule}")),
        }
    }

    /// Returns the content of a file without its last line break, which editors add and passwords
    /// do not have.
    pub fn read_file(path: &Path) -> Result<SecretString, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("must be a readable file: {error}"))?;
        let secret = text.strip_suffix('\n').unwrap_or(&text);
        let secret = secret.strip_suffix('\r').unwrap_or(secret);
        if secret.is_empty() { Err("must be a file that is not empty".into()) } else { Ok(secret.into()) }
    }
}

/// User and password for a server.
#[derive(Clone, Default)]
pub struct Credentials {
    /// User; the default user if `None`.
    pub username: Option<String>,
    /// Password; `None` to connect without.
    ///
    /// Read for each new connection, because the content of its file may have changed.
    pub password: Option<Password>,
}

impl Credentials {
    pub(crate) fn password(&self) -> Result<Option<String>, String> {
        let password = self.password.as_ref().map(Password::read).transpose()?;
        Ok(password.map(|password| password.expose_secret().to_owned()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// A Redis URL. `Display` and `Debug` show neither user nor password.
#[derive(Clone)]
pub struct RedisUrl {
    /// Servers.
    pub servers: Servers,
    /// True if connections use TLS.
    pub tls: bool,
    /// Credentials for the data servers.
    pub credentials: Credentials,
    /// Number of the database.
    pub database: u8,
}

// === impl RedisUrl ===

impl RedisUrl {
    /// Returns the scheme, as the URL has to spell it.
    pub fn scheme(&self) -> &'static str {
        match (&self.servers, self.tls) {
            (Servers::Standalone(Address::Unix { .. }), _) => "unix",
            (Servers::Standalone(_), false) => "redis",
            (Servers::Standalone(_), true) => "rediss",
            (Servers::Sentinel { .. }, false) => "redis-sentinel",
            (Servers::Sentinel { .. }, true) => "rediss-sentinel",
            (Servers::Cluster { .. }, false) => "redis-cluster",
            (Servers::Cluster { .. }, true) => "rediss-cluster",
        }
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme())?;
        if self.credentials.username.is_some() || self.credentials.password.is_some() {
            f.write_str("***@")?;
        }
        for (index, server) in self.servers.addresses().iter().enumerate() {
            write!(f, "{}{server}", if index == 0 { "" } else { "," })?;
        }
        match &self.servers {
            Servers::Standalone(Address::Unix { .. }) => write!(f, "?db={}", self.database),
            Servers::Sentinel { service, .. } => write!(f, "/{}?service={service}", self.database),
            _ => write!(f, "/{}", self.database),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

/// Files for TLS, PEM.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// CA certificates of the server; those of the system if `None`.
    pub ca: Option<PathBuf>,
    /// Certificate of this client. `None` unless the server requires one.
    pub identity: Option<ClientIdentity>,
}

/// Files of a certificate for this client, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate, and the chain up to its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
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
    /// Servers, credentials for them, and the database.
    pub url: RedisUrl,
    /// Credentials for the sentinels themselves.
    pub sentinel: Credentials,
    /// Files for TLS, if the URL selects it.
    pub tls: TlsFiles,
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
    /// Limits of requests, which bound values, replies and remembered invalidations.
    pub limits: Limits,
    /// The staleness bound. It sets the interval of audits.
    pub max_staleness: Duration,
    /// Treatment of entries when Redis begins another life.
    pub failover: Failover,
    /// Time between two estimates of keys and memory of namespaces; zero disables them.
    pub namespace_sampling: Duration,
    /// MACs of entries and messages, and encryption of values.
    pub protection: ProtectionConfig,
    /// Safeguards that are on.
    pub safeguards: Safeguards,
}

/// The configuration of the tier, with the parts of the replica that it uses.
pub struct RedisSetup {
    /// Configuration.
    pub config: RedisConfig,
    /// TLS, read from the files of the configuration. `None` if it is not used.
    pub tls: Option<rustls::ClientConfig>,
    /// Number of partitions of the deployment.
    pub partitions: u16,
    /// This replica, as origin of messages.
    pub replica: u64,
    /// The clock of this machine.
    pub clock: Arc<dyn Clock>,
}
