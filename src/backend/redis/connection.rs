//! One connection to the Redis primary, made whole: authenticated, greeted, scripts loaded. It is used until it breaks, and then thrown away:
//! fred's own reconnection would replay commands. Every command goes through here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::{ClientLike as _, LuaInterface as _};
use fred::prelude::{Error, ErrorKind};
use fred::types::config::{
    Config, ConnectionConfig, PerformanceConfig, ReconnectError, Server, ServerConfig, TcpConfig, TlsConnector,
};
use fred::types::{ConnectHandle, InfoKind, RespVersion, Value};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::clock::RedisClock;
use super::layout::Layout;
use super::scripts::Script;
use super::{Address, RedisConfig};
use crate::cache::clock::Clock;
use crate::cache::stats::Counter;

/// Messages that may wait between the connection and the dispatch; more is an overrun, which makes memory suspect.
const WAITING_MESSAGES: usize = 8 * 1024;
/// The same for a connection that subscribes to nothing. fred takes room for as many at the start.
const WAITING_EVENTS: usize = 8;

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
    /// Redis's clock.
    pub redis_clock: RedisClock,
    /// Commands sent.
    pub commands: Counter,
    /// Commands that failed.
    pub errors: Counter,
    floor: AtomicU64,
}

impl Shared {
    /// Nothing is known yet.
    pub fn new(config: RedisConfig, partitions: u16, replica: u64, clock: Arc<dyn Clock>) -> Shared {
        Shared {
            layout: Layout::new(&config.prefix, partitions),
            config,
            replica,
            clock,
            redis_clock: RedisClock::default(),
            commands: Counter::default(),
            errors: Counter::default(),
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
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// It may work later.
    #[error("{0}")]
    Failed(String),
    /// The deployment has another number of partitions: this replica must not serve.
    #[error("redis holds a deployment of {theirs} partitions under this prefix, this replica is configured for {ours}")]
    Partitions {
        /// Partitions of the deployment.
        theirs: i64,
        /// Partitions configured here.
        ours: u16,
    },
}

impl From<Error> for ConnectError {
    fn from(error: Error) -> Self {
        ConnectError::Failed(words(&error))
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Reads and writes.
    Commands,
    /// The bus and its audits.
    Subscription,
}

/// A connection in use.
pub struct Connection {
    /// fred's client, of one connection.
    pub client: Client,
    /// Run and replication id of the primary, short.
    pub identity: String,
    /// Server version.
    pub server_version: String,
    /// Set when it must not be used any more: Redis said that it is no primary, or its answers show it.
    pub condemned: CancellationToken,
    /// Set when it has ended: what waits for an answer on it waits in vain.
    pub ended: CancellationToken,
    shas: Vec<String>,
    shared: Arc<Shared>,
}

// === impl Connection ===

impl Connection {
    /// Connects and greets. The handle ends when the connection does.
    pub async fn open(shared: &Arc<Shared>, purpose: Purpose) -> Result<(Connection, ConnectHandle), ConnectError> {
        let patience = shared.config.connect_timeout;
        let (config, performance) = (fred_config(&shared.config)?, performance(purpose));
        let client = Client::new(config, Some(performance), Some(connection(patience)), None);
        let handle = client.connect();
        let greeted = async {
            client.wait_for_connect().await?;
            Connection::greet(client.clone(), shared.clone()).await
        };
        match timeout(patience, greeted).await {
            Ok(Ok(connection)) => Ok((connection, handle)),
            Ok(Err(error)) => {
                handle.abort();
                Err(error)
            }
            Err(_) => {
                handle.abort();
                Err(ConnectError::Failed(format!("no answer within {patience:?}")))
            }
        }
    }

    async fn greet(client: Client, shared: Arc<Shared>) -> Result<Connection, ConnectError> {
        let server: String = client.info(Some(InfoKind::Server)).await?;
        let replication: String = client.info(Some(InfoKind::Replication)).await?;
        let version = field(&server, "redis_version").to_owned();
        if version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0u32) < 7 {
            return Err(ConnectError::Failed(format!("redis 7 or newer is needed, this is {version:?}")));
        }
        if field(&replication, "role") != "master" {
            return Err(ConnectError::Failed("this redis is a replica, not the primary".to_owned()));
        }
        // The second replication id changes when a server becomes the primary; the first also when a replica is attached to one.
        let life = ["master_replid2", "second_repl_offset"].map(|name| field(&replication, name));
        let identity = format!("{}:{}:{}", field(&server, "run_id"), life[0], life[1]);
        let mut connection = Connection {
            client,
            identity,
            server_version: version,
            condemned: CancellationToken::new(),
            ended: CancellationToken::new(),
            shas: Vec::new(),
            shared,
        };
        for script in Script::ALL {
            connection.shas.push(connection.client.script_load(script.text()).await?);
        }
        connection.hello().await?;
        Ok(connection)
    }

    async fn hello(&self) -> Result<(), ConnectError> {
        let shared = &self.shared;
        let sent = shared.clock.now();
        let args = vec![
            shared.floor().to_string().into(),
            self.identity.as_str().into(),
            shared.layout.partitions().to_string().into(),
            gone_after(shared.config.max_staleness).as_micros().to_string().into(),
        ];
        let reply = self.run(Script::Hello, shared.layout.counters(), args).await?;
        match (status(&reply), number(&reply, 1), number(&reply, 2)) {
            (Some("OK"), Some(highest), Some(micros)) => {
                shared.saw_epoch(highest as u64);
                shared.redis_clock.sample(micros as u64, sent, shared.clock.now());
                Ok(())
            }
            (Some("PARTITIONS"), Some(theirs), _) => {
                Err(ConnectError::Partitions { theirs, ours: shared.layout.partitions() })
            }
            _ => Err(ConnectError::Failed("the greeting was answered with something unknown".to_owned())),
        }
    }

    /// Runs a script; sends its text when Redis has forgotten it.
    pub async fn run<K: Into<fred::types::Key>>(
        &self,
        script: Script,
        keys: Vec<K>,
        args: Vec<Value>,
    ) -> Result<Vec<Value>, Error> {
        self.shared.commands.one();
        let keys: Vec<fred::types::Key> = keys.into_iter().map(Into::into).collect();
        let first = self.client.evalsha(self.shas[script as usize].as_str(), keys.clone(), args.clone()).await;
        let reply: Result<Value, Error> = match first {
            // Not a replay: a script that is not there has not run.
            Err(error) if error.details().starts_with("NOSCRIPT") => self.client.eval(script.text(), keys, args).await,
            other => other,
        };
        match reply {
            Ok(Value::Array(values)) => Ok(values),
            Ok(_) => Err(Error::new(ErrorKind::Protocol, "a script answered with something unknown")),
            Err(error) => Err(error),
        }
    }

    /// Redis's clock, microseconds. An error when it is not the primary any more.
    pub async fn pulse(&self) -> Result<u64, Error> {
        let reply = self.run(Script::Pulse, vec![self.shared.layout.counter(0)], Vec::new()).await?;
        let unknown = || Error::new(ErrorKind::Protocol, "a pulse was answered with something unknown");
        number(&reply, 1).map(|micros| micros as u64).ok_or_else(unknown)
    }

    /// Ends the connection. Whoever waits for an answer is told by `ended`: fred forgets those whose command came after its own end.
    pub async fn close(&self) {
        self.ended.cancel();
        let _ = timeout(Duration::from_millis(200), self.client.quit()).await;
    }
}

/// The status word of a script's reply.
pub fn status(reply: &[Value]) -> Option<&str> {
    reply.first().and_then(Value::as_bytes).and_then(|bytes| std::str::from_utf8(bytes).ok())
}

/// A number of a script's reply.
pub fn number(reply: &[Value], index: usize) -> Option<i64> {
    reply.get(index).and_then(Value::as_i64)
}

/// The bytes of a reply, without copying them.
pub fn bytes(value: Value) -> Option<Bytes> {
    value.into_bytes()
}

/// The time without an audit after which a deployment counts as gone, so that another number of partitions may follow it.
fn gone_after(max_staleness: Duration) -> Duration {
    (10 * max_staleness).max(Duration::from_secs(30))
}

/// An error in words for people: fred shows the system's errors in Rust's debugging form.
pub fn words(error: &Error) -> String {
    let details = error.details();
    let message = details.split_once("message: \"").and_then(|(_, rest)| rest.split_once('"'));
    message.map_or(details, |(message, _)| message).to_owned()
}

/// A field of INFO.
pub fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}

/// Redis said that it is not, or not yet, the primary: the connection is of no use.
pub fn not_a_primary(error: &Error) -> bool {
    ["READONLY", "LOADING", "MASTERDOWN"].iter().any(|prefix| error.details().starts_with(prefix))
}

fn fred_config(config: &RedisConfig) -> Result<Config, ConnectError> {
    let server = match &config.address {
        Address::Tcp { host, port } => ServerConfig::Centralized { server: Server::new(host.as_str(), *port) },
        Address::Unix { path } => ServerConfig::Unix { path: path.clone() },
    };
    Ok(Config {
        fail_fast: true,
        username: config.username.clone(),
        password: config.password.as_ref().map(|password| {
            use secrecy::ExposeSecret as _;
            password.expose_secret().to_owned()
        }),
        server,
        version: RespVersion::RESP3,
        database: Some(config.database),
        tls: config.tls.as_ref().map(|tls| TlsConnector::Rustls(Arc::new(tls.clone()).into()).into()),
        ..Config::default()
    })
}

fn performance(purpose: Purpose) -> PerformanceConfig {
    let broadcast_channel_capacity = match purpose {
        Purpose::Commands => WAITING_EVENTS,
        Purpose::Subscription => WAITING_MESSAGES,
    };
    PerformanceConfig { broadcast_channel_capacity, ..PerformanceConfig::default() }
}

fn connection(patience: Duration) -> ConnectionConfig {
    ConnectionConfig {
        connection_timeout: patience,
        internal_command_timeout: patience,
        max_command_attempts: 1,
        // Bounding this queue would end fred's routing task; requests in flight are bounded above it.
        max_command_buffer_len: 0,
        tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
        reconnect_errors: vec![ReconnectError::Loading, ReconnectError::MasterDown, ReconnectError::ReadOnly],
        ..ConnectionConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_system_is_said_in_its_own_words() {
        let refused = "Os { code: 111, kind: ConnectionRefused, message: \"Connection refused\" }";
        assert_eq!(words(&Error::new(ErrorKind::IO, refused)), "Connection refused");
        assert_eq!(words(&Error::new(ErrorKind::Auth, "WRONGPASS invalid password")), "WRONGPASS invalid password");
    }

    #[test]
    fn a_field_of_info_is_found_by_its_whole_name() {
        let info = "# Server\r\nredis_version:7.0.15\r\nredis_version_x:1\r\n";
        assert_eq!((field(info, "redis_version"), field(info, "redis")), ("7.0.15", ""));
    }
}
