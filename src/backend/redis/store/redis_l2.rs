//! `RedisL2`: reads in one pipelined round trip, writes and invalidations in one script each.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use fred::types::Value;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fleet_barrier::FleetChange;
use super::invalidation_lookup::InvalidationLookup;
use crate::backend::redis::command::command_error::{CommandError, refused, refused_before_start};
use crate::backend::redis::command::executor::{CallRoute, CommandExecutor};
use crate::backend::redis::connection::command_metrics::CommandKind;
use crate::backend::redis::connection::context::RedisContext;
use crate::backend::redis::connection::health::{HealthReport, RedisHealth};
use crate::backend::redis::connection::large_values;
use crate::backend::redis::connection::large_values::{Load, SMALL_VALUE_BYTES};
use crate::backend::redis::connection::redis_connection::Connection;
use crate::backend::redis::connection::shard::Shard;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::invalidation_record::ActivePatterns;
use crate::backend::redis::schema::reply::{bytes, number, status};
use crate::backend::redis::schema::scripts::Script;
use crate::cache::clock::Moment;
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::Key;
use crate::cache::namespace;
use crate::cache::namespace::Namespace;
use crate::cache::policy::limits;
use crate::cache::stats::keyspace::KeyspaceSample;
use crate::cache::stats::{Counter, LabeledHistograms};
use crate::cache::tier::inspect::Inspected;
use crate::cache::tier::{
    Acquired, BoxFuture, Current, FleetBarrier, L2, L2Error, L2Report, LeaseClaim, LeaseId, LeaseRelease, Mode,
    ReadResult, Removal, RemoveResult, ServerReport, Settlement, Takeover, Timeout, Touch, TouchMode, Touched,
    TouchedEntry, TtlChange, Write, WriteResult,
};
use crate::cache::version::Version;
use crate::sync::Mutex;

/// Shortest timeout of replicas in a failover.
const MIN_SETTLEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Limit of listed namespaces: as many as a replica may be configured to know.
const MAX_NAMESPACES: usize = 65_536;
/// Limit of attempts of a step that found other active patterns than were known.
const MAX_PATTERN_ATTEMPTS: usize = 4;
/// Added to the time for which a write's outcome is unknown: for clocks that run at slightly
/// different rates.
pub(super) const CLOCK_SLACK: Duration = Duration::from_millis(50);

/// L2 in Redis.
pub struct RedisL2 {
    pub(super) context: Arc<RedisContext>,
    health: Arc<RedisHealth>,
    pub(super) executor: CommandExecutor,
    server: Mutex<ServerReport>,
    keyspace: ArcSwapOption<KeyspaceSample>,
    undecodable: Counter,
    /// True if the log has a warning of a value that is too large.
    pub(super) too_large_is_logged: AtomicBool,
    pub(super) invalidation_lookup: InvalidationLookup,
    tasks: TaskTracker,
    stop: CancellationToken,
}

// === impl RedisTier ===

