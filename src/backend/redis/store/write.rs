//! Writes entries of one partition: plain ones together with those of other callers, others in a script
//! of their own.

use std::time::Duration;

use bytes::Bytes;
use fred::types::Value;

use super::plain_write::{PlainWrite, is_plain, kept_millis};
use super::redis_l2::RedisL2;
use super::step::SequencedStep;
use crate::backend::redis::command::command_error::CommandError;
use crate::backend::redis::connection::large_values::SMALL_VALUE_BYTES;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::codec::Announcement;
use crate::backend::redis::schema::compression::Packed;
use crate::backend::redis::schema::compression_pool;
use crate::backend::redis::schema::reply::{bytes, number};
use crate::backend::redis::schema::scripts::Script;
use crate::cache::clock::Moment;
use crate::cache::coherence::safeguards::Safeguard;
use crate::cache::entry::Entry;
use crate::cache::tier::{CallContext, Condition, ConditionFailure, L2Error, Timeout, Write, WriteResult};
use crate::cache::version::Version;

impl RedisL2 {
    pub(crate) async fn write_entries(
        &self,
        partition: u16,
        writes: &[Write],
        context: CallContext,
    ) -> Result<Vec<WriteResult>, L2Error> {
        let Some(first) = writes.first() else { return Ok(Vec::new()) };
        let mut values = Vec::with_capacity(writes.len());
        let protection = &self.context.protection;
        let now_micros = if protection.signs() { self.redis_now(partition) } else { 0 };
        if protection.signs() && now_micros == 0 {
            return Err(L2Error::unavailable("not connected to redis"));
        }
        for write in writes {
            let packed = compression_pool::pack(write, protection, now_micros).await;
            values.push(packed.map_err(|_| L2Error::unavailable("a value could not be encrypted"))?);
        }
        let sent_at = self.context.clock.now();
        // A change with a ticket has a message of its own.
        let may_be_plain = context.ticket == 0 && !first.key.namespace().policy().immutable;
        if may_be_plain && writes.iter().all(is_plain) && self.context.config.safeguards.on(Safeguard::OneStep) {
            let plain = PlainWrite::new(&self.context.keys, first.key.namespace(), partition, writes, &values);
            if plain.size() <= SMALL_VALUE_BYTES {
                match self.write_trips.write(plain, context.timeout.deadline).await {
                    Ok(Some(version)) => {
                        let stored = |write: &Write| Entry::written(&write.entry, version, Duration::ZERO, sent_at);
                        return Ok(writes.iter().map(|write| WriteResult::Stored(stored(write))).collect());
                    }
                    Ok(None) => {}
                    Err(error) if self.is_final(&error) => return Err(error),
                    Err(_) => {
                        let again = self.context.clock.now().plus(Duration::from_secs(1));
                        return self.write_fully(partition, writes, &values, again.into()).await;
                    }
                }
            }
        }
        self.write_fully(partition, writes, &values, context).await
    }

    /// Returns true if a write that failed with `error` is not sent again. A test build may repeat
    /// one of unknown outcome.
    fn is_final(&self, error: &L2Error) -> bool {
        let is_unknown = matches!(error, L2Error::Unavailable { outcome_unknown_for: Some(_), .. });
        !is_unknown || self.context.config.safeguards.on(Safeguard::NoRetry)
    }

