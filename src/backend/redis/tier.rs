//! The shared tier: reads in one pipelined trip, writes and invalidations in one script each.

mod board;
mod inspect;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fred::interfaces::{HashesInterface as _, KeysInterface as _};
use fred::prelude::{Error, FredResult};
use fred::types::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::call::{Calls, Failure, refused, refused_at_once};
use super::clock::RedisClock;
use super::codec::{self, Packed, StoredEntry};
use super::connection::{bytes, number, status};
use super::fleet::Fleet;
use super::health::{Health, HealthReport};
use super::line::Line;
use super::packing;
use super::record::{Listed, earlier};
use super::scripts::Script;
use super::selected::{Found, Selected};
use super::shard::Shard;
use super::shared::Shared;
use crate::cache::clock::Moment;
use crate::cache::coherence::protection::Protection;
use crate::cache::coherence::version::Version;
use crate::cache::entry::{Entry, Sliding};
use crate::cache::inspect::Inspected;
use crate::cache::key::{Key, KeyRef};
use crate::cache::namespace::Namespace;
use crate::cache::selector::Selector;
use crate::cache::stats::Counter;
use crate::cache::tier::{
    Acquired, BoxFuture, Claim, Condition, Current, FleetBarrier, L2, L2Error, L2Report, LeaseId, LifeChange, Mode,
    Read, Refusal, Removal, Removed, Return, ServerReport, Settlement, Takeover, Touch, TouchMode, Touched,
    TouchedEntry, Write, Written,
};

/// Longest that replicas are waited for in a takeover, at least.
const SETTLEMENT: Duration = Duration::from_secs(5);
/// How often a step is tried that found other patterns at work than were known.
const LISTS_TRIED: usize = 4;
/// Added to the time for which a write's outcome is unknown: for clocks that do not run at quite the same rate.
const CLOCK_SLACK: Duration = Duration::from_millis(50);

/// The shared tier in Redis.
pub struct RedisTier {
    shared: Arc<Shared>,
    health: Arc<Health>,
    calls: Calls,
    server: Mutex<ServerReport>,
    undecodable: Counter,
    selected: Selected,
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
        let (server, undecodable, selected) = (Mutex::default(), Counter::default(), Selected::new(shared.clone()));
        RedisTier { shared, health, calls, server, undecodable, selected, tasks, stop }
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
    #[expect(clippy::too_many_arguments, reason = "each is a part of the one script call")]
    async fn step(
        &self,
        script: Script,
        partition: u16,
        namespace: &Namespace,
        keys: Vec<Bytes>,
        message_head: Vec<u8>,
        args: Vec<Value>,
        until: Moment,
    ) -> Result<Step, L2Error> {
        self.step_in(script, partition, namespace.name(), keys, message_head, args, until).await
    }

    /// The same in a namespace of that name.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the one script call")]
    pub(super) async fn step_in(
        &self,
        script: Script,
        partition: u16,
        namespace: &str,
        keys: Vec<Bytes>,
        message_head: Vec<u8>,
        args: Vec<Value>,
        until: Moment,
    ) -> Result<Step, L2Error> {
        for _ in 0..LISTS_TRIED {
            let (keys, head, args) = (&keys, message_head.clone(), args.clone());
            match self.try_step(script, partition, namespace, keys, head, args, until).await? {
                Ok(step) => return Ok(step),
                Err(list) => self.saw_list(partition, namespace, list),
            }
        }
        Err(L2Error::unavailable("the patterns at work change all the time"))
    }

    /// A list of patterns at work was seen.
    pub(super) fn saw_list(&self, partition: u16, namespace: &str, list: Listed) {
        self.selected.saw(partition, namespace, list);
    }

