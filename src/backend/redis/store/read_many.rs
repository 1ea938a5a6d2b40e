//! Reads many keys: pipelined round trips of bounded size to each primary.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fred::interfaces::{HashesInterface as _, KeysInterface as _};
use fred::prelude::{Error, FredResult};
use fred::types::Value;
use futures_util::future::join_all;

use super::read::{EntryReply, SentRead};
use super::redis_l2::RedisL2;
use crate::backend::redis::command::command_error::CommandError;
use crate::backend::redis::connection::command_metrics::CommandKind;
use crate::backend::redis::connection::large_values;
use crate::backend::redis::connection::large_values::Reach;
use crate::backend::redis::connection::redis_connection::Connection;
use crate::backend::redis::connection::shard::Shard;
use crate::backend::redis::schema::partition_counter::PartitionCounter;
use crate::cache::key::{Key, KeyRef};
use crate::cache::tier::{L2Error, ReadResult, Timeout};

/// The keys of one round trip to one primary.
struct BatchTrip {
    shard: Arc<Shard>,
    /// Each partition among them, and its counter.
    counters: Vec<(u16, String)>,
    /// Name of each key, and the index of its counter.
    names: Vec<(Bytes, usize)>,
    /// Index of each key in the request.
    places: Vec<usize>,
    /// Approximate size of the reply, bytes.
    bytes: usize,
}

/// The replies: each counter, and time to live and value of each key.
struct ManyReplies {
    lines: Vec<FredResult<Value>>,
    values: Vec<(FredResult<Value>, FredResult<Value>)>,
}

/// The result for one key.
enum Part {
    Read(Box<Result<ReadResult, L2Error>>),
    /// The size of an entry that was not read completely.
    Larger(usize),
}

impl RedisL2 {
    /// Reads keys of one namespace, in their order.
    ///
    /// Large values are read once more as a whole, over the connection for them.
    pub(crate) async fn read_entries(&self, keys: &[Key], timeout: Timeout) -> Vec<Result<ReadResult, L2Error>> {
        let mut reads: Vec<Result<ReadResult, L2Error>> =
            keys.iter().map(|_| Err(L2Error::unavailable("no answer"))).collect();
        let sent_at = self.context().clock.now();
        let small = large_values::small_among(keys.len()).min(self.last_byte());
        let all: Vec<_> = (0..keys.len()).map(|place| (place, small)).collect();
        let larger = self.read_parts(keys, &all, (small, false), timeout, &mut reads).await;
        let timeout = timeout.renewed(sent_at, self.context().clock.now());
        self.read_parts(keys, &larger, (self.last_byte(), true), timeout, &mut reads).await;
        reads
    }

    /// Reads the keys at these indices, each with its expected size.
    ///
    /// Returns those that are larger, with their sizes.
    async fn read_parts(
        &self,
        keys: &[Key],
        wanted: &[(usize, usize)],
        (last, is_large): (usize, bool),
        timeout: Timeout,
        reads: &mut [Result<ReadResult, L2Error>],
    ) -> Vec<(usize, usize)> {
        let by_primary = self.trips(keys, wanted, reads);
        let asked = by_primary.iter().map(|trips| self.read_in_turn(trips, keys, (last, is_large), timeout));
        let mut larger = Vec::new();
        for (place, part) in join_all(asked).await.into_iter().flatten() {
            match part {
                Part::Read(read) => reads[place] = *read,
                Part::Larger(bytes) => larger.push((place, bytes)),
            }
        }
        larger
    }

