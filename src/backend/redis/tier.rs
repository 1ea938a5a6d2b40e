//! The shared tier: reads in one pipelined trip, writes and invalidations in one script each.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fred::interfaces::{HashesInterface as _, KeysInterface as _};
use fred::prelude::{Error, FredResult};
use fred::types::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::call::{Calls, Failure, refused, refused_at_once};
use super::codec;
use super::connection::{bytes, number, status};
use super::fleet::Fleet;
use super::health::{Health, HealthReport};
use super::line::Line;
use super::scripts::Script;
use super::shard::Shard;
use super::shared::Shared;
use crate::cache::clock::Moment;
use crate::cache::coherence::protection::Protection;
use crate::cache::coherence::version::Version;
use crate::cache::entry::{Content, Entry, NewEntry};
use crate::cache::key::Key;
use crate::cache::namespace::Namespace;
use crate::cache::stats::Counter;
use crate::cache::tier::{
    BoxFuture, Condition, Current, FleetBarrier, L2, L2Error, L2Report, Read, Removed, ServerReport, Settlement,
    Takeover, Written,
};

/// Longest that replicas are waited for in a takeover, at least.
const SETTLEMENT: Duration = Duration::from_secs(5);
/// Added to the time for which a write's outcome is unknown: for clocks that do not run at quite the same rate.
const CLOCK_SLACK: Duration = Duration::from_millis(50);

