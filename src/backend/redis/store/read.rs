//! Reads one key, and decodes the stored entry.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fred::interfaces::{HashesInterface as _, KeysInterface as _};
use fred::prelude::{Error, FredResult};
use fred::types::Value;

use super::invalidation_lookup::LookupEntry;
use super::redis_l2::RedisL2;
use crate::backend::redis::command::command_error::CommandError;
use crate::backend::redis::connection::clock::RedisClock;
use crate::backend::redis::connection::command_metrics::CommandKind;
use crate::backend::redis::connection::large_values::{Reach, SMALL_VALUE_BYTES};
use crate::backend::redis::connection::shard::Shard;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::compression_pool;
use crate::backend::redis::schema::invalidation_record::earlier;
use crate::backend::redis::schema::partition_counter::PartitionCounter;
use crate::backend::redis::schema::reply::bytes;
use crate::backend::redis::schema::stored_entry::StoredEntry;
use crate::cache::clock::Moment;
use crate::cache::entry::{Details, Entry, Sliding};
use crate::cache::key::{Key, KeyRef};
use crate::cache::tier::{Current, L2Error, ReadResult, Timeout};
use crate::cache::version::Version;

/// The reply of PTTL for a missing key.
pub(crate) const NO_KEY: i64 = -2;

/// Facts about a read when it was sent.
#[derive(Clone, Copy)]
pub(in crate::backend::redis) struct SentRead {
    /// The position of the partition that this replica had seen.
    pub floor: Version,
    /// Time of sending.
    pub sent_at: Moment,
    /// Deadline of a second round trip.
    pub deadline: Moment,
}

/// The replies for one key.
pub(in crate::backend::redis) struct EntryReply {
    /// Remaining time to live by Redis, milliseconds; [`NO_KEY`] if there is none.
    pub ttl: i64,
    /// The stored bytes.
    pub value: FredResult<Value>,
}

/// The replies of one round trip.
struct Trip {
    sent: SentRead,
    line: PartitionCounter,
    reply: EntryReply,
}

impl RedisL2 {
    /// Reads an entry: first as much of it as is small, over a shared connection.
    ///
    /// A larger one is read once more as a whole over the connection for large values, with a
    /// position and a time to live of its own before it; nothing of the first read is used.
    pub(crate) async fn read_entry(&self, key: &Key, mut timeout: Timeout) -> Result<ReadResult, L2Error> {
        let partition = key.as_ref().partition(self.context.keys.partitions());
        let shard = self.executor.shard(partition)?;
        let sent_at = self.context.clock.now();
        let small = Reach { last: SMALL_VALUE_BYTES.min(self.last_byte()), large: None };
        let mut trip = self.read_as_far(&shard, key, small, timeout).await?;
        if let Some(bytes) = self.larger(&trip.reply.value, small) {
            let whole = Reach { last: self.last_byte(), large: Some(bytes) };
            timeout = timeout.renewed(sent_at, self.context.clock.now());
            trip = self.read_as_far(&shard, key, whole, timeout).await?;
            timeout = timeout.renewed(sent_at, self.context.clock.now());
        }
        let Trip { sent, line, reply } = trip;
        let sent = SentRead { deadline: timeout.deadline, ..sent };
        let read = self.found(&shard, key.as_ref(), &line, reply, sent).await;
        self.saw_patterns(partition, key.namespace().name(), line);
        read
    }

    async fn read_as_far(&self, shard: &Shard, key: &Key, reach: Reach, timeout: Timeout) -> Result<Trip, L2Error> {
        let keys = &self.context.keys;
        let partition = key.as_ref().partition(keys.partitions());
        let (counter, name) = (keys.counter(partition), keys.entry(key.as_ref()));
        let fields = PartitionCounter::fields(keys.invalidation_field(key.namespace().name()));
        let (floor, sent_at) = (self.context.floor(partition), self.context.clock.now());
        let sent = SentRead { floor, sent_at, deadline: timeout.deadline };
        let last = reach.last;
        self.context.commands.inc();
        let trip =
            self.executor.read(shard, (reach, timeout), CommandKind::Pipeline(3), move |connection| async move {
                // The position before the entry, so that an absence is never taken for newer than it
                // is; the time to live before the value.
                let trip = connection.client.pipeline();
                let _: Value = trip.hmget(counter, fields).await?;
                let _: Value = trip.pttl(fred::types::Key::from(name.clone())).await?;
                let _: Value = trip.getrange(fred::types::Key::from(name), 0, last).await?;
                let answers: Vec<FredResult<Value>> = trip.try_all().await;
                match <[_; 3]>::try_from(answers) {
                    Ok([line, ttl, value]) => Ok((PartitionCounter::read(line?.into_array()), ttl?.convert()?, value)),
                    // A pipeline that failed as a whole has one reply.
                    Err(answers) => Err(answers.into_iter().find_map(Result::err).unwrap_or_else(Error::new_canceled)),
                }
            });
        let (line, ttl, value) = trip.await.map_err(CommandError::into_read_error)?;
        Ok(Trip { sent, line, reply: EntryReply { ttl, value } })
    }

