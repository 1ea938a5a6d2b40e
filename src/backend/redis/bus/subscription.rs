//! The subscription to one primary: delivers every partition's messages and audits itself.
//!
//! An audit's script is sent on the subscription's own connection. Its echo comes back as a
//! message, behind every message that was published before it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::interfaces::{EventInterface as _, PubsubInterface as _};
use fred::prelude::Error;
use fred::types::{Message as Received, Value};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::foreign_epochs::ForeignEpochs;
use crate::backend::redis::command::spans;
use crate::backend::redis::connection::context::RedisContext;
use crate::backend::redis::connection::primary::Primary;
use crate::backend::redis::connection::redis_connection::{ConnectError, Connection, Purpose, is_misplaced};
use crate::backend::redis::connection::supervisor::Backoff;
use crate::backend::redis::connection::transport::CLOSED;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::codec::{Private, Published};
use crate::backend::redis::schema::reply::{number, status};
use crate::backend::redis::schema::scripts::Script;
use crate::cache::coherence::AUDITS_PER_BOUND;
use crate::cache::invalidation::selector::Selector;
use crate::cache::tier::BoxFuture;
use crate::cache::tier::bus::{BusSink, Echo, Message};
use crate::units::format_duration;

/// Shortest time without an echo after which a subscription is closed.
const MIN_ECHO_TIMEOUT: Duration = Duration::from_millis(500);
/// Limit of confirmations in flight.
///
/// Further ones are not sent; their waiters wait until this replica's proof has expired.
const MAX_CONFIRMATIONS_IN_FLIGHT: usize = 1024;

/// The subscription of one replica to one primary.
pub struct Bus {
    primary: Arc<Primary>,
    shared: Arc<RedisContext>,
    sink: Arc<dyn BusSink>,
    /// Cancelled at shutdown, when this replica answers no more.
    closing: CancellationToken,
}

/// The replies of an audit's scripts, by group. The echoes arrive separately.
type Audit = BoxFuture<'static, Vec<Result<Vec<Value>, Error>>>;

/// Partitions that are audited by one script.
struct Group {
    partitions: Arc<[u16]>,
    echo_channel: String,
    /// Start of the wait for the next echo.
    awaiting_since: Instant,
    echoed: bool,
    /// True if one of its channels was refused: its echoes prove nothing.
    is_refused: bool,
}

// === impl Bus ===

impl Bus {
    /// Creates a subscription. [`Bus::run`] subscribes.
    pub fn new(primary: Arc<Primary>, sink: Arc<dyn BusSink>, closing: CancellationToken) -> Bus {
        Bus { shared: primary.shared.clone(), primary, sink, closing }
    }

