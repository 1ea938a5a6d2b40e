//! One connection to a Redis primary, ready for use: authenticated, handshake done, scripts loaded.
//!
//! It is used until it breaks, and then replaced: fred's own reconnection would replay commands.
//! Every command passes here.

use std::sync::Arc;
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::{ClientLike as _, LuaInterface as _};
use fred::prelude::{Error, ErrorKind};
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig, ReconnectError, ServerConfig};
use fred::types::{InfoKind, RespVersion, Value};
use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::context::RedisContext;
use super::large_values::Moved;
use super::primary::Primary;
use super::transport;
use super::transport::Relay;
use crate::backend::redis::config::{Address, Credentials, Failover, RedisConfig};
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::reply::{number, status};
use crate::backend::redis::schema::scripts::Script;
use crate::cache::coherence::safeguards::Safeguard;
use crate::cache::version::Version;
use crate::units::format_duration;

/// Messages that may wait between the connection and the dispatch.
///
/// More is an overrun, which makes L1 suspect.
const MAX_WAITING_MESSAGES: usize = 8 * 1024;
/// Limit of waiting events of a connection without subscriptions. fred allocates room for as many
/// at the start.
const MAX_WAITING_EVENTS: usize = 8;

/// The failure of connecting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// A failure that may pass.
    #[error("{0}")]
    Failed(String),
    /// The server is not, or not yet, the primary of this partition.
    #[error("{0}")]
    Misplaced(String),
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
        if is_misplaced(&error) {
            ConnectError::Misplaced(words(&error))
        } else if lacks_a_right(&error) {
            ConnectError::Failed(format!("{} (docs/redis.md lists the rights this service needs)", words(&error)))
        } else {
            ConnectError::Failed(words(&error))
        }
    }
}

/// The purpose of a connection.
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
    /// Cancelled when the connection must not be used any more: Redis is not the primary, by its
    /// own word or by its answers.
    pub condemned: CancellationToken,
    /// Cancelled when the connection has ended: calls that wait for an answer wait in vain.
    pub ended: CancellationToken,
    /// The partitions of the handshake when it was opened.
    pub partitions: Arc<[u16]>,
    /// [`Primary::term`] at that handshake.
    pub term: u64,
    /// Bytes moved.
    pub moved: Arc<Moved>,
    shas: Vec<String>,
    shared: Arc<RedisContext>,
}

/// The tasks of a client. They end when dropped, and the client with them.
pub struct ClientTask {
    /// fred's own task. Detached, it would keep its connection.
    fred: AbortOnDropHandle<Result<(), Error>>,
    relay: Relay,
}

/// Opens a client of one connection, without a handshake.
pub async fn open_client(
    shared: &RedisContext,
    address: &Address,
    credentials: &Credentials,
    database: Option<u8>,
    purpose: Purpose,
) -> Result<(Client, ClientTask), ConnectError> {
    let config = &shared.config;
    let connect_timeout = config.connect_timeout;
    let relay = transport::connect(shared, address).await.map_err(ConnectError::Failed)?;
    let fred_config = fred_config(&relay, credentials, database).map_err(ConnectError::Failed)?;
    let client = Client::new(fred_config, Some(performance(config, purpose)), Some(connection(connect_timeout)), None);
    let task = ClientTask { fred: AbortOnDropHandle::new(client.connect()), relay };
    match timeout(connect_timeout, client.wait_for_connect()).await {
        Ok(Ok(())) => Ok((client, task)),
        Ok(Err(error)) => Err(task.explain(error.into())),
        Err(_) => Err(task.explain(no_answer(connect_timeout))),
    }
}

/// Opens a client of a data server, in the database of the deployment.
async fn open_data_client(primary: &Primary, purpose: Purpose) -> Result<(Client, ClientTask), ConnectError> {
    let url = &primary.shared.config.url;
    open_client(&primary.shared, &primary.address, &url.credentials, Some(url.database), purpose).await
}

fn no_answer(timeout: Duration) -> ConnectError {
    ConnectError::Failed(format!("no answer within {}", format_duration(timeout)))
}

// === impl ClientTask ===