    /// The same, unless other patterns are at work than those known: then nothing was done.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the one script call")]
    async fn try_step(
        &self,
        script: Script,
        partition: u16,
        namespace: &str,
        keys: &[Bytes],
        message_head: Vec<u8>,
        args: Vec<Value>,
        until: Moment,
    ) -> Result<Result<Step, Listed>, L2Error> {
        let shard = self.calls.shard(partition)?;
        let Some((not_after, uncertainty)) = shard.primary.clock.at(until) else {
            return Err(L2Error::unavailable("not connected to redis"));
        };
        let layout = &self.shared.layout;
        let mut all_keys: Vec<fred::types::Key> = vec![layout.counter(partition).into()];
        all_keys.extend(keys.iter().cloned().map(fred::types::Key::from));
        let (floor, channel) = (self.shared.floor().to_string(), layout.channel(partition));
        let (mut named, invalidation) = (codec::named(namespace), layout.invalidation_field(namespace));
        named.extend(self.selected.knowledge(partition, namespace, keys));
        let sent = self.calls.call(&shard, until, |connection| async move {
            let mut all_args: Vec<Value> = vec![
                not_after.to_string().into(),
                floor.into(),
                connection.identity.as_str().into(),
                channel.into(),
                Value::Bytes(message_head.into()),
                Value::Bytes(named.into()),
                invalidation.into(),
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

    fn read_step(&self, shard: &Shard, reply: Vec<Value>) -> Result<Result<Step, Listed>, L2Error> {
        let position = match (number(&reply, 1), number(&reply, 2)) {
            (Some(epoch), Some(sequence)) => Version::new(epoch as u64, sequence as u64),
            _ => Version::ZERO,
        };
        match status(&reply) {
            Some("OK") => {
                self.shared.saw_epoch(position.epoch);
                Ok(Ok(Step { position, reply }))
            }
            Some("PATTERNS") => {
                let list = reply.into_iter().nth(3).and_then(bytes).and_then(|bytes| Listed::read(&bytes));
                list.map(Err).ok_or(L2Error::unavailable("redis answered with something unknown"))
            }
            Some("FULL") => {
                let limit = number(&reply, 3).unwrap_or(0).max(0) as usize;
                Err(L2Error::TooMany { what: "patterns at work", limit })
            }
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
                Ok([line, ttl, value]) => Ok((Line::read(line?.into_array()), ttl?.convert()?, value)),
                // A trip that failed as a whole has one answer.
                Err(answers) => Err(answers.into_iter().find_map(Result::err).unwrap_or_else(Error::new_canceled)),
            }
        });
        let (line, ttl, value) = trip.await.map_err(Failure::of_a_read)?;
        let read = self.found(&shard, key.as_ref(), &line, ttl, value, begun, until).await;
        self.saw_patterns(partition, key.namespace().name(), line);
        read
    }

    /// What a trip found of a key.
    #[expect(clippy::too_many_arguments, reason = "each is a part of what the trip brought")]
    pub(super) async fn found(
        &self,
        shard: &Shard,
        key: KeyRef<'_>,
        line: &Line,
        ttl: i64,
        value: FredResult<Value>,
        begun: Moment,
        until: Moment,
    ) -> Result<Read, L2Error> {
        let Some(position) = line.position else {
            // No counter: with it went the order of whatever is there.
            return Ok(Read { position: Version::ZERO, entry: None });
        };
        self.shared.saw_epoch(position.epoch);
        let mut read = Read { position, entry: None };
        if let Some(mut stored) = self.read_stored(value).filter(|_| ttl != GONE) {
            let StoredEntry { version, written_micros, tags, .. } = &stored;
            let found = Found { version: *version, written_micros: *written_micros, tags };
            if let Some(since) = self.selected.coverage(&self.calls, key, line, found, until).await? {
                stored.marked_micros = earlier(stored.marked_micros, since);
                // What is marked and not kept to be answered stale is gone.
                if since == 0 || stored.window_millis > 0 {
                    let unpacked = packing::unpack(stored, self.shared.config.value_size).await;
                    let unpacked = unpacked.or_else(|| self.undecodable());
                    read.entry = unpacked.map(|stored| entry_at(&shard.primary.clock, stored, ttl, begun));
                }
            }
        }
        Ok(read)
    }

    /// Remembers the patterns at work that a trip found.
    pub(super) fn saw_patterns(&self, partition: u16, namespace: &str, line: Line) {
        if !line.record.listed.patterns.is_empty() {
            self.selected.saw(partition, namespace, line.record.listed);
        }
    }

    fn read_stored(&self, value: FredResult<Value>) -> Option<StoredEntry> {
        match value {
            Ok(Value::Null) => None,
            Ok(value) => bytes(value).and_then(codec::decode_entry).or_else(|| self.undecodable()),
            Err(_) => self.undecodable(),
        }
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
            trip.all::<(Vec<Value>, Value)>().await
        });
        let (line, head) = trip.await.map_err(Failure::of_a_read)?;
        let Some((version, written_micros, tags)) = bytes(head).and_then(|head| codec::decode_head(&head)) else {
            return Ok(None);
        };
        let found = Found { version, written_micros, tags: &tags };
        if self.selected.coverage(&self.calls, key.as_ref(), &Line::read(line), found, until).await?.is_none() {
            return Ok(None);
        }
        let now = self.shared.clock.now();
        let Some((_, uncertainty)) = shard.primary.clock.at(now) else { return Ok(None) };
        let written_at = now.minus(shard.primary.clock.age(written_micros, now));
        Ok(Some(Current { version, written_at, uncertainty }))
    }

