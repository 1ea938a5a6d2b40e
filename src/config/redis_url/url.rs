//! Parts of a Redis URL: servers, credentials, database. Does not connect.

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;

/// A parsed Redis URL. `Display` and `Debug` show neither user nor password.
#[derive(Clone)]
pub struct RedisUrl {
    /// The servers and their topology.
    pub topology: Topology,
    /// True if connections use TLS.
    pub tls: bool,
    /// User of the ACL; `None` for the default user.
    pub username: Option<String>,
    /// Password; `None` to connect without.
    pub password: Option<SecretString>,
    /// Number of the logical database.
    pub database: u8,
}

/// Topology of the servers of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Standalone {
        /// The server.
        server: Address,
    },
    /// Sentinels, which know the primary.
    Sentinel {
        /// The sentinels.
        servers: Vec<Address>,
        /// Name of the primary at the sentinels.
        service: String,
    },
    /// A cluster, which divides the keys by slot.
    Cluster {
        /// Seed nodes.
        servers: Vec<Address>,
    },
}

/// Address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host and port. An IPv6 address has no brackets here.
    Tcp {
        /// Name or IP address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix domain socket.
    Unix(PathBuf),
}

// === impl RedisUrl ===

impl RedisUrl {
    /// Returns the scheme, as the URL has to spell it.
    pub fn scheme(&self) -> &'static str {
        match (&self.topology, self.tls) {
            (Topology::Standalone { server: Address::Unix(_) }, _) => "unix",
            (Topology::Standalone { .. }, false) => "redis",
            (Topology::Standalone { .. }, true) => "rediss",
            (Topology::Sentinel { .. }, false) => "redis-sentinel",
            (Topology::Sentinel { .. }, true) => "rediss-sentinel",
            (Topology::Cluster { .. }, false) => "redis-cluster",
            (Topology::Cluster { .. }, true) => "rediss-cluster",
        }
    }

    /// Returns the servers of the URL, at least one.
    pub fn servers(&self) -> &[Address] {
        match &self.topology {
            Topology::Standalone { server } => std::slice::from_ref(server),
            Topology::Sentinel { servers, .. } | Topology::Cluster { servers } => servers,
        }
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme())?;
        if self.username.is_some() || self.password.is_some() {
            f.write_str("***@")?;
        }
        for (index, server) in self.servers().iter().enumerate() {
            write!(f, "{}{server}", if index == 0 { "" } else { "," })?;
        }
        match &self.topology {
            Topology::Standalone { server: Address::Unix(_) } => write!(f, "?db={}", self.database),
            Topology::Sentinel { service, .. } => write!(f, "/{}?service={service}", self.database),
            _ => write!(f, "/{}", self.database),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

// === impl Address ===

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