impl ClientTask {
    /// Waits for the end of the connection. Returns its cause.
    pub async fn ended(&mut self) -> String {
        let words = match (&mut self.fred).await {
            Ok(Err(error)) => words(&error),
            _ => "the connection ended".to_owned(),
        };
        self.cause().unwrap_or(words)
    }

    /// The cause of the end of the server's side, if it ended.
    pub fn cause(&self) -> Option<String> {
        self.relay.cause.get().cloned()
    }

    fn moved(&self) -> Arc<Moved> {
        self.relay.moved.clone()
    }

    /// Replaces the error by the cause of the end of the server's side, if that is known.
    fn explain(&self, error: ConnectError) -> ConnectError {
        match (error, self.cause()) {
            (ConnectError::Failed(_), Some(cause)) => ConnectError::Failed(cause),
            (error, _) => error,
        }
    }
}

// === impl Connection ===

impl Connection {
    /// Connects to a primary and performs the handshake.
    pub async fn open(primary: &Primary, purpose: Purpose) -> Result<(Connection, ClientTask), ConnectError> {
        let config = &primary.shared.config;
        let (client, task) = open_data_client(primary, purpose).await?;
        match timeout(config.connect_timeout, Connection::complete_handshake(client, primary, task.moved())).await {
            Ok(Ok(greeted)) => Ok((greeted, task)),
            Ok(Err(error)) => Err(task.explain(error)),
            Err(_) => Err(task.explain(no_answer(config.connect_timeout))),
        }
    }

    /// Connects to a primary for reads alone, after an earlier handshake in the same life.
    ///
    /// Sends no write.
    pub async fn open_for_reads(primary: &Primary) -> Result<(Connection, ClientTask), ConnectError> {
        let config = &primary.shared.config;
        let (client, task) = open_data_client(primary, Purpose::Commands).await?;
        let opening = async {
            let life = life(&client).await?;
            Connection::load(client, life, primary, task.moved()).await
        };
        match timeout(config.connect_timeout, opening).await {
            Ok(Ok(connection)) => Ok((connection, task)),
            Ok(Err(error)) => Err(task.explain(error)),
            Err(_) => Err(task.explain(no_answer(config.connect_timeout))),
        }
    }

    async fn complete_handshake(
        client: Client,
        primary: &Primary,
        moved: Arc<Moved>,
    ) -> Result<Connection, ConnectError> {
        let life = life(&client).await?;
        let connection = Connection::load(client, life, primary, moved).await?;
        connection.handshake(primary, &connection.partitions).await?;
        primary.greeted.store(Some(Arc::new((connection.identity.clone(), connection.term))));
        Ok(connection)
    }

    /// Loads the scripts.
    async fn load(
        client: Client,
        life: Life,
        primary: &Primary,
        moved: Arc<Moved>,
    ) -> Result<Connection, ConnectError> {
        let Life { identity, server_version, .. } = life;
        let mut connection = Connection {
            identity,
            client,
            server_version,
            condemned: CancellationToken::new(),
            ended: CancellationToken::new(),
            partitions: primary.partitions(),
            term: primary.term(),
            moved,
            shas: Vec::new(),
            shared: primary.shared.clone(),
        };
        // Concurrently: one round trip.
        let loads = Script::ALL.map(|script| connection.client.script_load(connection.shared.script(script)));
        connection.shas = join_all(loads).await.into_iter().collect::<Result<_, Error>>()?;
        Ok(connection)
    }

    /// Repeats the handshake for partitions that are new here or of another life, if the server is
    /// still in its own.
    pub async fn repeat_handshake(&self, primary: &Primary) -> Result<(), ConnectError> {
        if life(&self.client).await?.identity != self.identity {
            return Err(ConnectError::Failed("redis began another life".to_owned()));
        }
        let term = primary.term();
        self.handshake(primary, &primary.partitions()).await?;
        primary.greeted.store(Some(Arc::new((self.identity.clone(), term))));
        Ok(())
    }

