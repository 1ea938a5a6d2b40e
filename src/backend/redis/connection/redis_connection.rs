//! One connection to a Redis primary, ready for use: authenticated, handshake done, scripts loaded.
//!
//! It is used until it breaks, and then replaced: fred's own reconnection would replay commands.
//! Every command passes here.

use std::sync::Arc;
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::{ClientLike as _, LuaInterface as _};
use fred::prelude::{Error, ErrorKind};
use fred::types::Value;
use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::clock::is_ahead;
use super::context::RedisContext;
use super::direct_trips::{DirectTrips, TripRequest};
use super::fred_client::{ClientTask, Purpose, open_data_client};
use super::large_values::Moved;
use super::primary::Primary;
use super::redis_error::ConnectError;
use super::server_life::{Life, life};
use super::transport::Traffic;
use crate::backend::redis::config::Failover;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::reply::{number, status};
use crate::backend::redis::schema::scripts::Script;
use crate::cache::coherence::safeguards::Safeguard;
use crate::cache::version::Version;

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
    /// Trips beside the client's commands.
    pub trips: DirectTrips,
    shas: Vec<String>,
    context: Arc<RedisContext>,
}

// === impl Connection ===

impl Connection {
    /// Connects to a primary and performs the handshake.
    pub async fn open(primary: &Primary, purpose: Purpose) -> Result<(Connection, ClientTask), ConnectError> {
        let config = &primary.context.config;
        let (client, task) = open_data_client(primary, purpose).await?;
        match timeout(config.connect_timeout, Connection::complete_handshake(client, primary, task.traffic())).await {
            Ok(Ok(greeted)) => Ok((greeted, task)),
            Ok(Err(error)) => Err(task.explain(error)),
            Err(_) => Err(task.timed_out(config.connect_timeout)),
        }
    }

    /// Connects to a primary for reads alone, after an earlier handshake in the same life.
    ///
    /// Sends no write.
    pub async fn open_for_reads(primary: &Primary) -> Result<(Connection, ClientTask), ConnectError> {
        let config = &primary.context.config;
        let (client, task) = open_data_client(primary, Purpose::Commands).await?;
        let opening = async {
            let life = life(&client).await?;
            Connection::load(client, life, primary, task.traffic()).await
        };
        match timeout(config.connect_timeout, opening).await {
            Ok(Ok(connection)) => Ok((connection, task)),
            Ok(Err(error)) => Err(task.explain(error)),
            Err(_) => Err(task.timed_out(config.connect_timeout)),
        }
    }

    async fn complete_handshake(
        client: Client,
        primary: &Primary,
        traffic: Traffic,
    ) -> Result<Connection, ConnectError> {
        let life = life(&client).await?;
        let connection = Connection::load(client, life, primary, traffic).await?;
        connection.handshake(primary, &connection.partitions).await?;
        primary.greeted.store(Some(Arc::new((connection.identity.clone(), connection.term))));
        Ok(connection)
    }