    fn undecodable<T>(&self) -> Option<T> {
        self.undecodable.one();
        None
    }

    async fn write_entries(
        &self,
        partition: u16,
        writes: &[Write],
        ticket: u64,
        until: Moment,
    ) -> Result<Vec<Written>, L2Error> {
        let Some(first) = writes.first() else { return Ok(Vec::new()) };
        let namespace = first.key.namespace();
        let mut values = Vec::with_capacity(writes.len());
        for write in writes {
            values.push(packing::pack(write).await);
        }
        let send = |part: String, until| {
            let mut args = vec![part.into()];
            let mut names = Vec::with_capacity(2 * writes.len());
            for (write, value) in writes.iter().zip(&values) {
                self.add_write(write, value, &mut names, &mut args);
            }
            let head = codec::message_head(false, partition, self.shared.replica, ticket);
            self.step(Script::Write, partition, namespace, names, head, args, until)
        };
        let sent = self.shared.clock.now();
        let mut part = match (namespace.policy().immutable, ticket) {
            (false, _) => "",
            (true, 0) => "quiet",
            // The fleet confirms what it was told.
            (true, _) => "once",
        }
        .to_owned();
        if part.is_empty() && !self.shared.config.protections.on(Protection::OneStep) {
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
        let position = step.position;
        let results = step.reply.into_iter().nth(3).map(|results| results.into_array()).unwrap_or_default();
        let written = writes.iter().zip(results).map(|(write, result)| {
            let result = result.into_array();
            let (outcome, repeated) = (number(&result, 0).unwrap_or(-1), number(&result, 2) == Some(1));
            let cost = Duration::from_micros(number(&result, 3).unwrap_or(0).max(0) as u64);
            let version = result.into_iter().nth(1).and_then(bytes).and_then(|bytes| codec::decode_version(&bytes));
            let version = version.filter(|version| *version > Version::ZERO);
            match (refusal(outcome), version) {
                (Some(why), current) => Ok(Written::Refused { why, current, position }),
                (None, Some(version)) if outcome == 0 && repeated => Ok(Written::Repeated { version, position }),
                (None, Some(version)) if outcome == 0 => {
                    Ok(Written::Stored(Entry::written(&write.entry, version, cost, sent)))
                }
                _ => Err(L2Error::unavailable("redis answered with something unknown")),
            }
        });
        written.collect()
    }

    fn add_write(&self, write: &Write, value: &Packed, names: &mut Vec<Bytes>, args: &mut Vec<Value>) {
        let layout = &self.shared.layout;
        let Write { key, entry, condition, request } = write;
        names.extend([layout.entry(key.as_ref()), layout.lease(key.as_ref())]);
        names.extend(entry.source_version.map(|_| layout.source(key.as_ref())));
        names.extend(request.iter().map(|request| layout.request(key.as_ref(), request)));
        let lifetime = &entry.lifetime;
        let kept = lifetime.ttl.map_or(0, |ttl| (ttl + lifetime.stale_window).as_millis().max(1));
        args.extend([
            condition_argument(*condition),
            kept.to_string().into(),
            lifetime.sliding.map_or(0, |longest| longest.as_micros()).to_string().into(),
            Value::Bytes(codec::entry_header(entry, value.encoding).into()),
            Value::Bytes(value.bytes.clone()),
            Value::Bytes(codec::key_name(key.bytes()).into()),
            Value::Bytes(codec::tag_list(&entry.tags).into()),
            if request.is_some() { "request" } else { "" }.into(),
        ]);
    }
}

/// An entry as it was stored, of which Redis said after `begun` that it is kept for another `kept` milliseconds; not positive: for ever.
fn entry_at(clock: &RedisClock, stored: StoredEntry, kept: i64, begun: Moment) -> Entry {
    let at = |micros: u64| begun.minus(clock.age(micros, begun));
    let millis = Duration::from_millis;
    let written_at = at(stored.written_micros);
    let (expires_at, kept_until) = match u64::try_from(kept) {
        Ok(kept) if stored.ttl_millis > 0 => {
            let ends = begun.plus(millis(kept)).minus(millis(stored.window_millis));
            // Of a sliding entry the header keeps how far reading prolongs its life, not how far a Touch did.
            let longest = if stored.slide_micros > 0 { ends } else { begun.plus(millis(stored.ttl_millis)) };
            (ends.min(longest), begun.plus(millis(kept)))
        }
        // Without a time to live in Redis there must be none in the entry.
        _ if stored.ttl_millis > 0 => (written_at.plus(millis(stored.ttl_millis)), Moment::FOREVER),
        _ => (Moment::FOREVER, Moment::FOREVER),
    };
    let slides = (stored.slide_micros > 0).then(|| Sliding {
        idle: millis(stored.ttl_millis),
        until: written_at.plus(Duration::from_micros(stored.slide_micros.saturating_sub(stored.written_micros))),
    });
    let entry = Entry {
        version: stored.version,
        content: stored.content,
        content_type: stored.content_type,
        tags: stored.tags,
        source_version: stored.source_version,
        cost: millis(u64::from(stored.cost_millis)),
        written_at,
        due_at: if stored.soft_millis > 0 { written_at.plus(millis(stored.soft_millis)) } else { Moment::FOREVER },
        expires_at,
        kept_until,
        stale_window: millis(stored.window_millis),
        sliding: slides,
        marked_at: None,
    };
    entry.marked_since((stored.marked_micros > 0).then(|| at(stored.marked_micros)))
}

/// The answer to PTTL for a key that is not there.
const GONE: i64 = -2;

/// A step that Redis carried out.
pub(super) struct Step {
    /// Where the number line stands after it.
    pub position: Version,
    /// All of the script's reply.
    pub reply: Vec<Value>,
}

// === impl L2 ===

impl L2 for RedisTier {
    fn read<'a>(&'a self, key: &'a Key, until: Moment) -> BoxFuture<'a, Result<Read, L2Error>> {
        Box::pin(self.read_entry(key, until))
    }

