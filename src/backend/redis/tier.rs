//! The shared tier: reads in one pipelined trip, writes and invalidations in one script each.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fred::interfaces::{HashesInterface as _, KeysInterface as _};
use fred::prelude::{Error, FredResult};
use fred::types::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bus::Bus;
use super::call::{Calls, Failure, refused, refused_at_once};
use super::codec;
use super::connection::{Connection, Shared, bytes, number, status};
use super::health::Health;
use super::scripts::Script;
use crate::cache::clock::Moment;
use crate::cache::coherence::version::Version;
use crate::cache::entry::{Content, Entry, NewEntry};
use crate::cache::key::Key;
use crate::cache::namespace::Namespace;
use crate::cache::stats::Counter;
use crate::cache::tier::{BoxFuture, Condition, L2, L2Error, L2Report, Read, Removed, ServerReport, Written};

/// Added to the time for which a write's outcome is unknown: for clocks that do not run at quite the same rate.
const CLOCK_SLACK: Duration = Duration::from_millis(50);

/// The shared tier in Redis.
pub struct RedisTier {
    shared: Arc<Shared>,
    health: Arc<Health>,
    calls: Calls,
    bus: Arc<Bus>,
    server: Mutex<ServerReport>,
    undecodable: Counter,
    tasks: TaskTracker,
    stop: CancellationToken,
}

// === impl RedisTier ===

impl RedisTier {
    pub(super) fn new(
        shared: Arc<Shared>,
        health: Arc<Health>,
        calls: Calls,
        bus: Arc<Bus>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> RedisTier {
        RedisTier { shared, health, calls, bus, server: Mutex::default(), undecodable: Counter::default(), tasks, stop }
    }

    /// A connection that may be used now.
    pub(super) fn connection(&self) -> Option<Arc<Connection>> {
        self.calls.connection()
    }

    pub(super) fn database(&self) -> u8 {
        self.shared.config.database
    }

    pub(super) fn set_server(&self, report: ServerReport) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }

    /// Sends one step of a number line. `args` follow the step's own.
    async fn step(
        &self,
        script: Script,
        partition: u16,
        keys: Vec<Bytes>,
        message: (Vec<u8>, Vec<u8>),
        args: Vec<Value>,
        until: Moment,
    ) -> Result<Step, L2Error> {
        let Some((not_after, uncertainty)) = self.shared.redis_clock.at(until) else {
            let never = || L2Error::unavailable("not connected to redis");
            return Err(self.health.halted().map_or_else(never, L2Error::Halted));
        };
        let layout = &self.shared.layout;
        let mut all_keys: Vec<fred::types::Key> = vec![layout.counter(partition).into()];
        all_keys.extend(keys.into_iter().map(fred::types::Key::from));
        let (floor, channel) = (self.shared.floor().to_string(), layout.channel(partition));
        let sent = self.calls.call(until, |connection| async move {
            let mut all_args: Vec<Value> = vec![
                not_after.to_string().into(),
                floor.into(),
                connection.identity.as_str().into(),
                channel.into(),
                Value::Bytes(message.0.into()),
                Value::Bytes(message.1.into()),
            ];
            all_args.extend(args);
            connection.run(script, all_keys, all_args).await
        });
        match sent.await {
            Ok(reply) => self.read_step(reply),
            Err(Failure::NotSent(error)) => Err(error),
            Err(Failure::Lost(reason)) => {
                let left = until.since(self.shared.clock.now()) + uncertainty + CLOCK_SLACK;
                Err(L2Error::Unavailable { reason, outcome_unknown_for: Some(left) })
            }
            Err(Failure::Refused(error)) => Err(match refused(&error) {
                // A script that failed on its way may have written before it did.
                L2Error::Unavailable { reason, .. } if !refused_at_once(&error) => {
                    L2Error::Unavailable { reason, outcome_unknown_for: Some(CLOCK_SLACK) }
                }
                error => error,
            }),
        }
    }