/// The shared tier in Redis.
pub struct RedisTier {
    shared: Arc<Shared>,
    health: Arc<Health>,
    calls: Calls,
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
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> RedisTier {
        RedisTier { shared, health, calls, server: Mutex::default(), undecodable: Counter::default(), tasks, stop }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn health(&self) -> &Arc<Health> {
        &self.health
    }

    pub(super) fn calls(&self) -> &Calls {
        &self.calls
    }

    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
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
        let shard = self.calls.shard(partition)?;
        let Some((not_after, uncertainty)) = shard.primary.clock.at(until) else {
            return Err(L2Error::unavailable("not connected to redis"));
        };
        let layout = &self.shared.layout;
        let mut all_keys: Vec<fred::types::Key> = vec![layout.counter(partition).into()];
        all_keys.extend(keys.into_iter().map(fred::types::Key::from));
        let (floor, channel) = (self.shared.floor().to_string(), layout.channel(partition));
        let sent = self.calls.call(&shard, until, |connection| async move {
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
            Ok(reply) => self.read_step(&shard, reply),
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

    fn read_step(&self, shard: &Shard, reply: Vec<Value>) -> Result<Step, L2Error> {
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
                shard.primary.other_life.send_replace(());
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
        let fields = Line::fields(layout.invalidation_field(key.namespace().name()));
        let shard = self.calls.shard(partition)?;
        let begun = self.shared.clock.now();
        self.shared.commands.one();
        let trip = self.calls.call(&shard, until, |connection| async move {
            // The position before the entry, so that an absence is never taken for newer than it is; the time to live before the value.
            let trip = connection.client.pipeline();
            let _: Value = trip.hmget(counter, fields).await?;
            let _: Value = trip.pttl(fred::types::Key::from(name.clone())).await?;
            let _: Value = trip.get(fred::types::Key::from(name)).await?;
            let answers: Vec<FredResult<Value>> = trip.try_all().await;
            match <[_; 3]>::try_from(answers) {
                Ok([line, ttl, value]) => {
                    Ok((Line::read(&line?.convert::<Vec<Option<String>>>()?), ttl?.convert()?, value))
                }
                // A trip that failed as a whole has one answer.
                Err(answers) => Err(answers.into_iter().find_map(Result::err).unwrap_or_else(Error::new_canceled)),
            }
        });
        let (line, ttl, value) = trip.await.map_err(Failure::of_a_read)?;
        Ok(self.read_trip(&shard, &line, ttl, value, begun))
    }

    fn read_trip(&self, shard: &Shard, line: &Line, ttl: i64, value: FredResult<Value>, begun: Moment) -> Read {
        let Some(position) = line.position else {
            // No counter: with it went the order of whatever is there.
            return Read { position: Version::ZERO, entry: None };
        };
        self.shared.saw_epoch(position.epoch);
        let stored = match value {
            Ok(Value::Null) => None,
            Ok(value) => bytes(value).and_then(codec::decode_entry).or_else(|| self.undecodable()),
            Err(_) => self.undecodable(),
        };
        let entry = stored.filter(|entry| line.counts(entry.version) && ttl != GONE).map(|stored| {
            let ttl = u64::try_from(ttl).unwrap_or(u64::MAX).min(stored.ttl_millis);
            Entry {
                version: stored.version,
                content: stored.content,
                content_type: stored.content_type,
                written_at: begun.minus(shard.primary.clock.age(stored.written_micros, begun)),
                expires_at: begun.plus(Duration::from_millis(ttl)),
            }
        });
        Read { position, entry }
    }

    /// Looks at, or goes on with, the settlement of the takeover that began `epoch`.
    async fn settlement(
        &self,
        partition: u16,
        epoch: u64,
        action: &'static str,
        until: Moment,
    ) -> Result<Vec<Value>, L2Error> {
        let patience = SETTLEMENT.max(2 * self.shared.config.max_staleness);
        let args = vec![
            epoch.to_string().into(),
            codec::replica_field(self.shared.replica).into(),
            action.into(),
            patience.as_micros().to_string().into(),
        ];
        let reply = self.calls.ask(Script::Settle, partition, args, until).await?;
        match status(&reply) {
            Some("OK") => Ok(reply),
            _ => Err(L2Error::unavailable("redis began another epoch")),
        }
    }

    async fn read_current(&self, key: &Key, until: Moment) -> Result<Option<Current>, L2Error> {
        let layout = &self.shared.layout;
        let partition = key.as_ref().partition(layout.partitions());
        let (counter, name) = (layout.counter(partition), layout.entry(key.as_ref()));
        let fields = Line::fields(layout.invalidation_field(key.namespace().name()));
        let shard = self.calls.shard(partition)?;
        self.shared.commands.one();
        let trip = self.calls.call(&shard, until, |connection| async move {
            let trip = connection.client.pipeline();
            let _: Value = trip.hmget(counter, fields).await?;
            let _: Value = trip.getrange(fred::types::Key::from(name), 0, codec::HEAD - 1).await?;
            trip.all::<(Vec<Option<String>>, Value)>().await
        });
        let (line, head) = trip.await.map_err(Failure::of_a_read)?;
        let head = bytes(head).and_then(|head| codec::decode_head(&head));
        let Some((version, written_micros)) = head.filter(|(version, _)| Line::read(&line).counts(*version)) else {
            return Ok(None);
        };
        let now = self.shared.clock.now();
        let Some((_, uncertainty)) = shard.primary.clock.at(now) else { return Ok(None) };
        let written_at = now.minus(shard.primary.clock.age(written_micros, now));
        Ok(Some(Current { version, written_at, uncertainty }))
    }

    fn undecodable<T>(&self) -> Option<T> {
        self.undecodable.one();
        None
    }

    fn message(&self, partition: u16, namespace: &str, keys: &[Key], ticket: u64) -> (Vec<u8>, Vec<u8>) {
        let head = codec::message_head(keys.is_empty(), partition, self.shared.replica, ticket);
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
        ticket: u64,
        until: Moment,
    ) -> BoxFuture<'a, Result<Written, L2Error>> {
        Box::pin(async move {
            let layout = &self.shared.layout;
            let partition = key.as_ref().partition(layout.partitions());
            let send = |part: String, until| {
                let message = self.message(partition, key.namespace().name(), std::slice::from_ref(key), ticket);
                let args = vec![
                    layout.invalidation_field(key.namespace().name()).into(),
                    entry.ttl.as_millis().to_string().into(),
                    condition_argument(condition),
                    Value::Bytes(codec::entry_header(entry).into()),
                    Value::Bytes(match &entry.content {
                        Content::Value(value) => value.clone(),
                        Content::KnownAbsent => Bytes::new(),
                    }),
                    part.into(),
                ];
                self.step(Script::Write, partition, vec![layout.entry(key.as_ref())], message, args, until)
            };
            let sent = self.shared.clock.now();
            let mut part = String::new();
            if !self.shared.config.protections.on(Protection::OneStep) {
                part = send("announce".to_owned(), until).await?.position.sequence.to_string();
            }
            let step = match send(part, until).await {
                Err(L2Error::Unavailable { outcome_unknown_for: Some(_), .. })
                    if !self.shared.config.protections.on(Protection::NoRetry) =>
                {
                    send(String::new(), until.plus(Duration::from_secs(1))).await?
                }
                step => step?,
            };
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

    fn remove<'a>(
        &'a self,
        partition: u16,
        keys: &'a [Key],
        ticket: u64,
        until: Moment,
    ) -> BoxFuture<'a, Result<Removed, L2Error>> {
        Box::pin(async move {
            let Some(first) = keys.first() else { return Err(L2Error::unavailable("no keys were named")) };
            let message = self.message(partition, first.namespace().name(), keys, ticket);
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
        ticket: u64,
        until: Moment,
    ) -> BoxFuture<'a, Result<Version, L2Error>> {
        Box::pin(async move {
            let message = self.message(partition, namespace.name(), &[], ticket);
            let field = self.shared.layout.invalidation_field(namespace.name()).into();
            let step = self.step(Script::RemoveNamespace, partition, Vec::new(), message, vec![field], until).await?;
            Ok(step.position)
        })
    }

    fn barrier(&self) -> Box<dyn FleetBarrier + '_> {
        Box::new(Fleet::new(&self.shared, &self.calls))
    }

    fn takeover(&self, partition: u16, epoch: u64, until: Moment) -> BoxFuture<'_, Result<Takeover, L2Error>> {
        Box::pin(async move {
            let reply = self.settlement(partition, epoch, "look", until).await?;
            let prior = reply.get(2).and_then(Value::as_bytes).and_then(|text| std::str::from_utf8(text).ok());
            Ok(prior.and_then(|prior| prior.parse().ok()).map_or(Takeover::Anew, Takeover::From))
        })
    }

    fn settle(
        &self,
        partition: u16,
        epoch: u64,
        settlement: Settlement,
        until: Moment,
    ) -> BoxFuture<'_, Result<bool, L2Error>> {
        Box::pin(async move {
            let action = match settlement {
                Settlement::Repaired => "done",
                Settlement::Forgotten => "drop",
                Settlement::Cold => "cold",
            };
            let reply = self.settlement(partition, epoch, action, until).await?;
            Ok(number(&reply, 1) == Some(1))
        })
    }

    fn current<'a>(&'a self, key: &'a Key, until: Moment) -> BoxFuture<'a, Result<Option<Current>, L2Error>> {
        Box::pin(self.read_current(key, until))
    }

    fn is_behind(&self, partition: u16) {
        tracing::warn!(partition, "redis answered with less than it had announced; connecting anew");
        if let Ok(shard) = self.calls.shard(partition) {
            shard.condemn();
        }
        self.shared.misplaced.notify_one();
    }

    fn report(&self) -> L2Report {
        let HealthReport { state, reason, state_age, server_version } = self.health.report();
        let lag = self.shared.lag.snapshot();
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner).clone();
        server.version = server_version;
        let routes = self.calls.routes();
        let links = || routes.shards.iter().flat_map(|shard| &shard.links);
        L2Report {
            state,
            reason,
            state_age,
            round_trip: links().find_map(|link| link.round_trip()),
            reconnects: links().map(|link| link.reconnects.get()).sum(),
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
