//! Dispatch of what a subscription receives: changes and echoes to coherence, confirmations to the
//! barriers of this replica.

use std::sync::Arc;

use bytes::Bytes;
use fred::types::Message as Received;
use tokio::sync::broadcast::error::RecvError;

use super::foreign_epochs::ForeignEpochs;
use crate::backend::redis::command::spans;
use crate::backend::redis::connection::context::RedisContext;
use crate::backend::redis::connection::primary::Primary;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::codec::{Private, Published, Receiver};
use crate::backend::redis::schema::crypto::{Refusal, RefusedKind};
use crate::cache::invalidation::selector::Selector;
use crate::cache::tier::bus::{BusSink, Echo, Message};

/// Dispatches what one subscription receives.
pub struct Dispatcher {
    primary: Arc<Primary>,
    context: Arc<RedisContext>,
    sink: Arc<dyn BusSink>,
    partitions: Arc<[u16]>,
    epochs: ForeignEpochs,
}

/// The kind of what was dispatched, if something remains to be done.
pub enum Dispatched {
    /// Complete.
    Done,
    /// An echo of the group that begins with this partition.
    Echo(u16),
    /// A confirmation is due to the replica that published the message: channel and bytes.
    Confirm(String, Bytes),
    /// The subscription was closed.
    Closed,
}

// === impl Dispatcher ===

impl Dispatcher {
    /// Creates a dispatcher for a new subscription to `partitions`.
    pub fn new(primary: &Arc<Primary>, sink: &Arc<dyn BusSink>, partitions: &Arc<[u16]>) -> Dispatcher {
        Dispatcher {
            context: primary.context.clone(),
            primary: primary.clone(),
            sink: sink.clone(),
            partitions: partitions.clone(),
            epochs: ForeignEpochs::default(),
        }
    }

    /// Dispatches what was received, while `waiting` messages wait behind it.
    pub fn dispatch(&mut self, received: Result<Received, RecvError>, waiting: usize) -> Dispatched {
        let received = match received {
            Ok(received) => received,
            Err(RecvError::Lagged(lost)) => {
                tracing::warn!(lost, waiting, "bus: overran; memory is suspect until the next echo");
                self.sink.overran(&self.partitions);
                return Dispatched::Done;
            }
            Err(RecvError::Closed) => return Dispatched::Closed,
        };
        let bytes = received.value.into_bytes().unwrap_or_default();
        if !self.context.keys.is_replica_channel(&received.channel, self.context.replica) {
            return self.published(&received.channel, &bytes);
        }
        match codec::decode_private(&bytes, self.receiver()) {
            // Any client may publish here: only the answer to an audit of this replica proves
            // anything.
            Ok(Private::Echo(nonce, _)) if !self.sink.awaits(nonce) => {
                tracing::debug!(nonce, "bus: ignored an echo of no audit");
                Dispatched::Done
            }
            Ok(Private::Echo(nonce, echo)) => self.echo(nonce, echo),
            Ok(Private::Confirmation { ticket, partition, replica }) => {
                self.context.barriers.confirm(ticket, replica, partition);
                Dispatched::Done
            }
            Err(refusal) => self.refused(&received.channel, &self.partitions, refusal),
        }
    }

    /// The receiver of messages: this replica, now.
    fn receiver(&self) -> Receiver<'_> {
        let context = &self.context;
        // Only signed messages have an age to check.
        let now_micros = context.protection.verifies().then(|| self.primary.clock.at_least(context.clock.now()));
        Receiver { replica: context.replica, protection: &context.protection, now_micros: now_micros.flatten() }
    }

    /// Dispatches a message on the channel of a partition.
    fn published(&mut self, channel: &str, bytes: &Bytes) -> Dispatched {
        match codec::decode_message(bytes, self.receiver()) {
            // No clock can have led to it: it is forged, or from before the clock was set back.
            Ok(Published::Change { message, .. }) if !self.may_begin(message.version.epoch) => {
                self.refused(channel, &[message.partition], Refusal::Damaged)
            }
            Ok(Published::Change { message, micros, origin, ticket }) => {
                if self.epochs.record_message(message.partition, message.version.epoch) {
                    self.context.foreign.record(1, channel, self.context.clock.now());
                }
                self.context.lag.observe(self.primary.clock.age(micros, self.context.clock.now()));
                self.apply(message, origin, ticket)
            }
            Ok(Published::Released { namespace, key, failed }) => {
                self.sink.released(&namespace, &key, failed);
                Dispatched::Done
            }
            Err(refusal) => match self.context.keys.partition_of_channel(channel) {
                Some(partition) => self.refused(channel, &[partition], refusal),
                None => self.refused(channel, &self.partitions, refusal),
            },
        }
    }

    fn apply(&self, message: Message, origin: u64, ticket: Option<u64>) -> Dispatched {
        if message.change.selectors().iter().any(|selector| matches!(selector, Selector::Pattern(_))) {
            let namespace = std::str::from_utf8(&message.change.namespace);
            namespace.into_iter().for_each(|namespace| self.context.reclaim_queue.seen(namespace));
        }
        let (own, partition) = (message.own, message.partition);
        spans::apply(&message).in_scope(|| self.sink.apply(message));
        match ticket {
            Some(ticket) if !own => Dispatched::Confirm(
                self.context.keys.replica_channel(partition, origin),
                codec::confirmation(ticket, partition, self.context.replica, origin, &self.context.protection).into(),
            ),
            _ => Dispatched::Done,
        }
    }

    fn echo(&mut self, nonce: u64, mut echo: Echo) -> Dispatched {
        let first = echo.positions.first().map(|(partition, _)| *partition);
        // A position below the floor is of a life that has ended: the next audit detects that. A
        // position that no clock can have led to is foreign.
        let now = self.context.clock.now();
        let may_begin = |epoch| self.may_begin(epoch);
        echo.positions.retain(|(partition, at)| {
            let floor = self.context.floor(*partition).epoch;
            (at.epoch >= floor || !may_begin(floor)) && may_begin(at.epoch)
        });
        let positions = echo.positions.clone();
        // Only an accepted echo raises a floor: one that is published again does not.
        let (Some(first), true) = (first, self.sink.echo(nonce, echo)) else { return Dispatched::Done };
        for (partition, position) in positions {
            let floor = self.context.floor(partition);
            if !self.may_begin(floor.epoch) {
                self.context.lower_floor(partition, floor, position);
            }
            self.context.raise_floor(partition, position);
            self.primary.clock.echoed(partition, position);
            let foreign = self.epochs.record_echo(partition, position.epoch);
            if foreign > 0 {
                self.context.foreign.record(foreign, &self.context.keys.channel(partition), now);
            }
        }
        Dispatched::Echo(first)
    }

    /// Returns true if an epoch may have begun by Redis's clock.
    fn may_begin(&self, epoch: u64) -> bool {
        self.primary.clock.may_begin(epoch, self.context.clock.now())
    }

    /// Handles a message that cannot be read, or does not verify: it may stand for another one.
    fn refused(&self, channel: &str, partitions: &[u16], refusal: Refusal) -> Dispatched {
        let now = self.context.clock.now();
        self.context.refusals.record(RefusedKind::Message, refusal, now);
        if refusal == Refusal::Damaged
            && let Some(count) = self.context.undecodable_messages.add(1, now)
        {
            tracing::warn!(channel, count, "bus: a message could not be read; memory is suspect until the next echo");
        }
        self.sink.undecodable(partitions);
        Dispatched::Done
    }
}
