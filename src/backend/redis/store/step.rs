//! Steps: scripts that each take a sequence of a partition.

use std::sync::Arc;

use bytes::Bytes;
use fred::types::Value;

use super::redis_l2::RedisL2;
use crate::backend::redis::command::command_error::CommandError;
use crate::backend::redis::command::executor::CallRoute;
use crate::backend::redis::connection::command_metrics::CommandKind;
use crate::backend::redis::connection::large_values;
use crate::backend::redis::connection::large_values::{Load, SMALL_VALUE_BYTES};
use crate::backend::redis::connection::redis_connection::Connection;
use crate::backend::redis::connection::shard::Shard;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::codec::Announcement;
use crate::backend::redis::schema::crypto::{MessageFields, Protection};
use crate::backend::redis::schema::invalidation_record::ActivePatterns;
use crate::backend::redis::schema::reply::{bytes, number, status};
use crate::backend::redis::schema::scripts::Script;
use crate::cache::tier::{L2Error, Timeout};
use crate::cache::version::Version;

/// Limit of attempts of a step that found other active patterns than were known.
const MAX_PATTERN_ATTEMPTS: usize = 4;
/// A step to run.
pub(crate) struct SequencedStep<'a> {
    /// The script.
    pub script: Script,
    /// The partition whose sequence it takes.
    pub partition: u16,
    /// Name of the namespace.
    pub namespace: &'a str,
    /// Names of keys, after that of the counter.
    pub keys: Vec<Bytes>,
    /// Head of the message that announces it. Empty if it is not announced.
    pub message_head: Vec<u8>,
    /// Arguments, after those that every step has.
    pub args: Vec<Value>,
    /// Deadlines.
    pub timeout: Timeout,
}

/// A step that Redis carried out.
pub(crate) struct CompletedStep {
    /// Position of the partition after it.
    pub position: Version,
    /// All of the script's reply.
    pub reply: Vec<Value>,
}

// === impl RedisL2 ===

impl RedisL2 {
    /// Runs a step, with the active patterns that it turns out to need.
    pub(crate) async fn step(&self, step: SequencedStep<'_>) -> Result<CompletedStep, L2Error> {
        for _ in 0..MAX_PATTERN_ATTEMPTS {
            match self.try_step(&step).await? {
                Ok(completed) => return Ok(completed),
                Err(list) => self.saw_list(step.partition, step.namespace, list),
            }
        }
        Err(L2Error::unavailable("too many concurrent pattern invalidations"))
    }

    /// The message of a step of `effect` in `namespace`.
    pub(crate) fn announcement<'a>(
        &'a self,
        partition: u16,
        namespace: &'a str,
        effect: u8,
        ticket: u64,
    ) -> Announcement<'a> {
        let protection = &*self.context.protection;
        let now_micros = if protection.signs() { self.redis_now(partition) } else { 0 };
        let fields = MessageFields {
            partition,
            origin: self.context.replica,
            ticket,
            void_after: Protection::void_after(now_micros),
            effect,
            namespace: namespace.as_bytes(),
        };
        Announcement::new(fields, protection)
    }

    /// The latest time that the clock of a partition's primary may show now, microseconds; 0 if it is
    /// not known. Then nothing can be sent to it either.
    pub(super) fn redis_now(&self, partition: u16) -> u64 {
        let now = self.context.clock.now();
        let latest = |shard: Arc<Shard>| Some(shard.primary.clock.at(now)?.0);
        self.executor.shard(partition).ok().and_then(latest).unwrap_or(0)
    }

    /// Remembers a list of active patterns.
    pub(crate) fn saw_list(&self, partition: u16, namespace: &str, list: ActivePatterns) {
        self.invalidation_lookup.saw(partition, namespace, &list);
    }

    /// Runs a step once.
    ///
    /// Returns the active patterns, without effect, if they are not those known.
    async fn try_step(&self, step: &SequencedStep<'_>) -> Result<Result<CompletedStep, ActivePatterns>, L2Error> {
        let SequencedStep { script, partition, namespace, .. } = *step;
        let shard = self.executor.shard(partition)?;
        let route = self.route(&shard, step).await?;
        let latest = route.as_ref().map_or(step.timeout.deadline, |route| route.timeout.latest);
        let Some((not_after, uncertainty)) = shard.primary.clock.at(latest) else {
            return Err(L2Error::unavailable("not connected to redis"));
        };
        let keys = &self.context.keys;
        let mut all_keys: Vec<fred::types::Key> = vec![keys.counter(partition).into()];
        all_keys.extend(step.keys.iter().cloned().map(fred::types::Key::from));
        let (floor, channel) = (self.context.floors_argument(&[partition]), keys.channel(partition));
        let (mut named, invalidation) = (codec::named(namespace), keys.invalidation_field(namespace));
        named.extend(self.invalidation_lookup.knowledge(partition, namespace, &step.keys));
        let (message_head, own_args) = (step.message_head.clone(), step.args.clone());
        let run = |connection: Arc<Connection>| async move {
            let mut args: Vec<Value> = vec![
                not_after.to_string().into(),
                floor,
                connection.identity.as_str().into(),
                channel.into(),
                Value::Bytes(message_head.into()),
                Value::Bytes(named.into()),
                invalidation.into(),
            ];
            args.extend(own_args);
            connection.run(script, all_keys, args).await
        };
        let command = CommandKind::Script(script);
        let sent = match route {
            Some(route) => self.executor.call_on(&shard, route, command, run).await,
            None => self.executor.call(&shard, latest, command, run).await,
        };
        match sent {
            Ok(reply) => self.read_step(&shard, partition, reply),
            Err(failure) => Err(failure.as_write_error(latest.since(self.context.clock.now()) + uncertainty)),
        }
    }

    /// Waits for room for a step with large values.
    ///
    /// A step may use any connection: it is atomic, and has no effect after its deadline, which is
    /// set when there is room.
    async fn route(&self, shard: &Shard, step: &SequencedStep<'_>) -> Result<Option<CallRoute>, L2Error> {
        let bytes: usize = step.args.iter().filter_map(Value::as_bytes).map(<[u8]>::len).sum();
        if bytes <= SMALL_VALUE_BYTES {
            return Ok(None);
        }
        let load = Load { bytes, timeout: step.timeout };
        let room = self.executor.await_room(shard, load, CommandKind::Script(step.script)).await;
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
        let may_begin = |position: &Version| shard.primary.clock.may_begin(position.epoch, self.context.clock.now());
        let position = position.filter(may_begin);
        match status(&reply) {
            Some("OK") => {
                let position = position.filter(|position| position.epoch > 0);
                let position = position.ok_or_else(CommandError::unexpected_reply_to_write)?;
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
            _ => Err(CommandError::unexpected_reply_to_write()),
        }
    }
}