    /// Performs the handshake for `partitions`.
    ///
    /// Skips a partition that is moving to another primary.
    async fn handshake(&self, primary: &Primary, partitions: &[u16]) -> Result<(), ConnectError> {
        let handshakes = self.shared.layout.groups(partitions).map(|group| self.handshake_group(primary, group));
        let mut moved = None;
        let mut greeted = false;
        for handshake in join_all(handshakes).await {
            match handshake {
                Ok(()) => greeted = true,
                Err(ConnectError::Misplaced(why)) => moved = Some(why),
                Err(error) => return Err(error),
            }
        }
        match moved {
            None => Ok(()),
            Some(why) => {
                self.shared.misplaced.notify_one();
                if greeted { Ok(()) } else { Err(ConnectError::Failed(why)) }
            }
        }
    }

    async fn handshake_group(&self, primary: &Primary, group: &[u16]) -> Result<(), ConnectError> {
        let shared = &self.shared;
        let sent_at = shared.clock.now();
        let floors: Vec<Version> = group.iter().map(|partition| shared.floor(*partition)).collect();
        let args = vec![
            Value::Bytes(floors.iter().copied().flat_map(codec::version_bytes).collect::<Vec<u8>>().into()),
            self.identity.as_str().into(),
            shared.layout.partitions().to_string().into(),
            primary.departed_deployment(group[0], sent_at).unwrap_or_else(|| "none".to_owned()).into(),
            match shared.config.failover {
                // A test build may trust entries from before a takeover immediately.
                _ if !shared.config.protections.on(Safeguard::Repair) => "trust".into(),
                Failover::Repair => "repair".into(),
                Failover::Cold => "cold".into(),
            },
            live_for(shared.config.max_staleness).as_micros().to_string().into(),
            shared.longest_pause().as_micros().to_string().into(),
            // A test build may omit it.
            if shared.config.protections.on(Safeguard::Return) {
                primary.term().to_string().into()
            } else {
                "0".into()
            },
        ];
        let reply = self.run(Script::Handshake, shared.layout.counters(group), args).await?;
        let unknown = || ConnectError::Failed("unexpected reply to the handshake".to_owned());
        match (status(&reply), number(&reply, 1)) {
            (Some("OK"), Some(micros)) => {
                let positions = reply.get(2).and_then(Value::as_bytes).and_then(codec::decode_versions);
                let positions = positions.filter(|positions| positions.len() == group.len());
                let (micros, positions) = u64::try_from(micros).ok().zip(positions).ok_or_else(unknown)?;
                for ((partition, floor), position) in group.iter().zip(floors).zip(positions) {
                    shared.lower_floor(*partition, floor, position);
                    shared.raise_floor(*partition, position);
                }
                primary.sample_clock(micros, sent_at, shared.clock.now());
                Ok(())
            }
            (Some("PARTITIONS"), Some(theirs)) => {
                let audited = reply.get(2).and_then(Value::as_bytes).unwrap_or_default();
                primary.record_foreign(group[0], String::from_utf8_lossy(audited).into_owned(), sent_at);
                Err(ConnectError::Partitions { theirs, ours: shared.layout.partitions() })
            }
            _ => Err(unknown()),
        }
    }

    /// Runs a script. Sends its text if Redis has forgotten it.
    pub async fn run<K: Into<fred::types::Key>>(
        &self,
        script: Script,
        keys: Vec<K>,
        args: Vec<Value>,
    ) -> Result<Vec<Value>, Error> {
        self.shared.commands.inc();
        let keys: Vec<fred::types::Key> = keys.into_iter().map(Into::into).collect();
        let first = self.client.evalsha(self.shas[script as usize].as_str(), keys.clone(), args.clone()).await;
        let reply: Result<Value, Error> = match first {
            // This is no replay: a script that Redis does not know has not run.
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                self.client.eval(self.shared.script(script), keys, args).await
            }
            other => other,
        };
        match reply {
            Ok(Value::Array(values)) => Ok(self.without_repairs(values)),
            Ok(_) => Err(Error::new(ErrorKind::Protocol, "unexpected reply to a script")),
            Err(error) => Err(error),
        }
    }

    /// Removes from the reply the names that the script repaired, and logs them.
    fn without_repairs(&self, mut reply: Vec<Value>) -> Vec<Value> {
        if status(&reply) == Some("REPAIRED") && reply.len() >= 2 {
            self.shared.damaged_keys.repaired(&reply[1], self.shared.clock.now());
            reply.drain(..2);
        }
        reply
    }

    /// Returns Redis's clock, microseconds. Fails if the server is not the primary any more.
    pub async fn ping(&self) -> Result<u64, Error> {
        let reply = self.run(Script::PingPrimary, Vec::<String>::new(), Vec::new()).await?;
        let unknown = || Error::new(ErrorKind::Protocol, "unexpected reply to a ping");
        number(&reply, 1).and_then(|micros| u64::try_from(micros).ok()).ok_or_else(unknown)
    }

    /// Closes the connection.
    ///
    /// `ended` notifies the calls that wait for an answer: fred forgets those whose command came
    /// after its own end.
    pub async fn close(&self) {
        self.ended.cancel();
        let _ = timeout(Duration::from_millis(200), self.client.quit()).await;
    }
}

