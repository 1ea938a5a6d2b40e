//! Writes entries: one script for all of a partition.

use std::time::Duration;

use bytes::Bytes;
use fred::types::Value;

use super::redis_l2::RedisL2;
use super::step::SequencedStep;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::compression::Packed;
use crate::backend::redis::schema::compression_pool;
use crate::backend::redis::schema::reply::{bytes, number};
use crate::backend::redis::schema::scripts::Script;
use crate::cache::coherence::safeguards::Safeguard;
use crate::cache::entry::Entry;
use crate::cache::tier::{CallContext, Condition, ConditionFailure, L2Error, Timeout, Write, WriteResult};
use crate::cache::version::Version;

impl RedisL2 {
    pub(crate) async fn write_entries(
        &self,
        partition: u16,
        writes: &[Write],
        CallContext { timeout, ticket }: CallContext,
    ) -> Result<Vec<WriteResult>, L2Error> {
        let Some(first) = writes.first() else { return Ok(Vec::new()) };
        let namespace = first.key.namespace();
        let mut values = Vec::with_capacity(writes.len());
        for write in writes {
            values.push(compression_pool::pack(write).await);
        }
        let send = |part: String, timeout: Timeout| {
            let mut args = vec![part.into()];
            let mut names = Vec::with_capacity(2 * writes.len());
            for (write, value) in writes.iter().zip(&values) {
                self.add_write(write, value, &mut names, &mut args);
            }
            let message_head = codec::message_head(false, partition, self.context.replica, ticket);
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
            Err(L2Error::Unavailable { outcome_unknown_for: Some(_), .. })
                if !self.context.config.safeguards.on(Safeguard::NoRetry) =>
            {
                send(String::new(), timeout.deadline.plus(Duration::from_secs(1)).into()).await?
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
                (Some(why), current) => Ok(WriteResult::Refused { why, current, position }),
                (None, Some(version)) if outcome == 0 && repeated => Ok(WriteResult::Repeated { version, position }),
                (None, Some(version)) if outcome == 0 => {
                    Ok(WriteResult::Stored(Entry::written(&write.entry, version, cost, sent)))
                }
                _ => Err(L2Error::unavailable("unexpected reply from redis")),
            }
        });
        written.collect()
    }

    fn add_write(&self, write: &Write, value: &Packed, names: &mut Vec<Bytes>, args: &mut Vec<Value>) {
        let keys = &self.context.keys;
        let Write { key, entry, condition, request } = write;
        names.extend([keys.entry(key.as_ref()), keys.lease(key.as_ref())]);
        names.extend(entry.source_version.map(|_| keys.source(key.as_ref())));
        names.extend(request.iter().map(|request| keys.request(key.as_ref(), request)));
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
