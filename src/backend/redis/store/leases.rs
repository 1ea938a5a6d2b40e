//! The leases of L2 in Redis: one script each.

use std::time::Duration;

use bytes::Bytes;
use fred::types::Value;

use super::redis_l2::RedisL2;
use super::step::SequencedStep;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::reply::number;
use crate::backend::redis::schema::scripts::Script;
use crate::cache::clock::Moment;
use crate::cache::key::Key;
use crate::cache::tier::{Acquired, BoxFuture, L2Error, LeaseClaim, LeaseId, LeaseRelease, LeaseStore};

impl LeaseStore for RedisL2 {
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
            let step = SequencedStep {
                script: Script::Acquire,
                partition,
                namespace: key.namespace().name(),
                keys: vec![keys.entry(key.as_ref()), keys.lease(key.as_ref())],
                message_head: Vec::new(),
                args,
                timeout: deadline.into(),
            };
            let step = self.step(step).await?;
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
        release: LeaseRelease,
        deadline: Moment,
    ) -> BoxFuture<'a, Result<bool, L2Error>> {
        Box::pin(async move {
            let keys = &self.context.keys;
            let partition = key.as_ref().partition(keys.partitions());
            let namespace = key.namespace().name();
            let effect = if release.failed { codec::FAILED } else { codec::RELEASED };
            let announcement = self.announcement(partition, namespace, effect, 0);
            let args = vec![
                lease_argument(release.lease),
                release.pause.as_millis().to_string().into(),
                Value::Bytes(announcement.key(key.bytes()).into()),
                if release.failed { "failed" } else { "" }.into(),
            ];
            let step = SequencedStep {
                script: Script::Release,
                partition,
                namespace,
                keys: vec![keys.lease(key.as_ref())],
                message_head: announcement.head(),
                args,
                timeout: deadline.into(),
            };
            let step = self.step(step).await?;
            Ok(number(&step.reply, 3) == Some(1))
        })
    }
}

fn lease_argument(lease: LeaseId) -> Value {
    Value::Bytes(Bytes::copy_from_slice(&lease.0.to_be_bytes()))
}
