//! Reads one key, and decodes the stored entry.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fred::interfaces::{HashesInterface as _, KeysInterface as _};
use fred::prelude::{Error, FredResult};
use fred::types::Value;

use super::invalidation_lookup::LookupEntry;
use super::read_reply::EntryReply;
use super::read_trip::{EntriesRead, Reach, TYPICAL_BYTES};
use super::redis_l2::RedisL2;
use crate::backend::redis::command::command_error::CommandError;
use crate::backend::redis::connection::clock::RedisClock;
use crate::backend::redis::connection::command_metrics::CommandKind;
use crate::backend::redis::connection::large_values::SMALL_VALUE_BYTES;
use crate::backend::redis::connection::shard::Shard;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::codec::HeadLife;
use crate::backend::redis::schema::compression_pool;
use crate::backend::redis::schema::crypto::RefusedKind;
use crate::backend::redis::schema::invalidation_record::earlier;
use crate::backend::redis::schema::partition_counter::PartitionCounter;
use crate::backend::redis::schema::reply::bytes;
use crate::backend::redis::schema::stored_entry::StoredEntry;
use crate::cache::clock::Moment;
use crate::cache::entry::{Details, Entry, Sliding};
use crate::cache::key::{Key, KeyRef};
use crate::cache::namespace::Namespace;
use crate::cache::tier::{Current, L2Error, ReadResult, Timeout};
use crate::cache::version::Version;

/// The reply of PTTL for a missing key.
pub(crate) const NO_KEY: i64 = -2;

/// Facts about a read when it was sent.
#[derive(Clone, Copy)]
pub(super) struct SentRead {
    /// Time of sending.
    pub sent_at: Moment,
    /// Deadline of a second round trip.
    pub deadline: Moment,
}

impl RedisL2 {
    /// Reads an entry: first as much of it as is small, in a trip with other reads.
    ///
    /// A larger one is read once more as a whole over the connection for large values, and one
    /// whose end its head does not show once more with its remaining time. Nothing of the first
    /// read is used then.
    pub(crate) async fn read_entry(&self, key: &Key, mut timeout: Timeout) -> Result<ReadResult, L2Error> {
        let partition = key.as_ref().partition(self.context.keys.partitions());
        let shard = self.executor.shard(partition)?;
        let started_at = self.context.clock.now();
        let mut reach = self.small(SMALL_VALUE_BYTES, key.namespace());
        loop {
            let read = EntriesRead {
                field: self.context.keys.invalidation_field(key.namespace().name()),
                entries: vec![(partition, self.context.keys.entry(key.as_ref()))],
                reach,
                bytes: TYPICAL_BYTES,
            };
            let mut reply = self.reads.read(&shard, read, timeout).await.map_err(CommandError::into_read_error)?;
            let Some(mut entry) = reply.entries.pop() else { return Err(L2Error::unavailable("no answer")) };
            let renew = |timeout: Timeout| timeout.renewed(started_at, self.context.clock.now());
            if reach.large.is_some() {
                timeout = renew(timeout);
            }
            let sent = SentRead { sent_at: reply.sent_at, deadline: timeout.deadline };
            reach = match self.beyond(&shard, key.as_ref(), (&mut entry, sent.sent_at), reach) {
                None => return self.found(&shard, key.as_ref(), entry, sent).await,
                Some(further) => further,
            };
            if reach.large.is_some() {
                timeout = renew(timeout);
            }
        }
    }

    /// The part of each entry that a first read requests: at most so many bytes.
    pub(super) fn small(&self, bytes: usize, namespace: &Namespace) -> Reach {
        Reach { last: bytes.min(self.last_byte()), life: self.reads.is_sliding(namespace), large: None }
    }

    /// Returns the reach of a further read if `reply` lacks a part of the entry, or the time of its
    /// end. If not, adds the remaining time by the head to a reply without one.
    pub(super) fn beyond(
        &self,
        shard: &Shard,
        key: KeyRef<'_>,
        (reply, sent_at): (&mut EntryReply, Moment),
        reach: Reach,
    ) -> Option<Reach> {
        let value = reply.value.as_ref().ok()?.as_bytes()?;
        let is_cut = value.len() > reach.last && reach.last < self.last_byte();
        if let Some(size) = codec::size_in_head(value).filter(|_| is_cut) {
            let bytes = size.clamp(value.len(), self.last_byte());
            return Some(Reach { last: self.last_byte(), life: true, large: Some(bytes) });
        }
        let life = codec::life_in_head(value).filter(|_| !reach.life)?;
        if life.slide_micros > 0 {
            self.reads.saw_sliding(key.namespace);
        }
        let left = life_left(&shard.primary.clock, &life, (sent_at, self.context.clock.now()));
        reply.ttl = left.map(Ok);
        if left.is_some() { None } else { Some(Reach { life: true, ..reach }) }
    }