    /// Makes the round trips to one primary, a few at a time: other callers' commands come in
    /// between.
    ///
    /// After a failure, the rest is not tried.
    async fn read_in_turn(
        &self,
        trips: &[BatchTrip],
        keys: &[Key],
        (last, is_large): (usize, bool),
        timeout: Timeout,
    ) -> Vec<(usize, Part)> {
        let sent_at = self.context().clock.now();
        let mut parts = Vec::new();
        let mut failed = None;
        for wave in trips.chunks(large_values::MAX_CONCURRENT_TRIPS) {
            let timeout = timeout.renewed(sent_at, self.context().clock.now());
            let asked = wave.iter().map(|trip| {
                let reach = Reach { last, large: is_large.then_some(trip.bytes) };
                self.read_trip(trip, keys, reach, timeout)
            });
            let answers = match &failed {
                None => join_all(asked).await,
                Some(error) => wave.iter().map(|_| Err(L2Error::clone(error))).collect(),
            };
            for (trip, answer) in wave.iter().zip(answers) {
                failed = failed.or_else(|| answer.as_ref().err().cloned());
                let answer = answer.unwrap_or_else(|error| {
                    trip.places.iter().map(|_| Part::Read(Box::new(Err(error.clone())))).collect()
                });
                parts.extend(trip.places.iter().copied().zip(answer));
            }
        }
        parts
    }

    /// Groups keys into round trips of bounded size, by primary.
    ///
    /// Keys without a known primary are answered immediately.
    fn trips(
        &self,
        keys: &[Key],
        wanted: &[(usize, usize)],
        reads: &mut [Result<ReadResult, L2Error>],
    ) -> Vec<Vec<BatchTrip>> {
        let schema = &self.context().keys;
        let mut by_partition: BTreeMap<u16, Vec<(usize, usize)>> = BTreeMap::new();
        for (place, bytes) in wanted {
            by_partition
                .entry(keys[*place].as_ref().partition(schema.partitions()))
                .or_default()
                .push((*place, *bytes));
        }
        let mut by_primary: Vec<Vec<BatchTrip>> = Vec::new();
        for (partition, wanted) in by_partition {
            let shard = match self.executor().shard(partition) {
                Ok(shard) => shard,
                Err(error) => {
                    wanted.into_iter().for_each(|(place, _)| reads[place] = Err(error.clone()));
                    continue;
                }
            };
            let is_same = |trips: &Vec<BatchTrip>| trips.first().is_some_and(|trip| Arc::ptr_eq(&trip.shard, &shard));
            let index = by_primary.iter().position(is_same).unwrap_or_else(|| {
                by_primary.push(Vec::new());
                by_primary.len() - 1
            });
            for (place, bytes) in wanted {
                let name = schema.entry(keys[place].as_ref());
                add(&mut by_primary[index], &shard, (partition, || schema.counter(partition)), (place, name, bytes));
            }
        }
        by_primary
    }

    async fn read_trip(
        &self,
        trip: &BatchTrip,
        keys: &[Key],
        reach: Reach,
        timeout: Timeout,
    ) -> Result<Vec<Part>, L2Error> {
        let namespace = keys.first().map_or("", |key| key.namespace().name());
        let fields = PartitionCounter::fields(self.context().keys.invalidation_field(namespace));
        let sent_at = self.context().clock.now();
        let asked: Vec<SentRead> = trip
            .counters
            .iter()
            .map(|(partition, _)| SentRead {
                floor: self.context().floor(*partition),
                sent_at,
                deadline: timeout.deadline,
            })
            .collect();
        self.context().commands.inc();
        let counters = trip.counters.iter().map(|(_, counter)| counter.clone()).collect();
        let names = trip.names.clone();
        let sent = move |connection: Arc<Connection>| async move {
            send(&connection, counters, names, fields, reach.last).await
        };
        let command = CommandKind::Pipeline(trip.counters.len() + 2 * trip.names.len());
        let answers = self.executor().read(&trip.shard, (reach, timeout), command, sent).await;
        let answers = answers.map_err(CommandError::into_read_error)?;
        let deadline = match reach.large {
            Some(_) => timeout.renewed(sent_at, self.context().clock.now()).deadline,
            None => timeout.deadline,
        };
        let lines: Vec<Result<PartitionCounter, L2Error>> = answers
            .lines
            .into_iter()
            .map(|line| self.part(trip, line.map(|line| PartitionCounter::read(line.into_array()))))
            .collect();
        let found = trip.names.iter().zip(&trip.places).zip(answers.values);
        let parts = join_all(found.map(|(((_, counter), place), (ttl, value))| {
            let (line, key) = (lines[*counter].as_ref(), keys[*place].as_ref());
            let sent = SentRead { deadline, ..asked[*counter] };
            async move {
                if let Some(bytes) = self.larger(&value, reach) {
                    return Part::Larger(bytes);
                }
                Part::Read(Box::new(self.judge(trip, key, line, (ttl, value), sent).await))
            }
        }));
        let parts = parts.await;
        for ((partition, _), line) in trip.counters.iter().zip(lines) {
            line.into_iter().for_each(|line| self.saw_patterns(*partition, namespace, line));
        }
        Ok(parts)
    }