impl RedisL2 {
    pub(crate) fn new(
        context: Arc<RedisContext>,
        health: Arc<RedisHealth>,
        executor: CommandExecutor,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> RedisL2 {
        let (server, undecodable, invalidation_lookup) =
            (Mutex::default(), Counter::default(), InvalidationLookup::new(context.clone()));
        let (too_large_is_logged, keyspace) = (AtomicBool::new(false), ArcSwapOption::empty());
        RedisL2 {
            context,
            health,
            executor,
            server,
            keyspace,
            undecodable,
            too_large_is_logged,
            invalidation_lookup,
            tasks,
            stop,
        }
    }

    pub(crate) fn context(&self) -> &Arc<RedisContext> {
        &self.context
    }

    pub(crate) fn health(&self) -> &Arc<RedisHealth> {
        &self.health
    }

    pub(crate) fn executor(&self) -> &CommandExecutor {
        &self.executor
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    pub(crate) fn set_server(&self, report: ServerReport) {
        *self.server.lock() = report;
    }

    pub(crate) fn set_keyspace(&self, sample: Option<KeyspaceSample>) {
        self.keyspace.store(sample.map(Arc::new));
    }

    pub(crate) fn keyspace(&self) -> Option<Arc<KeyspaceSample>> {
        self.keyspace.load_full()
    }

    /// Runs one script that takes a sequence. `args` follow the step's own.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the one script call")]
    pub(super) async fn step(
        &self,
        script: Script,
        partition: u16,
        namespace: &Namespace,
        keys: Vec<Bytes>,
        message_head: Vec<u8>,
        args: Vec<Value>,
        timeout: impl Into<Timeout>,
    ) -> Result<CompletedStep, L2Error> {
        self.step_in(script, partition, namespace.name(), keys, message_head, args, timeout).await
    }

    /// Runs such a script in the namespace of that name.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the one script call")]
    pub(crate) async fn step_in(
        &self,
        script: Script,
        partition: u16,
        namespace: &str,
        keys: Vec<Bytes>,
        message_head: Vec<u8>,
        args: Vec<Value>,
        timeout: impl Into<Timeout>,
    ) -> Result<CompletedStep, L2Error> {
        let timeout = timeout.into();
        for _ in 0..MAX_PATTERN_ATTEMPTS {
            let (keys, head, args) = (&keys, message_head.clone(), args.clone());
            match self.try_step(script, partition, namespace, keys, head, args, timeout).await? {
                Ok(step) => return Ok(step),
                Err(list) => self.saw_list(partition, namespace, list),
            }
        }
        Err(L2Error::unavailable("too many concurrent pattern invalidations"))
    }

    /// Remembers a list of active patterns.
    pub(crate) fn saw_list(&self, partition: u16, namespace: &str, list: ActivePatterns) {
        self.invalidation_lookup.saw(partition, namespace, list);
    }

    /// Runs such a script once.
    ///
    /// Returns the active patterns, without effect, if they are not those known.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the one script call")]
    async fn try_step(
        &self,
        script: Script,
        partition: u16,
        namespace: &str,
        keys: &[Bytes],
        message_head: Vec<u8>,
        args: Vec<Value>,
        timeout: Timeout,
    ) -> Result<Result<CompletedStep, ActivePatterns>, L2Error> {
        let shard = self.executor.shard(partition)?;
        let route = self.route(&shard, script, &args, timeout).await?;
        let latest = route.as_ref().map_or(timeout.deadline, |route| route.timeout.latest);
        let Some((not_after, uncertainty)) = shard.primary.clock.at(latest) else {
            return Err(L2Error::unavailable("not connected to redis"));
        };
        let schema = &self.context.keys;
        let mut all_keys: Vec<fred::types::Key> = vec![schema.counter(partition).into()];
        all_keys.extend(keys.iter().cloned().map(fred::types::Key::from));
        let (floor, channel) = (self.context.floors_argument(&[partition]), schema.channel(partition));
        let (mut named, invalidation) = (codec::named(namespace), schema.invalidation_field(namespace));
        named.extend(self.invalidation_lookup.knowledge(partition, namespace, keys));
        let run = |connection: Arc<Connection>| async move {
            let mut all_args: Vec<Value> = vec![
                not_after.to_string().into(),
                floor,
                connection.identity.as_str().into(),
                channel.into(),
                Value::Bytes(message_head.into()),
                Value::Bytes(named.into()),
                invalidation.into(),
            ];
            all_args.extend(args);
            connection.run(script, all_keys, all_args).await
        };
        let command = CommandKind::Script(script);
        let sent = match route {
            Some(route) => self.executor.call_on(&shard, route, command, run).await,
            None => self.executor.call(&shard, latest, command, run).await,
        };
        match sent {
            Ok(reply) => self.read_step(&shard, partition, reply),
            Err(CommandError::NotSent(error)) => Err(error),
            Err(CommandError::Lost(answer)) => {
                let left = latest.since(self.context.clock.now()) + uncertainty + CLOCK_SLACK;
                Err(L2Error::Unavailable { reason: answer.reason(), outcome_unknown_for: Some(left) })
            }
            Err(CommandError::Refused(error)) => Err(match refused(&error) {
                // A script that failed midway may have written before.
                L2Error::Unavailable { reason, .. } if !refused_before_start(&error) => {
                    L2Error::Unavailable { reason, outcome_unknown_for: Some(CLOCK_SLACK) }
                }
                error => error,
            }),
        }
    }

    /// Waits for room for a step with large values.
    ///
    /// A step may use any connection: it is atomic, and has no effect after its deadline, which is
    /// set when there is room.
    async fn route(
        &self,
        shard: &Shard,
        script: Script,
        args: &[Value],
        timeout: Timeout,
    ) -> Result<Option<CallRoute>, L2Error> {
        let bytes: usize = args.iter().filter_map(Value::as_bytes).map(<[u8]>::len).sum();
        if bytes <= SMALL_VALUE_BYTES {
            return Ok(None);
        }
        let room = self.executor.await_room(shard, Load { bytes, timeout }, CommandKind::Script(script)).await;
        let mut route = room.map_err(CommandError::into_read_error)?;
        route.timeout = large_values::write_timeout(route.timeout, bytes, self.context.clock.now());
        Ok(Some(route))
    }

    fn read_step(
        &self,
        shard: &Shard,
        partition: u16,
        reply: Vec<Value>,
    ) -> Result<Result<CompletedStep, ActivePatterns>, L2Error> {
        let position = number(&reply, 1).zip(number(&reply, 2));
        let position = position.and_then(|(epoch, sequence)| Version::checked(epoch, sequence));
        match status(&reply) {
            Some("OK") => {
                let unknown = || L2Error::unavailable("unexpected reply from redis");
                let position = position.filter(|position| position.epoch > 0).ok_or_else(unknown)?;
                self.context.raise_floor(partition, position);
                Ok(Ok(CompletedStep { position, reply }))
            }
            Some("PATTERNS") => {
                let list = reply.into_iter().nth(3).and_then(bytes).and_then(|bytes| ActivePatterns::read(&bytes));
                list.map(Err).ok_or(L2Error::unavailable("unexpected reply from redis"))
            }
            Some("FULL") => {
                let limit = number(&reply, 3).unwrap_or(0).max(0) as usize;
                Err(L2Error::TooMany { what: "active patterns", limit })
            }
            Some("LIFE") => {
                shard.primary.other_life.send_replace(());
                Err(L2Error::unavailable("redis began another life"))
            }
            Some("BEHIND") => Err(self.handle_older_data(shard)),
            Some("LATE") => Err(L2Error::unavailable("the request reached redis too late and was not carried out")),
            _ => Err(L2Error::unavailable("unexpected reply from redis")),
        }
    }

    /// Handles a server with older data than this replica has seen of it: another one had taken
    /// over in between.
    ///
    /// The handshake is repeated, which begins an epoch there.
    pub(crate) fn handle_older_data(&self, shard: &Shard) -> L2Error {
        shard.condemn();
        self.context.misplaced.notify_one();
        L2Error::unavailable("redis has older data than before")
    }

    /// Reads or continues the settlement of the failover that began `epoch`.
    async fn settlement(
        &self,
        partition: u16,
        epoch: u64,
        action: &'static str,
        deadline: Moment,
    ) -> Result<Vec<Value>, L2Error> {
        let timeout = MIN_SETTLEMENT_TIMEOUT.max(2 * self.context.config.max_staleness);
        let args = vec![
            epoch.to_string().into(),
            codec::replica_field(self.context.replica).into(),
            action.into(),
            timeout.as_micros().to_string().into(),
        ];
        let reply = self.executor.run_script(Script::SettleFailover, partition, args, deadline).await?;
        match status(&reply) {
            Some("OK") => Ok(reply),
            _ => Err(L2Error::unavailable("redis began another epoch")),
        }
    }

    /// Lists the namespaces of every partition. Foreign names are omitted.
    async fn list_namespaces(&self, deadline: Moment) -> Result<BTreeSet<String>, L2Error> {
        let asked = (0..self.context.keys.partitions()).map(|partition| {
            let head = codec::message_head(false, partition, self.context.replica, 0);
            let most = vec![(MAX_NAMESPACES + 1).to_string().into()];
            self.step_in(Script::Namespaces, partition, namespace::DEFAULT, Vec::new(), head, most, deadline)
        });
        let mut names = BTreeSet::new();
        for step in join_all(asked).await {
            let listed = step?.reply.into_iter().nth(3).map(Value::into_array).unwrap_or_default();
            let listed = listed.into_iter().filter_map(bytes).filter_map(|name| String::from_utf8(name.into()).ok());
            names.extend(listed.filter(|name| limits::namespace("", name).is_ok()));
            if names.len() > MAX_NAMESPACES {
                return Err(L2Error::TooMany { what: "namespaces in redis", limit: MAX_NAMESPACES });
            }
        }
        Ok(names)
    }

    pub(crate) fn undecodable<T>(&self) -> Option<T> {
        self.undecodable.inc();
        None
    }
}

/// A step that Redis carried out.
pub(crate) struct CompletedStep {
    /// Position of the partition after it.
    pub position: Version,
    /// All of the script's reply.
    pub reply: Vec<Value>,
}

// === impl L2 ===

impl L2 for RedisL2 {
    fn read<'a>(&'a self, key: &'a Key, timeout: Timeout) -> BoxFuture<'a, Result<ReadResult, L2Error>> {
        Box::pin(self.read_entry(key, timeout))
    }

    fn read_many<'a>(&'a self, keys: &'a [Key], timeout: Timeout) -> BoxFuture<'a, Vec<Result<ReadResult, L2Error>>> {
        Box::pin(self.read_entries(keys, timeout))
    }

    fn write<'a>(
        &'a self,
        partition: u16,
        writes: &'a [Write],
        ticket: u64,
        timeout: Timeout,
    ) -> BoxFuture<'a, Result<Vec<WriteResult>, L2Error>> {
        Box::pin(self.write_entries(partition, writes, ticket, timeout))
    }

