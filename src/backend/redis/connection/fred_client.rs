//! A fred client of one connection, without a handshake, and the tasks that carry it.
//!
//! fred does not reconnect it: that would replay commands.

use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::prelude::Error;
use fred::types::RespVersion;
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig, ReconnectError, ServerConfig};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::context::RedisContext;
use super::primary::Primary;
use super::redis_error::{ConnectError, words};
use super::transport;
use super::transport::{Relay, Traffic};
use crate::backend::redis::config::{Address, Credentials, RedisConfig};
use crate::cache::coherence::safeguards::Safeguard;
use crate::units::format_duration;

/// Messages that may wait between the connection and the dispatch.
///
/// More is an overrun, which makes L1 suspect.
const MAX_WAITING_MESSAGES: usize = 8 * 1024;
/// Limit of waiting events of a connection without subscriptions. fred allocates room for as many
/// at the start.
const MAX_WAITING_EVENTS: usize = 8;

/// The purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Reads and writes.
    Commands,
    /// The bus and its audits.
    Subscription,
}

/// The tasks of a client. They end when dropped, and the client with them.
pub struct ClientTask {
    /// fred's own task. Detached, it would keep its connection.
    fred: AbortOnDropHandle<Result<(), Error>>,
    relay: Relay,
}

/// Opens a client of one connection, without a handshake.
pub async fn open_client(
    context: &RedisContext,
    address: &Address,
    credentials: &Credentials,
    database: Option<u8>,
    purpose: Purpose,
) -> Result<(Client, ClientTask), ConnectError> {
    let config = &context.config;
    let connect_timeout = config.connect_timeout;
    let relay = transport::connect(context, address).await.map_err(ConnectError::Failed)?;
    let fred_config = fred_config(&relay, credentials, database).map_err(ConnectError::Failed)?;
    let client = Client::new(fred_config, Some(performance(config, purpose)), Some(connection(connect_timeout)), None);
    let task = ClientTask { fred: AbortOnDropHandle::new(client.connect()), relay };
    match timeout(connect_timeout, client.wait_for_connect()).await {
        Ok(Ok(())) => Ok((client, task)),
        Ok(Err(error)) => Err(task.explain(error.into())),
        Err(_) => Err(task.timed_out(connect_timeout)),
    }
}

/// Opens a client of a data server, in the database of the deployment.
pub async fn open_data_client(primary: &Primary, purpose: Purpose) -> Result<(Client, ClientTask), ConnectError> {
    let url = &primary.context.config.url;
    open_client(&primary.context, &primary.address, &url.credentials, Some(url.database), purpose).await
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

    /// The traffic of the connection beside the client's.
    pub fn traffic(&self) -> Traffic {
        self.relay.traffic.clone()
    }

    /// The error of a server that did not answer within `timeout`.
    pub fn timed_out(&self, timeout: Duration) -> ConnectError {
        self.explain(ConnectError::Failed(format!("no answer within {}", format_duration(timeout))))
    }

    /// Replaces the error by the cause of the end of the server's side, if that is known.
    pub fn explain(&self, error: ConnectError) -> ConnectError {
        match (error, self.cause()) {
            (ConnectError::Failed(_), Some(cause)) => ConnectError::Failed(cause),
            (error, _) => error,
        }
    }
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
        Purpose::Subscription if config.safeguards.on(Safeguard::Lag) => MAX_WAITING_MESSAGES,
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