    async fn judge(
        &self,
        trip: &BatchTrip,
        key: KeyRef<'_>,
        line: Result<&PartitionCounter, &L2Error>,
        (ttl, value): (FredResult<Value>, FredResult<Value>),
        sent: SentRead,
    ) -> Result<ReadResult, L2Error> {
        let line = line.map_err(Clone::clone)?;
        let ttl = self.part(trip, ttl.and_then(|ttl| ttl.convert()))?;
        self.found(&trip.shard, key, line, EntryReply { ttl, value }, sent).await
    }

    /// One of the replies of a round trip.
    fn part<T>(&self, trip: &BatchTrip, answer: FredResult<T>) -> Result<T, L2Error> {
        answer.map_err(|error| self.executor().part_refused(&trip.shard, &error))
    }
}

/// Adds a key to the last round trip, or to a new one if that would become too large.
fn add(
    trips: &mut Vec<BatchTrip>,
    shard: &Arc<Shard>,
    (partition, counter): (u16, impl FnOnce() -> String),
    (place, name, bytes): (usize, Bytes, usize),
) {
    if trips.last().is_none_or(|trip| trip.bytes + bytes > large_values::TRIP_BYTES) {
        let (counters, names, places) = (Vec::new(), Vec::new(), Vec::new());
        trips.push(BatchTrip { shard: shard.clone(), counters, names, places, bytes: 0 });
    }
    let Some(trip) = trips.last_mut() else { return };
    if trip.counters.last().is_none_or(|(last, _)| *last != partition) {
        trip.counters.push((partition, counter()));
    }
    trip.names.push((name, trip.counters.len() - 1));
    trip.places.push(place);
    trip.bytes += bytes;
}

/// Sends one pipeline: the counters before the entries, so that an absence is never taken for newer
/// than it is; each time to live before its value.
async fn send(
    connection: &Connection,
    counters: Vec<String>,
    names: Vec<(Bytes, usize)>,
    fields: Vec<String>,
    last: usize,
) -> Result<ManyReplies, Error> {
    let trip = connection.client.pipeline();
    let expected = counters.len() + 2 * names.len();
    let partitions = counters.len();
    for counter in counters {
        let _: Value = trip.hmget(counter, fields.clone()).await?;
    }
    for (name, _) in names {
        let _: Value = trip.pttl(fred::types::Key::from(name.clone())).await?;
        let _: Value = trip.getrange(fred::types::Key::from(name), 0, last).await?;
    }
    let mut answers: Vec<FredResult<Value>> = trip.try_all().await;
    if answers.len() != expected {
        // A pipeline that failed as a whole has one reply.
        return Err(answers.into_iter().find_map(Result::err).unwrap_or_else(Error::new_canceled));
    }
    let mut rest = answers.split_off(partitions).into_iter();
    let mut values = Vec::with_capacity(rest.len() / 2);
    while let (Some(ttl), Some(value)) = (rest.next(), rest.next()) {
        values.push((ttl, value));
    }
    Ok(ManyReplies { lines: answers, values })
}