/// The time without an audit after which a takeover does not wait for a replica.
fn live_for(max_staleness: Duration) -> Duration {
    (2 * max_staleness).max(Duration::from_secs(10))
}

/// Longest text of a Redis error that is repeated, characters: that of protected mode is a page
/// long.
const MAX_ERROR_CHARS: usize = 200;

/// The text of an error. fred shows the system's errors in Rust's debugging form.
pub fn words(error: &Error) -> String {
    let details = error.details();
    let said = |field| details.split_once(field).and_then(|(_, rest): (_, &str)| rest.split_once('"'));
    let message = said("message: \"").or_else(|| said("error: \""));
    let message = message.map_or(details, |(message, _)| message);
    match message.char_indices().nth(MAX_ERROR_CHARS) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message.to_owned(),
    }
}

/// The value of a field of INFO, or an empty string.
pub fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}

/// Returns true if Redis is not, or not yet, the primary: the connection is of no use.
pub fn not_a_primary(error: &Error) -> bool {
    ["READONLY", "LOADING", "MASTERDOWN"].iter().any(|prefix| error.details().starts_with(prefix))
}

/// Returns true if the user of this service lacks a right for the command, or for one of a script.
fn lacks_a_right(error: &Error) -> bool {
    names_a_missing_right(error.details())
}

/// Returns true if the text of an error says so, in the words of Redis 7.0 or of later servers.
pub fn names_a_missing_right(details: &str) -> bool {
    let in_script = ["The user executing the script can't", "ACL failure in script"];
    details.starts_with("NOPERM") || in_script.iter().any(|words| details.contains(words))
}

/// Returns true if the server is in a Cluster and does not serve this partition, yet or any more.
pub fn is_misplaced(error: &Error) -> bool {
    ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"].iter().any(|word| error.details().starts_with(word))
}

/// The life of a primary.
pub struct Life {
    /// Identifies it among the lives of all servers: a server that becomes a primary after it was a
    /// replica has a new second replication id.
    ///
    /// One that was replaced and comes back before it became a replica has the same identity: see
    /// [`RedisContext::floor`] and [`Primary::term`].
    pub identity: String,
    /// Version of the server, with its name unless it is Redis itself.
    pub server_version: String,
    /// Number of replicas that follow closely, if some are needed to write.
    pub good_replicas: Option<u64>,
}

/// Reads the life of a server. Fails if it is not a primary, or too old.
pub async fn life(client: &Client) -> Result<Life, ConnectError> {
    let section = |section| client.info::<String>(Some(section));
    let (server, replication) = tokio::join!(section(InfoKind::Server), section(InfoKind::Replication));
    let (server, replication) = (server?, replication?);
    read_life(&server, &replication)
}

fn read_life(server: &str, replication: &str) -> Result<Life, ConnectError> {
    let compatible = field(server, "redis_version");
    if compatible.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0u32) < 7 {
        return Err(ConnectError::Failed(format!("redis 7 or newer is needed, this is {compatible:?}")));
    }
    if field(replication, "role") != "master" {
        return Err(ConnectError::Misplaced("this redis is a replica, not the primary".to_owned()));
    }
    let past = ["master_replid2", "second_repl_offset"].map(|name| field(replication, name));
    let identity = format!("{}:{}:{}", field(server, "run_id"), past[0], past[1]);
    // Valkey's `redis_version` is the one that it is compatible with.
    let server_version = match field(server, "valkey_version") {
        "" => compatible.to_owned(),
        version => format!("Valkey {version}"),
    };
    Ok(Life { identity, server_version, good_replicas: field(replication, "min_slaves_good_slaves").parse().ok() })
}

