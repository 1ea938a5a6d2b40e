//! The subscription: delivers every partition's messages and audits itself. The audit's script is sent on the subscription's own
//! connection, and its echo comes back as a message, behind every message that was published before it.

use std::sync::Arc;
use std::time::Duration;

use fred::interfaces::{EventInterface as _, PubsubInterface as _};
use fred::prelude::Error;
use fred::types::{Message as Received, Value};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::codec;
use super::connection::{ConnectError, Connection, Purpose, Shared, number, status, words};
use super::health::Health;
use super::link::Backoff;
use super::scripts::Script;
use crate::cache::coherence::AUDITS_PER_BOUND;
use crate::cache::coherence::message::BusSink;
use crate::cache::stats::Histogram;
use crate::cache::tier::BoxFuture;

/// Shortest time without an echo after which a subscription is thrown away.
const SHORTEST_SILENCE: Duration = Duration::from_millis(500);

/// The subscription of one replica.
pub struct Bus {
    shared: Arc<Shared>,
    health: Arc<Health>,
    sink: Arc<dyn BusSink>,
    echo_channel: String,
    /// Time from publishing to dispatch.
    pub lag: Histogram,
}

/// The answer of an audit's script; its echo comes apart from it.
type Audit = BoxFuture<'static, Result<Vec<Value>, Error>>;

// === impl Bus ===

impl Bus {
    /// Not subscribed yet: `run` has to run.
    pub fn new(shared: Arc<Shared>, health: Arc<Health>, sink: Arc<dyn BusSink>) -> Bus {
        let echo_channel = shared.layout.echo_channel(shared.replica);
        Bus { shared, health, sink, echo_channel, lag: Histogram::default() }
    }

    /// Keeps the subscription until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        while !stop.is_cancelled() {
            match self.subscribe_once(&stop, &mut backoff).await {
                Ok(()) => return,
                Err(ConnectError::Failed(why)) => self.health.subscription_fails(&why),
                Err(error @ ConnectError::Partitions { .. }) => self.health.halt(&error.to_string()),
            }
            tokio::select! {
                () = sleep(backoff.next()) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// One subscription, from connecting to its end. Ok: `stop`.
    async fn subscribe_once(&self, stop: &CancellationToken, backoff: &mut Backoff) -> Result<(), ConnectError> {
        let (connection, handle) = tokio::select! {
            opened = Connection::open(&self.shared, Purpose::Subscription) => opened?,
            () = stop.cancelled() => return Ok(()),
        };
        self.health.agreed();
        let abort = handle.abort_handle();
        let connection = Arc::new(connection);
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = handle => Err(ConnectError::Failed(match ended {
                Ok(Err(error)) => words(&error),
                _ => "the subscription's connection ended".to_owned(),
            })),
            error = self.deliver(&connection, backoff) => Err(error),
        };
        self.sink.disconnected();
        connection.close().await;
        abort.abort();
        ended
    }

    /// Delivers messages and sends audits until something is wrong.
    async fn deliver(&self, connection: &Arc<Connection>, backoff: &mut Backoff) -> ConnectError {
        let mut messages = connection.client.message_rx();
        let mut channels: Vec<String> =
            (0..self.shared.layout.partitions()).map(|partition| self.shared.layout.channel(partition)).collect();
        channels.push(self.echo_channel.clone());
        // That this returns says nothing; the echo of the first audit says that the subscription stands.
        if let Err(error) = connection.client.subscribe(channels).await {
            return error.into();
        }
        let max_staleness = self.shared.config.max_staleness;
        let silence = (max_staleness / 2).max(SHORTEST_SILENCE);
        let mut ticks = interval(max_staleness / AUDITS_PER_BOUND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut audit: Option<Audit> = None;
        let mut last_echo = Instant::now();
        loop {
            tokio::select! {
                received = messages.recv() => match self.dispatch(received, &mut messages) {
                    Dispatched::Echo => {
                        last_echo = Instant::now();
                        *backoff = Backoff::default();
                        self.health.subscription_works();
                    }
                    Dispatched::Message => {}
                    Dispatched::Closed => return ConnectError::Failed("the subscription was closed".to_owned()),
                },
                reply = async { audit.as_mut().expect("guarded").await }, if audit.is_some() => {
                    audit = None;
                    if let Err(error) = self.check_reply(reply) {
                        return error;
                    }
                }
                _ = ticks.tick() => {
                    if last_echo.elapsed() > silence {
                        return ConnectError::Failed(format!("no echo came back through the subscription for {silence:?}"));
                    }
                    if audit.is_none() {
                        audit = Some(self.audit(connection));
                    }
                }
            }
        }
    }

    fn audit(&self, connection: &Arc<Connection>) -> Audit {
        let shared = &self.shared;
        let nonce = self.sink.audit_begins();
        let args = vec![
            shared.floor().to_string().into(),
            connection.identity.as_str().into(),
            shared.layout.partitions().to_string().into(),
            self.echo_channel.as_str().into(),
            Value::Bytes(codec::echo_head().into()),
            Value::Bytes(nonce.to_be_bytes().to_vec().into()),
        ];
        let (connection, counters) = (connection.clone(), shared.layout.counters());
        Box::pin(async move { connection.run(Script::Audit, counters, args).await })
    }

    fn check_reply(&self, reply: Result<Vec<Value>, Error>) -> Result<(), ConnectError> {
        let reply = reply?;
        match (status(&reply), number(&reply, 1)) {
            (Some("OK"), _) => {
                self.health.agreed();
                Ok(())
            }
            (Some("PARTITIONS"), Some(theirs)) => {
                Err(ConnectError::Partitions { theirs, ours: self.shared.layout.partitions() })
            }
            _ => Err(ConnectError::Failed("an audit was answered with something unknown".to_owned())),
        }
    }

    fn dispatch(&self, received: Result<Received, RecvError>, messages: &mut Receiver<Received>) -> Dispatched {
        let message = match received {
            Ok(message) => message,
            Err(RecvError::Lagged(lost)) => {
                tracing::warn!(lost, waiting = messages.len(), "bus: overran; memory is suspect until the next echo");
                self.sink.overran();
                return Dispatched::Message;
            }
            Err(RecvError::Closed) => return Dispatched::Closed,
        };
        let bytes = message.value.into_bytes().unwrap_or_default();
        if *message.channel == *self.echo_channel {
            return match codec::decode_echo(&bytes) {
                Some((nonce, echo)) => {
                    echo.positions.iter().for_each(|(_, position)| self.shared.saw_epoch(position.epoch));
                    if self.sink.echo(nonce, echo) { Dispatched::Echo } else { Dispatched::Message }
                }
                None => self.undecodable(&message.channel),
            };
        }
        match codec::decode_message(&bytes, self.shared.replica) {
            Some((message, published)) => {
                self.lag.observe(self.shared.redis_clock.age(published, self.shared.clock.now()));
                self.sink.apply(message);
                Dispatched::Message
            }
            None => self.undecodable(&message.channel),
        }
    }

    fn undecodable(&self, channel: &str) -> Dispatched {
        tracing::warn!(channel, "bus: a message could not be read; memory is suspect until the next echo");
        self.sink.undecodable();
        Dispatched::Message
    }
}

enum Dispatched {
    Message,
    Echo,
    Closed,
}