    /// Loads the scripts.
    async fn load(client: Client, life: Life, primary: &Primary, traffic: Traffic) -> Result<Connection, ConnectError> {
        let Life { identity, server_version, .. } = life;
        let mut connection = Connection {
            identity,
            client,
            server_version,
            condemned: CancellationToken::new(),
            ended: CancellationToken::new(),
            partitions: primary.partitions(),
            term: primary.term(),
            moved: traffic.moved,
            trips: traffic.trips,
            shas: Vec::new(),
            context: primary.context.clone(),
        };
        // Concurrently: one round trip.
        let loads = Script::ALL.map(|script| connection.client.script_load(connection.context.script(script)));
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
        let handshakes = self.context.keys.groups(partitions).map(|group| self.handshake_group(primary, group));
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
                self.context.misplaced.notify_one();
                if greeted { Ok(()) } else { Err(ConnectError::Failed(why)) }
            }
        }
    }

    async fn handshake_group(&self, primary: &Primary, group: &[u16]) -> Result<(), ConnectError> {
        let context = &self.context;
        let sent_at = context.clock.now();
        let floors: Vec<Version> = group.iter().map(|partition| context.floor(*partition)).collect();
        let args = vec![
            Value::Bytes(floors.iter().copied().flat_map(codec::version_bytes).collect::<Vec<u8>>().into()),
            self.identity.as_str().into(),
            context.keys.partitions().to_string().into(),
            primary.departed_deployment(group[0], sent_at).unwrap_or_else(|| "none".to_owned()).into(),
            match context.config.failover {
                // A test build may trust entries from before a takeover immediately.
                _ if !context.config.safeguards.on(Safeguard::Repair) => "trust".into(),
                Failover::Repair => "repair".into(),
                Failover::Cold => "cold".into(),
            },
            live_for(context.config.max_staleness).as_micros().to_string().into(),
            context.longest_pause().as_micros().to_string().into(),
            // A test build may omit it.
            if context.config.safeguards.on(Safeguard::Return) {
                primary.term().to_string().into()
            } else {
                "0".into()
            },
        ];
        let reply = self.run(Script::Handshake, context.keys.counters(group), args).await?;
        let unknown = || ConnectError::Failed("unexpected reply to the handshake".to_owned());
        match (status(&reply), number(&reply, 1)) {
            (Some("OK"), Some(micros)) => {
                let positions = reply.get(2).and_then(Value::as_bytes).and_then(codec::decode_versions);
                let positions = positions.filter(|positions| positions.len() == group.len());
                let (micros, positions) = u64::try_from(micros).ok().zip(positions).ok_or_else(unknown)?;
                if let Some(epoch) = positions.iter().map(|at| at.epoch).find(|epoch| is_ahead(*epoch, micros)) {
                    let why = format!("redis answered an epoch ({epoch}) far ahead of its clock");
                    return Err(ConnectError::Failed(why));
                }
                for ((partition, floor), position) in group.iter().zip(floors).zip(positions) {
                    context.lower_floor(*partition, floor, position);
                    context.raise_floor(*partition, position);
                }
                primary.sample_clock(micros, sent_at, context.clock.now());
                Ok(())
            }
            (Some("PARTITIONS"), Some(theirs)) => {
                let audited = reply.get(2).and_then(Value::as_bytes).unwrap_or_default();
                primary.record_foreign(group[0], String::from_utf8_lossy(audited).into_owned(), sent_at);
                Err(ConnectError::Partitions { theirs, ours: context.keys.partitions() })
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
        self.context.commands.inc();
        let keys: Vec<fred::types::Key> = keys.into_iter().map(Into::into).collect();
        let first = self.client.evalsha(self.shas[script as usize].as_str(), keys.clone(), args.clone()).await;
        let reply: Result<Value, Error> = match first {
            // This is no replay: a script that Redis does not know has not run.
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                self.client.eval(self.context.script(script), keys, args).await
            }
            other => other,
        };
        match reply {
            Ok(Value::Array(values)) => Ok(self.without_repairs(values)),
            Ok(_) => Err(Error::new(ErrorKind::Protocol, "unexpected reply to a script")),
            Err(error) => Err(error),
        }
    }

    /// Begins a trip that runs a script with so many names and further arguments, which are added
    /// next.
    pub fn script_trip(&self, script: Script, names: usize, arguments: usize) -> TripRequest {
        let mut request = TripRequest::default();
        request.begin(3 + names + arguments, 0);
        request.argument(b"EVALSHA");
        request.argument(self.shas[script as usize].as_bytes());
        request.number(names as u64);
        request
    }

    /// Runs a script by a trip of [`script_trip`](Self::script_trip).
    ///
    /// `None` if Redis has forgotten the script. It has not run, and is loaded for the next time.
    pub async fn run_trip(&self, script: Script, request: TripRequest) -> Result<Option<Vec<Value>>, Error> {
        self.context.commands.inc();
        match self.trips.exchange(request).await?.pop() {
            Some(Ok(Value::Array(values))) => Ok(Some(values)),
            Some(Err(error)) if error.details().starts_with("NOSCRIPT") => {
                // If this fails, the next run finds it missing again.
                let _ = self.client.script_load::<Value, _>(self.context.script(script)).await;
                Ok(None)
            }
            Some(Err(error)) => Err(error),
            _ => Err(Error::new(ErrorKind::Protocol, "unexpected reply to a script")),
        }
    }

    /// Removes from the reply the names that the script repaired, and logs them.
    fn without_repairs(&self, mut reply: Vec<Value>) -> Vec<Value> {
        if status(&reply) == Some("REPAIRED") && reply.len() >= 2 {
            self.context.damaged_keys.repaired(&reply[1], self.context.clock.now());
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
