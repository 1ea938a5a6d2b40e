//! Configuration of the gRPC server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::cache::key_form::KeyForm;
use crate::net::connections::ConnectionLimits;
use crate::net::listener::{ListenError, Listener};

/// Configuration of the gRPC server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address and port. `None` if TCP is off.
    pub listen: Option<SocketAddr>,
    /// Address and port without TLS, beside one with it. `None` if there is none.
    pub listen_plain: Option<SocketAddr>,
    /// The unix socket. `None` if there is none.
    pub unix: Option<UnixSocketConfig>,
    /// Maximum numbers of open connections.
    pub connections: ConnectionLimits,
    /// Maximum number of connections that wait to be accepted.
    pub backlog: u32,
    /// Limits and timeouts of each connection.
    pub http2: Http2Config,
    /// Maximum duration of an RPC, also if the caller's timeout is longer.
    pub max_deadline: Duration,
    /// Timeout for the body of a request.
    pub body_timeout: Duration,
    /// True if responses are compressed for callers that accept it.
    pub compression: bool,
    /// True if reflection is served.
    pub reflection: bool,
    /// True if the service for administration is served.
    pub admin: bool,
    /// Minimum duration of a request that is logged as slow.
    ///
    /// `None` if slow requests are not logged.
    pub slow_request: Option<Duration>,
    /// Form of keys in the log.
    pub logged_keys: KeyForm,
}

/// A socket of the gRPC server.
pub struct GrpcListener {
    /// The socket.
    pub listener: Listener,
    /// True if it never speaks TLS.
    pub is_plain: bool,
}

/// Configuration of a unix socket to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocketConfig {
    /// Path of the socket.
    pub path: PathBuf,
    /// Permissions of its file.
    pub mode: u32,
}

/// Limits and timeouts of one connection.
#[derive(Clone, Debug)]
pub struct Http2Config {
    /// Maximum number of streams, not counting streams that wait for a lease.
    pub max_streams: u32,
    /// Maximum number of requests that are served at a time. The others wait.
    pub max_in_flight: u32,
    /// Maximum size of the metadata of one request, in bytes.
    pub max_metadata_size: u32,
    /// Timeout for the connection preface.
    pub first_byte_timeout: Duration,
    /// Interval of keepalive pings.
    pub keepalive_interval: Duration,
    /// Timeout for the acknowledgement of a ping.
    pub keepalive_timeout: Duration,
    /// Age at which the connection is shut down gracefully, ±10 %.
    pub max_age: Duration,
    /// Maximum time from the graceful shutdown to the forced close.
    pub max_age_grace: Duration,
}

// === impl ServerConfig ===

impl ServerConfig {
    /// Listens on the TCP address, then on the one without TLS and on the unix socket.
    pub async fn bind(&self) -> Result<Vec<GrpcListener>, ListenError> {
        let mut listeners = Vec::new();
        if let Some(address) = self.listen {
            let listener = Listener::tcp("server.listen", address, self.backlog)?;
            listeners.push(GrpcListener { listener, is_plain: false });
        }
        if let Some(address) = self.listen_plain {
            let listener = Listener::tcp("server.listen_plain", address, self.backlog)?;
            listeners.push(GrpcListener { listener, is_plain: true });
        }
        if let Some(UnixSocketConfig { path, mode }) = &self.unix {
            let listener = Listener::unix("server.listen_unix", path, *mode, self.backlog).await?;
            listeners.push(GrpcListener { listener, is_plain: true });
        }
        Ok(listeners)
    }
}