fn fred_config(relay: &Relay, credentials: &Credentials, database: Option<u8>) -> Result<Config, String> {
    Ok(Config {
        fail_fast: true,
        username: credentials.username.clone(),
        password: credentials.password()?,
        server: ServerConfig::Unix { path: relay.socket.clone() },
        version: RespVersion::RESP3,
        database,
        ..Config::default()
    })
}

fn performance(config: &RedisConfig, purpose: Purpose) -> PerformanceConfig {
    let broadcast_channel_capacity = match purpose {
        Purpose::Commands => MAX_WAITING_EVENTS,
        Purpose::Subscription if config.protections.on(Safeguard::Lag) => MAX_WAITING_MESSAGES,
        // Makes a test build overrun.
        Purpose::Subscription => MAX_WAITING_EVENTS,
    };
    PerformanceConfig { broadcast_channel_capacity, ..PerformanceConfig::default() }
}

fn connection(timeout: Duration) -> ConnectionConfig {
    ConnectionConfig {
        connection_timeout: timeout,
        internal_command_timeout: timeout,
        max_command_attempts: 1,
        // Bounding this queue would end fred's routing task; requests in flight are bounded above
        // it.
        max_command_buffer_len: 0,
        reconnect_errors: vec![ReconnectError::Loading, ReconnectError::MasterDown, ReconnectError::ReadOnly],
        ..ConnectionConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_of_redis_is_cut() {
        let page = format!("DENIED {}", "protected mode ".repeat(60));
        let cut = words(&Error::new(ErrorKind::Auth, page));
        assert!(cut.starts_with("DENIED protected mode") && cut.ends_with("..."), "{cut}");
        assert_eq!(cut.chars().count(), MAX_ERROR_CHARS + 3);
    }

    #[test]
    fn an_error_of_the_system_is_said_in_its_own_words() {
        let refused = "Os { code: 111, kind: ConnectionRefused, message: \"Connection refused\" }";
        assert_eq!(words(&Error::new(ErrorKind::IO, refused)), "Connection refused");
        let unknown = "Custom { kind: Uncategorized, error: \"failed to lookup address information: Name or service not known\" }";
        let said = words(&Error::new(ErrorKind::IO, unknown));
        assert_eq!(said, "failed to lookup address information: Name or service not known");
        assert_eq!(words(&Error::new(ErrorKind::Auth, "WRONGPASS invalid password")), "WRONGPASS invalid password");
    }

    #[test]
    fn a_missing_right_is_told_from_other_errors_by_any_server() {
        for missing in [
            "NOPERM this user has no permissions to run the 'get' command",
            "ERR The user executing the script can't run this command or subcommand script: 36fa, on @user_script:1.",
            "ERR ACL failure in script: User u has no permissions to run the 'hset' command script: 36fa, on @user_script:1.",
            "ERR ACL failure in script: No permissions to access a channel script: on @user_script:1.",
        ] {
            assert!(names_a_missing_right(missing), "{missing}");
        }
        assert!(!names_a_missing_right("WRONGTYPE Operation against a key holding the wrong kind of value"));
    }

    #[test]
    fn a_server_is_known_by_its_own_version() {
        let replication = "role:master\r\nmaster_replid2:00\r\nsecond_repl_offset:-1\r\n";
        let redis = read_life("redis_version:8.2.3\r\nrun_id:a\r\n", replication).expect("new enough");
        assert_eq!((redis.identity.as_str(), redis.server_version.as_str()), ("a:00:-1", "8.2.3"));
        let valkey = "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\nrun_id:b\r\n";
        assert_eq!(read_life(valkey, replication).expect("new enough").server_version, "Valkey 9.1.2");
        let old = read_life("redis_version:6.2.1\r\n", replication).err();
        assert_eq!(old, Some(ConnectError::Failed("redis 7 or newer is needed, this is \"6.2.1\"".to_owned())));
    }

    #[test]
    fn a_field_of_info_is_found_by_its_whole_name() {
        let info = "# Server\r\nredis_version:7.0.15\r\nredis_version_x:1\r\n";
        assert_eq!((field(info, "redis_version"), field(info, "redis")), ("7.0.15", ""));
    }
}