    fn remove<'a>(
        &'a self,
        partition: u16,
        removals: &'a [Removal],
        mode: Mode,
        ticket: u64,
        deadline: Moment,
    ) -> BoxFuture<'a, Result<RemoveResult, L2Error>> {
        Box::pin(async move {
            let Some(first) = removals.first() else { return Err(L2Error::unavailable("no keys were named")) };
            let keys = &self.context.keys;
            let mut args = vec![mode_argument(mode).into()];
            let mut names = Vec::with_capacity(2 * removals.len());
            for Removal { key, source_version } in removals {
                names.extend([keys.entry(key.as_ref()), keys.lease(key.as_ref()), keys.source(key.as_ref())]);
                args.push(Value::Bytes(codec::key_name(key.bytes()).into()));
                let source = source_version.map(u64::to_be_bytes);
                args.push(Value::Bytes(source.map_or(Bytes::new(), |source| Bytes::copy_from_slice(&source))));
            }
            let head = codec::message_head(false, partition, self.context.replica, ticket);
            let step = self.step(Script::Remove, partition, first.key.namespace(), names, head, args, deadline).await?;
            let removed = step.reply.into_iter().nth(3).map(|removed| removed.into_array()).unwrap_or_default();
            let removed = removed.iter().map(|removed| removed.as_i64() == Some(1)).collect();
            Ok(RemoveResult { version: step.position, removed })
        })
    }

    fn invalidate<'a>(
        &'a self,
        partition: u16,
        namespace: &'a Arc<Namespace>,
        selectors: &'a [Selector],
        mode: Mode,
        ticket: u64,
        deadline: Moment,
    ) -> BoxFuture<'a, Result<Version, L2Error>> {
        Box::pin(async move {
            let head = codec::message_head(true, partition, self.context.replica, ticket);
            let args = vec![
                mode_argument(mode).into(),
                Value::Bytes(codec::selector_list(selectors).into()),
                self.context.config.limits.tombstones.to_string().into(),
            ];
            let names = self.context.keys.invalidation_hashes(partition, namespace.name()).into();
            if selectors.iter().any(|selector| matches!(selector, Selector::Pattern(_))) {
                // Also if the list is full: reclaiming makes room.
                self.context.reclaim_queue.add(namespace.name(), Duration::ZERO);
            }
            let step = self.step(Script::Invalidate, partition, namespace, names, head, args, deadline).await?;
            Ok(step.position)
        })
    }

    fn namespaces(&self, deadline: Moment) -> BoxFuture<'_, Result<BTreeSet<String>, L2Error>> {
        Box::pin(self.list_namespaces(deadline))
    }

    fn touch<'a>(&'a self, key: &'a Key, touch: Touch, deadline: Moment) -> BoxFuture<'a, Result<Touched, L2Error>> {
        Box::pin(async move {
            let keys = &self.context.keys;
            let partition = key.as_ref().partition(keys.partitions());
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
            let names = vec![keys.entry(key.as_ref())];
            let head = codec::message_head(false, partition, self.context.replica, 0);
            let sent = self.context.clock.now();
            let step = self.step(Script::Touch, partition, key.namespace(), names, head, args, deadline).await?;
            let change = match number(&step.reply, 4) {
                Some(1) => TtlChange::Set,
                Some(2) => TtlChange::Shortened,
                Some(3) => TtlChange::Capped,
                _ => TtlChange::Unchanged,
            };
            let left = number(&step.reply, 5).unwrap_or(0);
            let ends = u64::try_from(left).map_or(Moment::FOREVER, |left| sent.plus(Duration::from_millis(left)));
            let version = step.reply.into_iter().nth(3).and_then(bytes).and_then(|bytes| codec::decode_version(&bytes));
            let entry = version.map(|version| TouchedEntry { version, change, expires_at: ends });
            Ok(Touched { position: step.position, entry })
        })
    }

    fn acquire<'a>(
        &'a self,
        key: &'a Key,
        claim: LeaseClaim,
        deadline: Moment,
    ) -> BoxFuture<'a, Result<Acquired, L2Error>> {
        Box::pin(async move {
            let keys = &self.context.keys;
            let partition = key.as_ref().partition(keys.partitions());
            let args = vec![
                lease_argument(claim.lease),
                claim.duration.as_millis().max(1).to_string().into(),
                Value::Bytes(claim.seen.map(codec::version_bytes).unwrap_or_default().into()),
            ];
            let names = vec![keys.entry(key.as_ref()), keys.lease(key.as_ref())];
            let step =
                self.step(Script::Acquire, partition, key.namespace(), names, Vec::new(), args, deadline).await?;
            let left = Duration::from_millis(number(&step.reply, 4).unwrap_or(0).max(1) as u64);
            match step.reply.get(3).and_then(Value::as_bytes) {
                Some(b"GRANTED") => Ok(Acquired::Granted),
                Some(b"HELD") => Ok(Acquired::Held(left)),
                Some(b"PAUSED") => Ok(Acquired::Paused(left)),
                Some(b"PRESENT") => Ok(Acquired::Present),
                _ => Err(L2Error::unavailable("unexpected reply from redis")),
            }
        })
    }

    fn release<'a>(
        &'a self,
        key: &'a Key,
        back: LeaseRelease,
        deadline: Moment,
    ) -> BoxFuture<'a, Result<bool, L2Error>> {
        Box::pin(async move {
            let keys = &self.context.keys;
            let partition = key.as_ref().partition(keys.partitions());
            let args = vec![
                lease_argument(back.lease),
                back.pause.as_millis().to_string().into(),
                Value::Bytes(codec::key_name(key.bytes()).into()),
                if back.failed { "failed" } else { "" }.into(),
            ];
            let head = codec::message_head(false, partition, self.context.replica, 0);
            let names = vec![keys.lease(key.as_ref())];
            let step = self.step(Script::Release, partition, key.namespace(), names, head, args, deadline).await?;
            Ok(number(&step.reply, 3) == Some(1))
        })
    }

    fn barrier(&self) -> Box<dyn FleetBarrier + '_> {
        Box::new(FleetChange::new(&self.context, &self.executor))
    }

    fn takeover(&self, partition: u16, epoch: u64, deadline: Moment) -> BoxFuture<'_, Result<Takeover, L2Error>> {
        Box::pin(async move {
            let reply = self.settlement(partition, epoch, "look", deadline).await?;
            let text =
                |index| reply.get(index).and_then(Value::as_bytes).and_then(|text| std::str::from_utf8(text).ok());
            let unknown = || L2Error::unavailable("unexpected reply from redis");
            match (text(2), text(3)) {
                (Some(""), _) => Ok(Takeover::Anew),
                (Some(prior), Some(trusted_from)) => {
                    let read = prior.parse().ok().zip(trusted_from.parse().ok());
                    read.map(|(prior, trusted_from)| Takeover::From { prior, trusted_from }).ok_or_else(unknown)
                }
                _ => Err(unknown()),
            }
        })
    }

    fn settle(
        &self,
        partition: u16,
        epoch: u64,
        settlement: Settlement,
        deadline: Moment,
    ) -> BoxFuture<'_, Result<bool, L2Error>> {
        Box::pin(async move {
            let action = match settlement {
                Settlement::Repaired => "done",
                Settlement::Forgotten => "drop",
                Settlement::Cold => "cold",
            };
            let reply = self.settlement(partition, epoch, action, deadline).await?;
            Ok(number(&reply, 1) == Some(1))
        })
    }

    fn current<'a>(&'a self, key: &'a Key, deadline: Moment) -> BoxFuture<'a, Result<Option<Current>, L2Error>> {
        Box::pin(self.read_current(key, deadline))
    }

    fn inspect<'a>(&'a self, key: &'a Key, deadline: Moment) -> BoxFuture<'a, Result<Inspected, L2Error>> {
        Box::pin(self.inspect_key(key, deadline))
    }

    fn is_behind(&self, partition: u16) {
        tracing::warn!(partition, "redis: primary returned data older than its messages; reconnecting");
        if let Ok(shard) = self.executor.shard(partition) {
            shard.condemn();
        }
        self.context.misplaced.notify_one();
    }

    fn report(&self) -> L2Report {
        let HealthReport { state, reason, state_age, server_version } = self.health.report();
        let mut server = self.server.lock().clone();
        server.version = server_version;
        server.warnings.extend(self.context.foreign.warning(self.context.clock.now()));
        let routes = self.executor.routes();
        let links = || routes.shards.iter().flat_map(|shard| &shard.supervisors);
        L2Report {
            state,
            reason,
            state_age,
            round_trip: links().filter(|link| link.connection().is_some()).find_map(|link| link.round_trip()),
            reconnects: self.context.reconnects.get(),
            keys_gone: [0, 1].map(|kind| self.context.keys_gone[kind].get()),
            commands: self.context.commands.get(),
            errors: self.context.errors.get(),
            undecodable: self.undecodable.get(),
            foreign_messages: self.context.foreign.count.get(),
            bus_lag: self.context.lag.snapshot(),
            connections_up: links().filter(|link| link.connection().is_some()).count() as u64,
            connections_down: links().filter(|link| link.connection().is_none()).count() as u64,
            in_flight: self.executor.in_flight() as u64,
            max_in_flight: self.context.config.max_in_flight as u64,
            server,
            keyspace: self.keyspace.load_full(),
        }
    }

    fn operations(&self) -> Option<&LabeledHistograms> {
        Some(&self.context.operations.0)
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

fn lease_argument(lease: LeaseId) -> Value {
    Value::Bytes(Bytes::copy_from_slice(&lease.0.to_be_bytes()))
}

fn mode_argument(mode: Mode) -> &'static str {
    match mode {
        Mode::Remove => "remove",
        Mode::MarkStale => "mark",
    }
}
