//! Reads everything that Redis holds of one key, valid or invalidated.

use std::time::Duration;

use bytes::Bytes;
use fred::interfaces::{HashesInterface as _, KeysInterface as _};
use fred::prelude::{Error, FredResult};
use fred::types::Value;

use super::invalidation_lookup::LookupEntry;
use super::read::{NO_KEY, entry_at};
use super::redis_l2::RedisL2;
use crate::backend::redis::command::command_error::CommandError;
use crate::backend::redis::connection::command_metrics::CommandKind;
use crate::backend::redis::connection::large_values::{Load, TRIP_BYTES};
use crate::backend::redis::connection::shard::Shard;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::invalidation_record::earlier;
use crate::backend::redis::schema::partition_counter::PartitionCounter;
use crate::backend::redis::schema::reply::bytes;
use crate::backend::redis::schema::stored_entry::StoredEntry;
use crate::cache::clock::Moment;
use crate::cache::entry::Tags;
use crate::cache::key::Key;
use crate::cache::tier::L2Error;
use crate::cache::tier::inspect::{Inspected, InvalidationCause, NotServed, Stored};
use crate::cache::version::Version;

/// A stored value, as it was read.
struct ReadValue {
    bytes: Bytes,
    /// Remaining time to live by Redis, milliseconds.
    kept: i64,
    sent_at: Moment,
}

/// The replies of one round trip.
type InspectReplies = (Vec<Value>, i64, FredResult<Value>, i64, FredResult<Value>);

impl RedisL2 {
    pub(crate) async fn inspect_key(&self, key: &Key, deadline: Moment) -> Result<Inspected, L2Error> {
        let keys = &self.context.keys;
        let partition = key.as_ref().partition(keys.partitions());
        let counter = keys.counter(partition);
        let [name, lease] = [keys.entry(key.as_ref()), keys.lease(key.as_ref())].map(fred::types::Key::from);
        let fields = PartitionCounter::fields(keys.invalidation_field(key.namespace().name()));
        let shard = self.executor.shard(partition)?;
        let sent_at = self.context.clock.now();
        let last = self.last_byte();
        // The value may have any size.
        let load = Load { bytes: TRIP_BYTES, timeout: deadline.into() };
        self.context.commands.inc();
        let trip = self.executor.call_large(&shard, load, CommandKind::Pipeline(5), move |connection| async move {
            let trip = connection.client.pipeline();
            let _: Value = trip.hmget(counter, fields).await?;
            let _: Value = trip.pttl(name.clone()).await?;
            let _: Value = trip.getrange(name, 0, last).await?;
            let _: Value = trip.pttl(lease.clone()).await?;
            let _: Value = trip.getrange(lease, 0, codec::LEASE_SIZE).await?;
            let answers: Vec<FredResult<Value>> = trip.try_all().await;
            match <[_; 5]>::try_from(answers) {
                // A value of another type is neither an entry nor a lease.
                Ok([line, kept, value, left, lease]) => {
                    let answers: InspectReplies =
                        (line?.into_array(), kept?.convert()?, value, left?.convert()?, lease);
                    Ok(answers)
                }
                Err(answers) => Err(answers.into_iter().find_map(Result::err).unwrap_or_else(Error::new_canceled)),
            }
        });
        let (line, kept, value, lease_left, lease) = trip.await.map_err(CommandError::into_read_error)?;
        let line = PartitionCounter::read(line);
        let stored = match value.map(bytes) {
            Ok(Some(bytes)) if kept != NO_KEY && !bytes.is_empty() => {
                Some(self.look_at(&shard, key, &line, ReadValue { bytes, kept, sent_at }, deadline).await?)
            }
            Ok(_) => None,
            Err(_) => Some(Stored { entry: None, size: 0, stored_size: 0, not_served: Some(NotServed::Unreadable) }),
        };
        let granted = lease.ok().and_then(bytes).and_then(|lease| codec::decode_lease(&lease));
        let mut left = granted.and(u64::try_from(lease_left).ok()).map(Duration::from_millis);
        if let Some((version, granted_micros)) = granted {
            let found = LookupEntry { version, written_micros: granted_micros, tags: &Tags::default() };
            let covered =
                self.invalidation_lookup.coverage(&self.executor, key.as_ref(), &line, found, deadline).await?;
            let is_of_this_epoch = line.position.is_some_and(|position| position.epoch == version.epoch);
            left = left.filter(|_| is_of_this_epoch && covered == Some(0));
        }
        Ok(Inspected { position: line.position.unwrap_or(Version::ZERO), stored, lease: left })
    }

    async fn look_at(
        &self,
        shard: &Shard,
        key: &Key,
        line: &PartitionCounter,
        ReadValue { bytes, kept, sent_at }: ReadValue,
        deadline: Moment,
    ) -> Result<Stored, L2Error> {
        let stored_size = codec::stored_size(&bytes).unwrap_or(bytes.len()) as u64;
        let too_large = bytes.len() > self.last_byte();
        let decoded = codec::decode_entry(bytes).filter(|_| !too_large);
        let opened = match decoded {
            Some(stored) => self.open(key.as_ref(), stored, &shard.primary.clock).await,
            None => None,
        };
        let Some(mut stored) = opened else {
            return Ok(Stored { entry: None, size: 0, stored_size, not_served: Some(NotServed::Unreadable) });
        };
        let StoredEntry { version, written_micros, ref tags, .. } = stored;
        let found = LookupEntry { version, written_micros, tags };
        let covered = self.invalidation_lookup.coverage(&self.executor, key.as_ref(), line, found, deadline).await?;
        let not_served = match covered {
            _ if !line.counts(version) => Some(NotServed::Epoch),
            Some(since) if since == 0 || stored.window_millis > 0 => {
                stored.marked_micros = earlier(stored.marked_micros, since);
                None
            }
            _ => Some(NotServed::Invalidated(self.cause(key, line, &stored, deadline).await?)),
        };
        let size = stored.plain_size as u64;
        let partition = key.as_ref().partition(self.context.keys.partitions());
        let entry = Some(entry_at(&shard.primary.clock, partition, stored, kept, sent_at));
        Ok(Stored { entry, size, stored_size, not_served })
    }

    /// Returns the cause of an entry's invalidation.
    async fn cause(
        &self,
        key: &Key,
        line: &PartitionCounter,
        stored: &StoredEntry,
        deadline: Moment,
    ) -> Result<InvalidationCause, L2Error> {
        let &StoredEntry { version, written_micros, ref tags, .. } = stored;
        if let Some(cause) = line.record.cause(key.bytes(), version, written_micros) {
            return Ok(cause);
        }
        let untagged = [(InvalidationCause::Prefix(None), Tags::default())].into_iter();
        let tagged = tags.iter().map(|tag| (InvalidationCause::Tag(tag.clone()), Tags::new(vec![tag.clone()])));
        for (cause, tags) in untagged.chain(tagged) {
            let found = LookupEntry { version, written_micros, tags: &tags };
            if self.invalidation_lookup.coverage(&self.executor, key.as_ref(), line, found, deadline).await? != Some(0)
            {
                return Ok(cause);
            }
        }
        Ok(InvalidationCause::Unknown)
    }
}