    /// Keeps the subscription alive until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        let mut partitions = self.primary.watch_partitions();
        while !stop.is_cancelled() {
            match self.subscribe_once(&mut partitions, &stop, &mut backoff).await {
                Ok(Ended::Stopped) => return,
                Ok(Ended::OtherPartitions) => continue,
                Err(ConnectError::Failed(why) | ConnectError::Misplaced(why)) => {
                    self.primary.health.subscription_fails(&why);
                    self.shared.misplaced.notify_one();
                }
                Err(error @ ConnectError::Partitions { .. }) => self.primary.health.halt(&error.to_string()),
            }
            tokio::select! {
                () = sleep(backoff.next()) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Runs one subscription, from connecting to its end.
    async fn subscribe_once(
        &self,
        changes: &mut watch::Receiver<Arc<[u16]>>,
        stop: &CancellationToken,
        backoff: &mut Backoff,
    ) -> Result<Ended, ConnectError> {
        let partitions = &*changes.borrow_and_update().clone();
        let (connection, mut task) = tokio::select! {
            opened = Connection::open(&self.primary, Purpose::Subscription) => opened?,
            () = stop.cancelled() => return Ok(Ended::Stopped),
        };
        self.primary.health.agreed();
        let connection = Arc::new(connection);
        let ended = tokio::select! {
            // In this order: once the primary is dropped, or serves other partitions, no audit is
            // delivered that was not in flight before.
            biased;
            () = stop.cancelled() => Ok(Ended::Stopped),
            _ = changes.changed() => Ok(Ended::OtherPartitions),
            why = task.ended() => Err(ConnectError::Failed(with_likely_cause(why))),
            error = self.deliver(&connection, partitions, backoff) => Err(error),
        };
        self.sink.disconnected(partitions);
        // After a takeover by another primary the replica stays registered: L1 still answers while
        // its proof lasts.
        if self.closing.is_cancelled() {
            self.deregister(&connection, partitions).await;
        }
        connection.close().await;
        ended
    }

    /// Delivers messages and sends audits until the subscription fails.
    async fn deliver(&self, connection: &Arc<Connection>, partitions: &[u16], backoff: &mut Backoff) -> ConnectError {
        let mut messages = connection.client.message_rx();
        let layout = &self.shared.layout;
        let mut groups: Vec<Group> = layout
            .groups(partitions)
            .map(|group| Group {
                partitions: group.into(),
                echo_channel: layout.replica_channel(group[0], self.shared.replica),
                awaiting_since: Instant::now(),
                echoed: false,
                is_refused: false,
            })
            .collect();
        // Its return proves nothing; the echo of the first audit proves that the subscription
        // works.
        if let Err(error) = self.subscribe(connection, partitions, &mut groups).await {
            return error.into();
        }
        groups.iter_mut().for_each(|group| group.awaiting_since = Instant::now());
        let max_staleness = self.shared.config.max_staleness;
        let silence = (max_staleness / 2).max(MIN_ECHO_TIMEOUT);
        let mut ticks = interval(max_staleness / AUDITS_PER_BOUND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut audit: Option<Audit> = None;
        let mut confirmations = FuturesUnordered::new();
        let mut epochs = ForeignEpochs::default();
        loop {
            tokio::select! {
                received = messages.recv() => match self.dispatch(received, &mut messages, partitions, &mut epochs) {
                    Dispatched::Echo(first) => {
                        if let Some(group) = groups.iter_mut().find(|group| !group.is_refused && group.partitions.first() == Some(&first)) {
                            (group.awaiting_since, group.echoed) = (Instant::now(), true);
                        }
                        if groups.iter().all(|group| group.echoed) {
                            *backoff = Backoff::default();
                            self.primary.health.subscription_works();
                        }
                    }
                    Dispatched::Confirm(channel, confirmation) if confirmations.len() < MAX_CONFIRMATIONS_IN_FLIGHT => {
                        confirmations.push(self.publish(connection, channel, confirmation));
                    }
                    Dispatched::Confirm(..) | Dispatched::Message => {}
                    Dispatched::Closed => return ConnectError::Failed("the subscription was closed".to_owned()),
                },
                Some(()) = confirmations.next() => {}
                replies = async { audit.as_mut().expect("guarded").await }, if audit.is_some() => {
                    audit = None;
                    for (group, reply) in groups.iter_mut().zip(replies) {
                        match self.check_reply(reply) {
                            Ok(()) => {}
                            Err(ConnectError::Misplaced(why)) if layout.sharded() => {
                                // The slot is moving to another primary. If it stays, the next
                                // placement restores it.
                                (group.awaiting_since, group.echoed) = (Instant::now(), false);
                                self.shared.misplaced.notify_one();
                                self.primary.health.subscription_fails(&why);
                            }
                            Err(error) => return error,
                        }
                    }
                }
                _ = ticks.tick() => {
                    if let Some(silent) = groups.iter().find(|group| group.awaiting_since.elapsed() > silence) {
                        return silent_for(silence, silent.echoed);
                    }
                    if audit.is_none() {
                        audit = Some(self.audit(connection, partitions, &groups));
                    }
                }
            }
        }
    }

    async fn subscribe(&self, connection: &Connection, partitions: &[u16], groups: &mut [Group]) -> Result<(), Error> {
        let layout = &self.shared.layout;
        if !layout.sharded() {
            let channels = partitions.iter().map(|partition| layout.channel(*partition));
            let channels = channels.chain(groups.iter().map(|group| group.echo_channel.clone()));
            return connection.client.subscribe(channels.collect::<Vec<_>>()).await;
        }
        // One channel for each command: fred takes the second confirmation of one for the reply to
        // the next.
        let subscribed = join_all(groups.iter().map(|group| async {
            let channel = layout.channel(group.partitions[0]);
            connection.client.ssubscribe(channel).await?;
            connection.client.ssubscribe(group.echo_channel.as_str()).await
        }));
        let subscribed = subscribed.await;
        for (group, subscribed) in groups.iter_mut().zip(subscribed) {
            match subscribed {
                Err(error) if is_misplaced(&error) => {
                    group.is_refused = true;
                    self.shared.misplaced.notify_one();
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn audit(&self, connection: &Arc<Connection>, partitions: &[u16], groups: &[Group]) -> Audit {
        let shared = self.shared.clone();
        let nonce = self.sink.audit_begins(partitions);
        let scripts: Vec<_> = groups
            .iter()
            .map(|group| {
                let (connection, counters) = (connection.clone(), shared.layout.counters(&group.partitions));
                let args = vec![
                    shared.floors_argument(&group.partitions),
                    connection.identity.as_str().into(),
                    shared.layout.partitions().to_string().into(),
                    group.echo_channel.as_str().into(),
                    Value::Bytes(codec::echo_head(nonce).into()),
                    Value::Bytes(codec::partition_numbers(&group.partitions).into()),
                    codec::replica_field(shared.replica).into(),
                    shared.longest_pause().as_micros().to_string().into(),
                ];
                async move { connection.run(Script::Audit, counters, args).await }
            })
            .collect();
        Box::pin(join_all(scripts))
    }

    fn check_reply(&self, reply: Result<Vec<Value>, Error>) -> Result<(), ConnectError> {
        let reply = reply?;
        match (status(&reply), number(&reply, 1)) {
            (Some("OK"), _) => {
                self.primary.health.agreed();
                Ok(())
            }
            (Some("PARTITIONS"), Some(theirs)) => {
                Err(ConnectError::Partitions { theirs, ours: self.shared.layout.partitions() })
            }
            (Some("BEHIND"), _) => {
                Err(ConnectError::Failed("redis has older data than before; reconnecting".to_owned()))
            }
            _ => Err(ConnectError::Failed("unexpected reply to an audit".to_owned())),
        }
    }

    /// Removes this replica from the registry, so that no barrier waits for it.
    async fn deregister(&self, connection: &Connection, partitions: &[u16]) {
        let deregistered = self.shared.layout.groups(partitions).map(|group| {
            let counter = self.shared.layout.counter(group[0]);
            connection.run(Script::Deregister, vec![counter], vec![codec::replica_field(self.shared.replica).into()])
        });
        let _ = tokio::time::timeout(MIN_ECHO_TIMEOUT, join_all(deregistered)).await;
    }

    async fn publish(&self, connection: &Arc<Connection>, channel: String, message: Bytes) {
        let client = &connection.client;
        let sent: Result<Value, Error> = if self.shared.layout.sharded() {
            client.spublish(channel, Value::Bytes(message)).await
        } else {
            client.publish(channel, Value::Bytes(message)).await
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "bus: a confirmation was not sent");
        }
    }

    fn dispatch(
        &self,
        received: Result<Received, RecvError>,
        messages: &mut Receiver<Received>,
        partitions: &[u16],
        epochs: &mut ForeignEpochs,
    ) -> Dispatched {
        let received = match received {
            Ok(received) => received,
            Err(RecvError::Lagged(lost)) => {
                tracing::warn!(lost, waiting = messages.len(), "bus: overran; memory is suspect until the next echo");
                self.sink.overran(partitions);
                return Dispatched::Message;
            }
            Err(RecvError::Closed) => return Dispatched::Closed,
        };
        let bytes = received.value.into_bytes().unwrap_or_default();
        if !self.shared.layout.is_replica_channel(&received.channel, self.shared.replica) {
            return match codec::decode_message(&bytes, self.shared.replica) {
                Some(Published::Change { message, micros, origin, ticket }) => {
                    if epochs.record_message(message.partition, message.version.epoch) {
                        self.shared.foreign.record(1, &received.channel, self.shared.clock.now());
                    }
                    self.apply(message, micros, origin, ticket)
                }
                Some(Published::Released { namespace, key, failed }) => {
                    self.sink.released(&namespace, &key, failed);
                    Dispatched::Message
                }
                None => self.undecodable(&received.channel, partitions),
            };
        }
        match codec::decode_private(&bytes) {
            // Any client may publish here: only the answer to an audit of this replica proves
            // anything.
            Some(Private::Echo(nonce, _)) if !self.sink.awaits(nonce) => {
                tracing::debug!(nonce, "bus: ignored an echo of no audit");
                Dispatched::Message
            }
            Some(Private::Echo(nonce, echo)) => self.echo(nonce, echo, epochs),
            Some(Private::Confirmation { ticket, partition, replica }) => {
                self.shared.barriers.confirm(ticket, replica, partition);
                Dispatched::Message
            }
            None => self.undecodable(&received.channel, partitions),
        }
    }

    fn echo(&self, nonce: u64, mut echo: Echo, epochs: &mut ForeignEpochs) -> Dispatched {
        let first = echo.positions.first().map(|(partition, _)| *partition);
        // A position below the floor is of a life that has ended: the next audit detects that. A
        // position that no clock can have led to is foreign.
        let now = self.shared.clock.now();
        echo.positions.retain(|(partition, at)| {
            at.epoch >= self.shared.floor(*partition).epoch && self.primary.clock.may_begin(at.epoch, now)
        });
        let positions = echo.positions.clone();
        // Only an accepted echo raises a floor: one that is published again does not.
        let (Some(first), true) = (first, self.sink.echo(nonce, echo)) else { return Dispatched::Message };
        for (partition, position) in positions {
            self.shared.raise_floor(partition, position);
            self.primary.clock.echoed(partition, position);
            let foreign = epochs.record_echo(partition, position.epoch);
            if foreign > 0 {
                self.shared.foreign.record(foreign, &self.shared.layout.channel(partition), now);
            }
        }
        Dispatched::Echo(first)
    }

    fn apply(&self, message: Message, micros: u64, origin: u64, ticket: Option<u64>) -> Dispatched {
        self.shared.lag.observe(self.primary.clock.age(micros, self.shared.clock.now()));
        if message.change.selectors().iter().any(|selector| matches!(selector, Selector::Pattern(_))) {
            let namespace = std::str::from_utf8(&message.change.namespace);
            namespace.into_iter().for_each(|namespace| self.shared.reclaim_queue.seen(namespace));
        }
        let (own, partition) = (message.own, message.partition);
        spans::apply(&message).in_scope(|| self.sink.apply(message));
        match ticket {
            Some(ticket) if !own => Dispatched::Confirm(
                self.shared.layout.replica_channel(partition, origin),
                codec::confirmation(ticket, partition, self.shared.replica).into(),
            ),
            _ => Dispatched::Message,
        }
    }

    fn undecodable(&self, channel: &str, partitions: &[u16]) -> Dispatched {
        tracing::warn!(channel, "bus: a message could not be read; memory is suspect until the next echo");
        self.sink.undecodable(partitions);
        Dispatched::Message
    }
}

/// The error of a subscription without echoes. fred does not report that SUBSCRIBE was refused.
fn silent_for(silence: Duration, echoed: bool) -> ConnectError {
    let hint =
        if echoed { "" } else { " (may this user subscribe? docs/redis.md lists the rights this service needs)" };
    ConnectError::Failed(format!("no echo came back through the subscription for {}{hint}", format_duration(silence)))
}

/// The end of a subscription that did not fail.
enum Ended {
    Stopped,
    /// The primary serves other partitions: a new subscription follows immediately.
    OtherPartitions,
}

enum Dispatched {
    Message,
    /// An echo of the group that begins with this partition.
    Echo(u16),
    /// A confirmation for the replica that published the message: channel and bytes.
    Confirm(String, Bytes),
    Closed,
}

/// Adds the likely cause to the end of a subscription that the server closed without an error.
fn with_likely_cause(why: String) -> String {
    if why == CLOSED { why + "; if this repeats, client-output-buffer-limit pubsub is too small" } else { why }
}
