//! The subscription to one primary: delivers every partition's messages and audits itself.
//!
//! An audit's script is sent on the subscription's own connection. Its echo comes back as a
//! message, behind every message that was published before it.

use std::sync::Arc;

use bytes::Bytes;
use fred::interfaces::{EventInterface as _, PubsubInterface as _};
use fred::prelude::Error;
use fred::types::Value;
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::audit_groups::{AuditGroups, AuditReplies, MIN_ECHO_TIMEOUT};
use super::dispatcher::{Dispatched, Dispatcher};
use crate::backend::redis::connection::context::RedisContext;
use crate::backend::redis::connection::fred_client::Purpose;
use crate::backend::redis::connection::primary::Primary;
use crate::backend::redis::connection::redis_connection::Connection;
use crate::backend::redis::connection::redis_error::{ConnectError, is_misplaced};
use crate::backend::redis::connection::supervisor::Backoff;
use crate::backend::redis::connection::transport::CLOSED;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::scripts::Script;
use crate::cache::coherence::AUDITS_PER_BOUND;
use crate::cache::tier::bus::BusSink;

/// Limit of confirmations in flight.
///
/// Further ones are not sent; their waiters wait until this replica's proof has expired.
const MAX_CONFIRMATIONS_IN_FLIGHT: usize = 1024;

/// The subscription of one replica to one primary.
pub struct Bus {
    primary: Arc<Primary>,
    context: Arc<RedisContext>,
    sink: Arc<dyn BusSink>,
    /// Cancelled at shutdown, when this replica answers no more.
    closing: CancellationToken,
}

// === impl Bus ===

impl Bus {
    /// Creates a subscription. [`Bus::run`] subscribes.
    pub fn new(primary: Arc<Primary>, sink: Arc<dyn BusSink>, closing: CancellationToken) -> Bus {
        Bus { context: primary.context.clone(), primary, sink, closing }
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
                    self.context.misplaced.notify_one();
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
        let partitions = &changes.borrow_and_update().clone();
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
    async fn deliver(
        &self,
        connection: &Arc<Connection>,
        partitions: &Arc<[u16]>,
        backoff: &mut Backoff,
    ) -> ConnectError {
        let mut messages = connection.client.message_rx();
        let mut audits = AuditGroups::new(&self.primary, partitions);
        // Its return proves nothing; the echo of the first audit proves that the subscription
        // works.
        if let Err(error) = self.subscribe(connection, partitions, &mut audits).await {
            return error.into();
        }
        audits.await_echoes();
        let mut ticks = interval(self.context.config.max_staleness / AUDITS_PER_BOUND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut audit: Option<AuditReplies> = None;
        let mut confirmations = FuturesUnordered::new();
        let mut dispatcher = Dispatcher::new(&self.primary, &self.sink, partitions);
        loop {
            tokio::select! {
                received = messages.recv() => match dispatcher.dispatch(received, messages.len()) {
                    Dispatched::Echo(first) => if audits.record_echo(first) {
                        *backoff = Backoff::default();
                        self.primary.health.subscription_works();
                    },
                    Dispatched::Confirm(channel, confirmation) if confirmations.len() < MAX_CONFIRMATIONS_IN_FLIGHT => {
                        confirmations.push(self.publish(connection, channel, confirmation));
                    }
                    Dispatched::Confirm(..) | Dispatched::Done => {}
                    Dispatched::Closed => return ConnectError::Failed("the subscription was closed".to_owned()),
                },
                Some(()) = confirmations.next() => {}
                replies = async { audit.as_mut().expect("guarded").await }, if audit.is_some() => {
                    audit = None;
                    if let Err(error) = audits.check(replies) {
                        return error;
                    }
                }
                _ = ticks.tick() => {
                    if let Err(error) = audits.check_silence() {
                        return error;
                    }
                    if audit.is_none() {
                        audit = Some(audits.send(connection, self.sink.audit_begins(partitions)));
                    }
                }
            }
        }
    }

    async fn subscribe(
        &self,
        connection: &Connection,
        partitions: &[u16],
        audits: &mut AuditGroups,
    ) -> Result<(), Error> {
        let keys = &self.context.keys;
        if !keys.sharded() {
            let channels = partitions.iter().map(|partition| keys.channel(*partition));
            let channels = channels.chain(audits.groups().iter().map(|group| group.echo_channel.clone()));
            return connection.client.subscribe(channels.collect::<Vec<_>>()).await;
        }
        // One channel for each command: fred takes the second confirmation of one for the reply to
        // the next.
        let subscribed = join_all(audits.groups().iter().map(|group| async {
            let channel = keys.channel(group.partitions[0]);
            connection.client.ssubscribe(channel).await?;
            connection.client.ssubscribe(group.echo_channel.as_str()).await
        }));
        let subscribed = subscribed.await;
        for (group, subscribed) in audits.groups_mut().iter_mut().zip(subscribed) {
            match subscribed {
                Err(error) if is_misplaced(&error) => {
                    group.is_refused = true;
                    self.context.misplaced.notify_one();
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// Removes this replica from the registry, so that no barrier waits for it.
    async fn deregister(&self, connection: &Connection, partitions: &[u16]) {
        let deregistered = self.context.keys.groups(partitions).map(|group| {
            let counter = self.context.keys.counter(group[0]);
            connection.run(Script::Deregister, vec![counter], vec![codec::replica_field(self.context.replica).into()])
        });
        let _ = timeout(MIN_ECHO_TIMEOUT, join_all(deregistered)).await;
    }

    async fn publish(&self, connection: &Arc<Connection>, channel: String, message: Bytes) {
        let client = &connection.client;
        let sent: Result<Value, Error> = if self.context.keys.sharded() {
            client.spublish(channel, Value::Bytes(message)).await
        } else {
            client.publish(channel, Value::Bytes(message)).await
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "bus: a confirmation was not sent");
        }
    }
}

/// The end of a subscription that did not fail.
enum Ended {
    Stopped,
    /// The primary serves other partitions: a new subscription follows immediately.
    OtherPartitions,
}

/// Adds the likely cause to the end of a subscription that the server closed without an error.
fn with_likely_cause(why: String) -> String {
    if why == CLOSED { why + "; if this repeats, client-output-buffer-limit pubsub is too small" } else { why }
}