    /// The size of an entry by its header, if `reach` did not cover all of it.
    pub(in crate::backend::redis) fn larger(&self, value: &FredResult<Value>, reach: Reach) -> Option<usize> {
        let value = value.as_ref().ok()?.as_bytes()?;
        let is_cut = value.len() > reach.last && reach.last < self.last_byte();
        let size = codec::size_in_head(value).filter(|_| is_cut)?;
        Some(size.clamp(value.len(), self.last_byte()))
    }

    /// Decodes the replies for one key.
    pub(in crate::backend::redis) async fn found(
        &self,
        shard: &Shard,
        key: KeyRef<'_>,
        line: &PartitionCounter,
        EntryReply { ttl, value }: EntryReply,
        SentRead { floor, sent_at, deadline }: SentRead,
    ) -> Result<ReadResult, L2Error> {
        let plausible = |position: &Version| shard.primary.clock.may_begin(position.epoch, self.context.clock.now());
        let Some(position) = line.position.filter(plausible) else {
            // No counter: the order of all entries is lost with it.
            return Ok(ReadResult { position: Version::ZERO, entry: None });
        };
        if position < floor {
            return Err(self.handle_older_data(shard));
        }
        self.context.raise_floor(key.partition(self.context.keys.partitions()), position);
        let mut read = ReadResult { position, entry: None };
        if let Some(mut stored) = self.read_stored(key, value).filter(|_| ttl != NO_KEY) {
            let StoredEntry { version, written_micros, tags, .. } = &stored;
            let found = LookupEntry { version: *version, written_micros: *written_micros, tags };
            if let Some(since) = self.invalidation_lookup.coverage(&self.executor, key, line, found, deadline).await? {
                stored.marked_micros = earlier(stored.marked_micros, since);
                // A marked entry without a stale window is gone.
                if since == 0 || stored.window_millis > 0 {
                    let unpacked = compression_pool::unpack(stored, self.context.config.limits.value_size).await;
                    let unpacked = unpacked.or_else(|| self.undecodable());
                    read.entry = unpacked.map(|stored| {
                        let partition = key.partition(self.context.keys.partitions());
                        entry_at(&shard.primary.clock, partition, stored, ttl, sent_at)
                    });
                }
            }
        }
        Ok(read)
    }

    /// Remembers the active patterns in the counter.
    pub(in crate::backend::redis) fn saw_patterns(&self, partition: u16, namespace: &str, line: PartitionCounter) {
        if !line.record.listed.patterns.is_empty() {
            self.invalidation_lookup.saw(partition, namespace, line.record.listed);
        }
    }

    /// The last byte that is read of an entry: one past the largest entry.
    ///
    /// The rest of a larger value is not sent.
    pub(in crate::backend::redis) fn last_byte(&self) -> usize {
        codec::max_entry_size(self.context.config.limits.value_size)
    }

    fn read_stored(&self, key: KeyRef<'_>, value: FredResult<Value>) -> Option<StoredEntry> {
        match value.map(bytes) {
            // Redis also replies so for a missing key.
            Ok(Some(bytes)) if bytes.is_empty() => None,
            Ok(Some(bytes)) if bytes.len() > self.last_byte() => self.too_large(key.namespace.name()),
            Ok(Some(bytes)) => codec::decode_entry(bytes).or_else(|| self.undecodable()),
            Ok(None) | Err(_) => self.undecodable(),
        }
    }