    fn read_step(&self, reply: Vec<Value>) -> Result<Step, L2Error> {
        let position = match (number(&reply, 1), number(&reply, 2)) {
            (Some(epoch), Some(sequence)) => Version::new(epoch as u64, sequence as u64),
            _ => Version::ZERO,
        };
        match status(&reply) {
            Some("OK") => {
                self.shared.saw_epoch(position.epoch);
                Ok(Step { position, done: true, reply })
            }
            Some("REFUSED") => Ok(Step { position, done: false, reply }),
            Some("LIFE") => {
                self.calls.condemn();
                Err(L2Error::unavailable("redis began another life"))
            }
            Some("LATE") => Err(L2Error::unavailable("the request reached redis too late and was not carried out")),
            _ => Err(L2Error::unavailable("redis answered with something unknown")),
        }
    }

    async fn read_entry(&self, key: &Key, until: Moment) -> Result<Read, L2Error> {
        let layout = &self.shared.layout;
        let partition = key.as_ref().partition(layout.partitions());
        let (counter, name) = (layout.counter(partition), layout.entry(key.as_ref()));
        let fields = vec!["e".to_owned(), "s".to_owned(), layout.invalidation_field(key.namespace().name())];
        let begun = self.shared.clock.now();
        self.shared.commands.one();
        let trip = self.calls.call(until, |connection| async move {
            // The position before the entry, so that an absence is never taken for newer than it is; the time to live before the value.
            let trip = connection.client.pipeline();
            let _: Value = trip.hmget(counter, fields).await?;
            let _: Value = trip.pttl(fred::types::Key::from(name.clone())).await?;
            let _: Value = trip.get(fred::types::Key::from(name)).await?;
            let answers: Vec<FredResult<Value>> = trip.try_all().await;
            match <[_; 3]>::try_from(answers) {
                Ok([line, ttl, value]) => Ok((line?.convert()?, ttl?.convert()?, value)),
                // A trip that failed as a whole has one answer.
                Err(answers) => Err(answers.into_iter().find_map(Result::err).unwrap_or_else(Error::new_canceled)),
            }
        });
        match trip.await {
            Ok((line, ttl, value)) => Ok(self.read_trip(line, ttl, value, begun)),
            Err(Failure::NotSent(error)) => Err(error),
            Err(Failure::Lost(reason)) => Err(L2Error::unavailable(reason)),
            Err(Failure::Refused(error)) => Err(refused(&error)),
        }
    }

    fn read_trip(&self, line: Vec<Option<u64>>, ttl: i64, value: FredResult<Value>, begun: Moment) -> Read {
        let [Some(epoch), sequence, dead] = line[..] else {
            // No counter: with it went the order of whatever is there.
            return Read { position: Version::ZERO, entry: None };
        };
        self.shared.saw_epoch(epoch);
        let position = Version::new(epoch, sequence.unwrap_or(0));
        let stored = match value {
            Ok(Value::Null) => None,
            Ok(value) => bytes(value).and_then(codec::decode_entry).or_else(|| self.undecodable()),
            Err(_) => self.undecodable(),
        };
        let live = |entry: &codec::StoredEntry| {
            entry.version.epoch == epoch && entry.version.sequence > dead.unwrap_or(0) && ttl != GONE
        };
        let entry = stored.filter(live).map(|stored| {
            let ttl = u64::try_from(ttl).unwrap_or(u64::MAX).min(stored.ttl_millis);
            Entry {
                version: stored.version,
                content: stored.content,
                content_type: stored.content_type,
                written_at: begun.minus(self.shared.redis_clock.age(stored.written_micros, begun)),
                expires_at: begun.plus(Duration::from_millis(ttl)),
            }
        });
        Read { position, entry }
    }

    fn undecodable<T>(&self) -> Option<T> {
        self.undecodable.one();
        None
    }

    fn message(&self, partition: u16, namespace: &str, keys: &[Key]) -> (Vec<u8>, Vec<u8>) {
        let head = codec::message_head(keys.is_empty(), partition, self.shared.replica);
        (head, codec::message_tail(namespace, keys))
    }
}

/// The answer to PTTL for a key that is not there.
const GONE: i64 = -2;

/// A step that Redis carried out or refused.
struct Step {
    position: Version,
    done: bool,
    reply: Vec<Value>,
}