    fn read_many<'a>(&'a self, keys: &'a [Key], until: Moment) -> BoxFuture<'a, Vec<Result<Read, L2Error>>> {
        Box::pin(self.read_entries(keys, until))
    }

    fn write<'a>(
        &'a self,
        partition: u16,
        writes: &'a [Write],
        ticket: u64,
        until: Moment,
    ) -> BoxFuture<'a, Result<Vec<Written>, L2Error>> {
        Box::pin(self.write_entries(partition, writes, ticket, until))
    }

    fn remove<'a>(
        &'a self,
        partition: u16,
        removals: &'a [Removal],
        mode: Mode,
        ticket: u64,
        until: Moment,
    ) -> BoxFuture<'a, Result<Removed, L2Error>> {
        Box::pin(async move {
            let Some(first) = removals.first() else { return Err(L2Error::unavailable("no keys were named")) };
            let layout = &self.shared.layout;
            let mut args = vec![mode_argument(mode).into()];
            let mut names = Vec::with_capacity(2 * removals.len());
            for Removal { key, source_version } in removals {
                names.extend([layout.entry(key.as_ref()), layout.lease(key.as_ref()), layout.source(key.as_ref())]);
                args.push(Value::Bytes(codec::key_name(key.bytes()).into()));
                let source = source_version.map(u64::to_be_bytes);
                args.push(Value::Bytes(source.map_or(Bytes::new(), |source| Bytes::copy_from_slice(&source))));
            }
            let head = codec::message_head(false, partition, self.shared.replica, ticket);
            let step = self.step(Script::Remove, partition, first.key.namespace(), names, head, args, until).await?;
            let removed = step.reply.into_iter().nth(3).map(|removed| removed.into_array()).unwrap_or_default();
            let removed = removed.iter().map(|removed| removed.as_i64() == Some(1)).collect();
            Ok(Removed { version: step.position, removed })
        })
    }

    fn invalidate<'a>(
        &'a self,
        partition: u16,
        namespace: &'a Arc<Namespace>,
        selectors: &'a [Selector],
        mode: Mode,
        ticket: u64,
        until: Moment,
    ) -> BoxFuture<'a, Result<Version, L2Error>> {
        Box::pin(async move {
            let head = codec::message_head(true, partition, self.shared.replica, ticket);
            let args = vec![
                mode_argument(mode).into(),
                Value::Bytes(codec::selector_list(selectors).into()),
                self.shared.config.tombstones.to_string().into(),
            ];
            let names = self.shared.layout.tombstones(partition, namespace.name()).into();
            if selectors.iter().any(|selector| matches!(selector, Selector::Pattern(_))) {
                // Also if there is no room for it: so that there will be.
                self.shared.wanted.add(namespace.name(), Duration::ZERO);
            }
            let step = self.step(Script::Invalidate, partition, namespace, names, head, args, until).await?;
            Ok(step.position)
        })
    }

    fn touch<'a>(&'a self, key: &'a Key, touch: Touch, until: Moment) -> BoxFuture<'a, Result<Touched, L2Error>> {
        Box::pin(async move {
            let layout = &self.shared.layout;
            let partition = key.as_ref().partition(layout.partitions());
            let mode = match touch.mode {
                TouchMode::Overwrite => "overwrite",
                TouchMode::Extend => "extend",
                TouchMode::Shorten => "shorten",
            };
            let args = vec![
                touch.ttl.map_or(0, |ttl| ttl.as_millis().max(1)).to_string().into(),
                mode.into(),
                Value::Bytes(codec::key_name(key.bytes()).into()),
            ];
            let names = vec![layout.entry(key.as_ref())];
            let head = codec::message_head(false, partition, self.shared.replica, 0);
            let sent = self.shared.clock.now();
            let step = self.step(Script::Touch, partition, key.namespace(), names, head, args, until).await?;
            let change = match number(&step.reply, 4) {
                Some(1) => LifeChange::Set,
                Some(2) => LifeChange::Shortened,
                Some(3) => LifeChange::Capped,
                _ => LifeChange::Unchanged,
            };
            let left = number(&step.reply, 5).unwrap_or(0);
            let ends = u64::try_from(left).map_or(Moment::FOREVER, |left| sent.plus(Duration::from_millis(left)));
            let version = step.reply.into_iter().nth(3).and_then(bytes).and_then(|bytes| codec::decode_version(&bytes));
            let entry = version.map(|version| TouchedEntry { version, change, expires_at: ends });
            Ok(Touched { position: step.position, entry })
        })
    }

    fn acquire<'a>(&'a self, key: &'a Key, claim: Claim, until: Moment) -> BoxFuture<'a, Result<Acquired, L2Error>> {
        Box::pin(async move {
            let layout = &self.shared.layout;
            let partition = key.as_ref().partition(layout.partitions());
            let args = vec![
                lease_argument(claim.lease),
                claim.duration.as_millis().max(1).to_string().into(),
                Value::Bytes(claim.seen.map(codec::version_bytes).unwrap_or_default().into()),
            ];
            let names = vec![layout.entry(key.as_ref()), layout.lease(key.as_ref())];
            let step = self.step(Script::Acquire, partition, key.namespace(), names, Vec::new(), args, until).await?;
            let left = Duration::from_millis(number(&step.reply, 4).unwrap_or(0).max(1) as u64);
            match step.reply.get(3).and_then(Value::as_bytes) {
                Some(b"GRANTED") => Ok(Acquired::Granted),
                Some(b"HELD") => Ok(Acquired::Held(left)),
                Some(b"PAUSED") => Ok(Acquired::Paused(left)),
                Some(b"PRESENT") => Ok(Acquired::Present),
                _ => Err(L2Error::unavailable("redis answered with something unknown")),
            }
        })
    }

    fn release<'a>(&'a self, key: &'a Key, back: Return, until: Moment) -> BoxFuture<'a, Result<bool, L2Error>> {
        Box::pin(async move {
            let layout = &self.shared.layout;
            let partition = key.as_ref().partition(layout.partitions());
            let args = vec![
                lease_argument(back.lease),
                back.pause.as_millis().to_string().into(),
                Value::Bytes(codec::key_name(key.bytes()).into()),
                if back.failed { "failed" } else { "" }.into(),
            ];
            let head = codec::message_head(false, partition, self.shared.replica, 0);
            let names = vec![layout.lease(key.as_ref())];
            let step = self.step(Script::Release, partition, key.namespace(), names, head, args, until).await?;
            Ok(number(&step.reply, 3) == Some(1))
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

    fn inspect<'a>(&'a self, key: &'a Key, until: Moment) -> BoxFuture<'a, Result<Inspected, L2Error>> {
        Box::pin(self.inspect_key(key, until))
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
            bus_lag: self.shared.lag.snapshot(),
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
    let with = |kind: u8, bytes: &[u8]| Value::Bytes([&[kind], bytes].concat().into());
    match condition {
        Condition::None => "".into(),
        Condition::Absent => "absent".into(),
        Condition::Present => "present".into(),
        Condition::Version(version) => with(b'v', &codec::version_bytes(version)),
        Condition::Lease(lease) => with(b'l', &lease.0.to_be_bytes()),
    }
}

fn lease_argument(lease: LeaseId) -> Value {
    Value::Bytes(Bytes::copy_from_slice(&lease.0.to_be_bytes()))
}

fn mode_argument(mode: Mode) -> &'static str {
    match mode {
        Mode::Remove => "remove",
        Mode::MarkStale => "mark",
    }
}

/// The outcomes as the script numbers them.
fn refusal(outcome: i64) -> Option<Refusal> {
    match outcome {
        1 => Some(Refusal::AlreadyPresent),
        2 => Some(Refusal::NotPresent),
        3 => Some(Refusal::VersionMismatch),
        4 => Some(Refusal::LeaseVoid),
        5 => Some(Refusal::SourceVersionOlder),
        _ => None,
    }
}