    /// Counts a value that is larger than any entry can be, and logs the first one.
    fn too_large<T>(&self, namespace: &str) -> Option<T> {
        if !self.too_large_is_logged.swap(true, Ordering::Relaxed) {
            let limit = self.last_byte();
            tracing::warn!(namespace, limit, "redis: ignored a value larger than any entry");
        }
        self.undecodable()
    }

    pub(crate) async fn read_current(&self, key: &Key, deadline: Moment) -> Result<Option<Current>, L2Error> {
        let keys = &self.context.keys;
        let partition = key.as_ref().partition(keys.partitions());
        let (counter, name) = (keys.counter(partition), keys.entry(key.as_ref()));
        let fields = PartitionCounter::fields(keys.invalidation_field(key.namespace().name()));
        let shard = self.executor.shard(partition)?;
        self.context.commands.inc();
        let trip = self.executor.call(&shard, deadline, CommandKind::Pipeline(2), |connection| async move {
            let trip = connection.client.pipeline();
            let _: Value = trip.hmget(counter, fields).await?;
            let _: Value = trip.getrange(fred::types::Key::from(name), 0, codec::HEAD - 1).await?;
            trip.all::<(Vec<Value>, Value)>().await
        });
        let (line, head) = trip.await.map_err(CommandError::into_read_error)?;
        let Some((version, written_micros, tags)) = bytes(head).and_then(|head| codec::decode_head(&head)) else {
            return Ok(None);
        };
        let found = LookupEntry { version, written_micros, tags: &tags };
        if self
            .invalidation_lookup
            .coverage(&self.executor, key.as_ref(), &PartitionCounter::read(line), found, deadline)
            .await?
            .is_none()
        {
            return Ok(None);
        }
        let now = self.context.clock.now();
        let Some((_, uncertainty)) = shard.primary.clock.at(now) else { return Ok(None) };
        let written_at = now.minus(shard.primary.clock.age(written_micros, now));
        Ok(Some(Current { version, written_at, uncertainty }))
    }
}

/// Converts a stored entry.
///
/// Redis reported after `sent_at` that it keeps it for another `kept` milliseconds; not positive:
/// no end.
///
/// Time that a clock which was set back has added does not count.
pub(crate) fn entry_at(clock: &RedisClock, partition: u16, stored: StoredEntry, kept: i64, sent_at: Moment) -> Entry {
    let too_long = clock.kept_too_long(partition, stored.version);
    let at = |micros: u64| sent_at.minus(clock.age(micros, sent_at)).minus(too_long);
    let millis = Duration::from_millis;
    let written_at = at(stored.written_micros);
    let (expires_at, kept_until) = match u64::try_from(kept) {
        Ok(kept) if stored.ttl_millis > 0 => {
            let kept_until = sent_at.plus(millis(kept)).minus(too_long);
            let ends = kept_until.minus(millis(stored.window_millis));
            // The header of a sliding entry has the extension by reads, not by a Touch.
            let longest = if stored.slide_micros > 0 { ends } else { sent_at.plus(millis(stored.ttl_millis)) };
            (ends.min(longest), kept_until)
        }
        // Without a time to live in Redis the entry must have none.
        _ if stored.ttl_millis > 0 => (written_at.plus(millis(stored.ttl_millis)), Moment::FOREVER),
        _ => (Moment::FOREVER, Moment::FOREVER),
    };
    let slides = (stored.slide_micros > 0).then(|| Sliding {
        idle: millis(stored.ttl_millis),
        until: written_at.plus(Duration::from_micros(stored.slide_micros.saturating_sub(stored.written_micros))),
    });
    let details = Details {
        tags: stored.tags,
        source_version: stored.source_version,
        cost: millis(u64::from(stored.cost_millis)),
        due_at: if stored.soft_millis > 0 { written_at.plus(millis(stored.soft_millis)) } else { Moment::FOREVER },
        sliding: slides,
        marked_at: None,
    };
    let entry = Entry {
        version: stored.version,
        content: stored.content,
        content_type: stored.content_type,
        written_at,
        expires_at,
        kept_until,
        stale_window: millis(stored.window_millis),
        details: details.into(),
    };
    // Callers rely on that it has not been marked for longer than the answer says.
    let marked_at = || sent_at.minus(clock.age_at_most(stored.marked_micros, sent_at));
    entry.marked_since((stored.marked_micros > 0).then(marked_at))
}