    /// Decodes the replies for one key.
    pub(super) async fn found(
        &self,
        shard: &Shard,
        key: KeyRef<'_>,
        EntryReply { counter, ttl, value }: EntryReply,
        SentRead { sent_at, deadline }: SentRead,
    ) -> Result<ReadResult, L2Error> {
        let refused = |error: &Error| self.executor.part_refused(shard, error);
        let line = counter.line.as_ref().map_err(refused)?;
        let ttl = ttl.unwrap_or(Ok(NO_KEY)).map_err(|error| refused(&error))?;
        let partition = key.partition(self.context.keys.partitions());
        self.saw_patterns(partition, key.namespace.name(), line);
        let clock = &shard.primary.clock;
        let plausible = |position: &Version| clock.may_begin(position.epoch, self.context.clock.now());
        let Some(position) = line.position.filter(plausible) else {
            // No counter: the order of all entries is lost with it.
            return Ok(ReadResult { position: Version::ZERO, entry: None });
        };
        // A floor that no clock can have led to is from before the clock was set back.
        if position < counter.floor && plausible(&counter.floor) {
            return Err(self.handle_older_data(shard));
        }
        self.context.raise_floor(partition, position);
        let mut read = ReadResult { position, entry: None };
        if let Some(mut stored) = self.read_stored(key, value).filter(|_| ttl != NO_KEY) {
            let StoredEntry { version, written_micros, tags, .. } = &stored;
            let found = LookupEntry { version: *version, written_micros: *written_micros, tags };
            if let Some(since) = self.invalidation_lookup.coverage(&self.executor, key, line, found, deadline).await? {
                stored.marked_micros = earlier(stored.marked_micros, since);
                // A marked entry without a stale window is gone.
                if since == 0 || stored.window_millis > 0 {
                    let opened = self.open(key, stored, clock).await;
                    read.entry = opened.map(|stored| entry_at(clock, partition, stored, ttl, sent_at));
                }
            }
        }
        Ok(read)
    }

    /// Verifies, decrypts and decompresses an entry that was read for `key`. Counts one that is
    /// refused.
    pub(super) async fn open(&self, key: KeyRef<'_>, stored: StoredEntry, clock: &RedisClock) -> Option<StoredEntry> {
        let (context, now) = (&self.context, self.context.clock.now());
        let bounds = (context.config.limits.value_size, clock.at_least(now));
        match compression_pool::open(stored, key, &context.protection, bounds).await {
            Ok(opened) => Some(opened),
            Err(refusal) => {
                context.refusals.record(RefusedKind::Entry, refusal, now);
                self.undecodable()
            }
        }
    }

    /// Remembers the active patterns in the counter.
    fn saw_patterns(&self, partition: u16, namespace: &str, line: &PartitionCounter) {
        if !line.record.listed.patterns.is_empty() {
            self.invalidation_lookup.saw(partition, namespace, &line.record.listed);
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

/// Returns for how many milliseconds after `sent_at` Redis keeps an entry, by its head; -1: no end.
///
/// `None` if the head does not show that: then Redis has to be asked.
///
/// The head ends with Redis's time to live, or earlier: reads extend a sliding entry without
/// changing its head, and a Touch of an earlier build leaves in the head a time to live that
/// begins with the Touch. So an entry that has ended by its head may live. One that was written
/// later than `now` is of another clock. A mark shortens the life.
fn life_left(clock: &RedisClock, life: &HeadLife, (sent_at, now): (Moment, Moment)) -> Option<i64> {
    if life.ttl_millis == 0 {
        return Some(-1);
    }
    let ((sent_micros, _), (now_micros, _)) = (clock.at(sent_at)?, clock.at(now)?);
    if life.slide_micros > 0 || life.marked_micros > 0 || life.written_micros > now_micros {
        return None;
    }
    let ends_micros = life.written_micros.saturating_add(life.ttl_millis.saturating_mul(1000));
    let left = ends_micros.checked_sub(sent_micros.max(life.written_micros)).filter(|left| *left >= 1000)?;
    i64::try_from((left / 1000).saturating_add(life.window_millis)).ok()
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
    // The writer's signature bounds what anyone may have made of it in Redis.
    let latest = stored.latest_end_micros.map_or(Moment::FOREVER, |end| sent_at.plus(clock.until(end, sent_at)));
    let (expires_at, kept_until) = (expires_at.min(latest), kept_until.min(latest.plus(millis(stored.window_millis))));
    let slides = (stored.slide_micros > 0).then(|| Sliding {
        idle: millis(stored.ttl_millis),
        until: written_at
            .plus(Duration::from_micros(stored.slide_micros.saturating_sub(stored.written_micros)))
            .min(latest),
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