    /// Makes writes by the script that judges all that a write may depend on.
    async fn write_fully(
        &self,
        partition: u16,
        writes: &[Write],
        values: &[Packed],
        CallContext { timeout, ticket }: CallContext,
    ) -> Result<Vec<WriteResult>, L2Error> {
        let Some(namespace) = writes.first().map(|write| write.key.namespace()) else { return Ok(Vec::new()) };
        let announcement = self.announcement(partition, namespace.name(), codec::SET, ticket);
        let send = |part: String, timeout: Timeout| {
            let mut args = vec![part.into()];
            let mut names = Vec::with_capacity(2 * writes.len());
            for (write, value) in writes.iter().zip(values) {
                self.add_write(write, (value, &announcement), &mut names, &mut args);
            }
            let message_head = announcement.head();
            let (script, namespace) = (Script::Write, namespace.name());
            self.step(SequencedStep { script, partition, namespace, keys: names, message_head, args, timeout })
        };
        let sent = self.context.clock.now();
        let mut part = match (namespace.policy().immutable, ticket) {
            (false, _) => "",
            (true, 0) => "quiet",
            // A barrier needs a message that the fleet confirms.
            (true, _) => "once",
        }
        .to_owned();
        if part.is_empty() && !self.context.config.safeguards.on(Safeguard::OneStep) {
            part = send("announce".to_owned(), timeout).await?.position.sequence.to_string();
        }
        let step = match send(part, timeout).await {
            Err(error) if !self.is_final(&error) => {
                send(String::new(), timeout.deadline.plus(Duration::from_secs(1)).into()).await?
            }
            step => step?,
        };
        let position = step.position;
        let results = step.reply.into_iter().nth(3).map(|results| results.into_array()).unwrap_or_default();
        writes.iter().zip(results).map(|(write, result)| read_result(write, result, position, sent)).collect()
    }

    fn add_write(
        &self,
        write: &Write,
        (value, announcement): (&Packed, &Announcement<'_>),
        names: &mut Vec<Bytes>,
        args: &mut Vec<Value>,
    ) {
        let keys = &self.context.keys;
        let Write { key, entry, condition, request } = write;
        names.extend([keys.entry(key.as_ref()), keys.lease(key.as_ref())]);
        names.extend(entry.source_version.map(|_| keys.source(key.as_ref())));
        names.extend(request.iter().map(|request| keys.request(key.as_ref(), request)));
        args.extend([
            condition_argument(*condition),
            kept_millis(write).to_string().into(),
            entry.lifetime.sliding.map_or(0, |longest| longest.as_micros()).to_string().into(),
            Value::Bytes(codec::entry_header(entry, value.encoding).into()),
            Value::Bytes(value.bytes.clone()),
            Value::Bytes(announcement.key(key.bytes()).into()),
            Value::Bytes(codec::tag_list(&entry.tags).into()),
            if request.is_some() { "request" } else { "" }.into(),
        ]);
    }
}

/// Decodes the result of one write of a step that left the partition at `position`.
fn read_result(write: &Write, result: Value, position: Version, sent_at: Moment) -> Result<WriteResult, L2Error> {
    let result = result.into_array();
    let (outcome, repeated) = (number(&result, 0).unwrap_or(-1), number(&result, 2) == Some(1));
    let cost = Duration::from_micros(number(&result, 3).unwrap_or(0).max(0) as u64);
    let version = result.into_iter().nth(1).and_then(bytes).and_then(|bytes| codec::decode_version(&bytes));
    let version = version.filter(|version| *version > Version::ZERO);
    match (refusal(outcome), version) {
        (Some(why), current) => Ok(WriteResult::Refused { why, current, position }),
        (None, Some(version)) if outcome == 0 && repeated => Ok(WriteResult::Repeated { version, position }),
        (None, Some(version)) if outcome == 0 => {
            Ok(WriteResult::Stored(Entry::written(&write.entry, version, cost, sent_at)))
        }
        _ => Err(CommandError::unexpected_reply_to_write()),
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

/// The failure for an outcome number of the script.
fn refusal(outcome: i64) -> Option<ConditionFailure> {
    match outcome {
        1 => Some(ConditionFailure::AlreadyPresent),
        2 => Some(ConditionFailure::NotPresent),
        3 => Some(ConditionFailure::VersionMismatch),
        4 => Some(ConditionFailure::LeaseVoid),
        5 => Some(ConditionFailure::SourceVersionOlder),
        _ => None,
    }
}