// === impl L2 ===

impl L2 for RedisTier {
    fn read<'a>(&'a self, key: &'a Key, until: Moment) -> BoxFuture<'a, Result<Read, L2Error>> {
        Box::pin(self.read_entry(key, until))
    }

    fn write<'a>(
        &'a self,
        key: &'a Key,
        entry: &'a NewEntry,
        condition: Condition,
        until: Moment,
    ) -> BoxFuture<'a, Result<Written, L2Error>> {
        Box::pin(async move {
            let layout = &self.shared.layout;
            let partition = key.as_ref().partition(layout.partitions());
            let message = self.message(partition, key.namespace().name(), std::slice::from_ref(key));
            let args = vec![
                layout.invalidation_field(key.namespace().name()).into(),
                entry.ttl.as_millis().to_string().into(),
                condition_argument(condition),
                Value::Bytes(codec::entry_header(entry).into()),
                Value::Bytes(match &entry.content {
                    Content::Value(value) => value.clone(),
                    Content::KnownAbsent => Bytes::new(),
                }),
            ];
            let sent = self.shared.clock.now();
            let step =
                self.step(Script::Write, partition, vec![layout.entry(key.as_ref())], message, args, until).await?;
            if !step.done {
                let current = step.reply.into_iter().nth(3).and_then(bytes);
                let current = current.and_then(|version| codec::decode_version(&version));
                return Ok(Written::Refused { current, position: step.position });
            }
            Ok(Written::Stored(Entry {
                version: step.position,
                content: entry.content.clone(),
                content_type: entry.content_type.clone(),
                written_at: sent,
                expires_at: sent.plus(entry.ttl),
            }))
        })
    }

    fn remove<'a>(&'a self, partition: u16, keys: &'a [Key], until: Moment) -> BoxFuture<'a, Result<Removed, L2Error>> {
        Box::pin(async move {
            let Some(first) = keys.first() else { return Err(L2Error::unavailable("no keys were named")) };
            let message = self.message(partition, first.namespace().name(), keys);
            let names = keys.iter().map(|key| self.shared.layout.entry(key.as_ref())).collect();
            let step = self.step(Script::Remove, partition, names, message, Vec::new(), until).await?;
            let removed = number(&step.reply, 3).unwrap_or(0) as u64;
            Ok(Removed { version: step.position, removed })
        })
    }

    fn remove_namespace<'a>(
        &'a self,
        partition: u16,
        namespace: &'a Arc<Namespace>,
        until: Moment,
    ) -> BoxFuture<'a, Result<Version, L2Error>> {
        Box::pin(async move {
            let message = self.message(partition, namespace.name(), &[]);
            let field = self.shared.layout.invalidation_field(namespace.name()).into();
            let step = self.step(Script::RemoveNamespace, partition, Vec::new(), message, vec![field], until).await?;
            Ok(step.position)
        })
    }

    fn is_behind(&self) {
        tracing::warn!("redis answered with less than it had announced; connecting anew");
        self.calls.condemn();
    }

    fn report(&self) -> L2Report {
        let (state, reason, state_age, version) = self.health.report();
        let lag = self.bus.lag.snapshot();
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner).clone();
        server.version = version;
        L2Report {
            state,
            reason,
            state_age,
            round_trip: self.calls.links.iter().find_map(|link| link.round_trip()),
            reconnects: self.calls.links.iter().map(|link| link.reconnects.get()).sum(),
            commands: self.shared.commands.get(),
            errors: self.shared.errors.get(),
            undecodable: self.undecodable.get(),
            bus_lag_p99: (lag.count > 0).then(|| lag.quantile(0.99)),
            server,
        }
    }

    fn halted(&self) -> Option<String> {
        self.health.halted()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.stop.cancel();
            self.tasks.close();
            self.tasks.wait().await;
        })
    }
}

fn condition_argument(condition: Condition) -> Value {
    match condition {
        Condition::None => "".into(),
        Condition::Absent => "absent".into(),
        Condition::Present => "present".into(),
        Condition::Version(version) => Value::Bytes(codec::version_bytes(version).into()),
    }
}
