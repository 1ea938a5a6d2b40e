//! Reads many keys: round trips of bounded size to each primary, together with other reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::read::SentRead;
use super::read_trip::{EntriesRead, Reach};
use super::redis_l2::RedisL2;
use crate::backend::redis::command::command_error::CommandError;
use crate::backend::redis::connection::large_values;
use crate::backend::redis::connection::shard::Shard;
use crate::cache::key::Key;
use crate::cache::tier::{L2Error, ReadResult, Timeout};

/// The keys of one round trip to one primary.
struct BatchTrip {
    shard: Arc<Shard>,
    read: EntriesRead,
    /// Index of each key in the request.
    places: Vec<usize>,
}

/// A key to read, by its index in the request, and the expected size of its value.
type Wanted = (usize, usize);

/// The result for one key.
enum Part {
    Read(Box<Result<ReadResult, L2Error>>),
    /// The entry has to be read further.
    Beyond(Reach),
}

impl RedisL2 {
    /// Reads keys of one namespace, in their order.
    ///
    /// Entries whose head does not show their end are read once more with their remaining time,
    /// and large values as a whole, over the connection for them.
    pub(crate) async fn read_entries(&self, keys: &[Key], timeout: Timeout) -> Vec<Result<ReadResult, L2Error>> {
        let mut reads: Vec<Result<ReadResult, L2Error>> =
            keys.iter().map(|_| Err(L2Error::unavailable("no answer"))).collect();
        let Some(first) = keys.first() else { return reads };
        let sent_at = self.context().clock.now();
        let mut reach = self.small(large_values::small_among(keys.len()), first.namespace());
        let small = reach.last;
        let mut wanted: Vec<Wanted> = (0..keys.len()).map(|place| (place, small)).collect();
        let mut larger = Vec::new();
        while !wanted.is_empty() {
            let further = self.read_parts(keys, &wanted, reach, timeout, &mut reads).await;
            wanted.clear();
            for (place, beyond) in further {
                match beyond.large {
                    Some(bytes) => larger.push((place, bytes)),
                    None => wanted.push((place, small)),
                }
            }
            reach.life = true;
        }
        let timeout = timeout.renewed(sent_at, self.context().clock.now());
        let whole = Reach { last: self.last_byte(), life: true, large: Some(0) };
        self.read_parts(keys, &larger, whole, timeout, &mut reads).await;
        reads
    }

    /// Reads the wanted keys. Returns those that have to be read further.
    async fn read_parts(
        &self,
        keys: &[Key],
        wanted: &[Wanted],
        reach: Reach,
        timeout: Timeout,
        reads: &mut [Result<ReadResult, L2Error>],
    ) -> Vec<(usize, Reach)> {
        let by_primary = self.trips(keys, wanted, reach, reads);
        let asked = by_primary.into_iter().map(|trips| self.read_in_turn(trips, keys, timeout));
        let mut further = Vec::new();
        for (place, part) in join_all(asked).await.into_iter().flatten() {
            match part {
                Part::Read(read) => reads[place] = *read,
                Part::Beyond(reach) => further.push((place, reach)),
            }
        }
        further
    }

    /// Makes the round trips to one primary, a few at a time: other callers' commands come in
    /// between.
    ///
    /// After a failure, the rest is not tried.
    async fn read_in_turn(&self, trips: Vec<BatchTrip>, keys: &[Key], timeout: Timeout) -> Vec<(usize, Part)> {
        let sent_at = self.context().clock.now();
        let mut parts = Vec::new();
        let mut failed: Option<L2Error> = None;
        let mut trips = trips.into_iter().peekable();
        while trips.peek().is_some() {
            let wave: Vec<BatchTrip> = trips.by_ref().take(large_values::MAX_CONCURRENT_TRIPS).collect();
            let places: Vec<Vec<usize>> = wave.iter().map(|trip| trip.places.clone()).collect();
            let timeout = timeout.renewed(sent_at, self.context().clock.now());
            let answers = match &failed {
                None => join_all(wave.into_iter().map(|trip| self.read_trip(trip, keys, timeout))).await,
                Some(error) => wave.iter().map(|_| Err(error.clone())).collect(),
            };
            for (places, answer) in places.into_iter().zip(answers) {
                failed = failed.or_else(|| answer.as_ref().err().cloned());
                let answer = answer
                    .unwrap_or_else(|error| places.iter().map(|_| Part::Read(Box::new(Err(error.clone())))).collect());
                parts.extend(places.into_iter().zip(answer));
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
        wanted: &[Wanted],
        reach: Reach,
        reads: &mut [Result<ReadResult, L2Error>],
    ) -> Vec<Vec<BatchTrip>> {
        let schema = &self.context().keys;
        let mut by_partition: BTreeMap<u16, Vec<Wanted>> = BTreeMap::new();
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
                let trips = &mut by_primary[index];
                if trips.last().is_none_or(|trip| trip.read.bytes + bytes > large_values::TRIP_BYTES) {
                    let field = schema.invalidation_field(keys[place].namespace().name());
                    let read = EntriesRead { field, entries: Vec::new(), reach, bytes: 0 };
                    trips.push(BatchTrip { shard: shard.clone(), read, places: Vec::new() });
                }
                if let Some(trip) = trips.last_mut() {
                    trip.read.entries.push((partition, schema.entry(keys[place].as_ref())));
                    trip.read.bytes += bytes;
                    trip.places.push(place);
                }
            }
        }
        by_primary
    }

    async fn read_trip(&self, trip: BatchTrip, keys: &[Key], timeout: Timeout) -> Result<Vec<Part>, L2Error> {
        let BatchTrip { shard, mut read, places } = trip;
        let sent_at = self.context().clock.now();
        read.reach.large = read.reach.large.map(|_| read.bytes);
        let reach = read.reach;
        let reply = self.reads.read(&shard, read, timeout).await.map_err(CommandError::into_read_error)?;
        let deadline = match reach.large {
            Some(_) => timeout.renewed(sent_at, self.context().clock.now()).deadline,
            None => timeout.deadline,
        };
        let sent = SentRead { sent_at: reply.sent_at, deadline };
        let mut parts = Vec::with_capacity(places.len());
        let mut waiting = Vec::new();
        for (place, mut entry) in places.into_iter().zip(reply.entries) {
            let key = keys[place].as_ref();
            if let Some(further) = self.beyond(&shard, key, (&mut entry, sent.sent_at), reach) {
                parts.push(Part::Beyond(further));
                continue;
            }
            // Only an entry that needs a further round trip is waited for.
            let mut found = Box::pin(self.found(&shard, key, entry, sent));
            match found.as_mut().now_or_never() {
                Some(read) => parts.push(Part::Read(Box::new(read))),
                None => {
                    parts.push(Part::Read(Box::new(Err(L2Error::unavailable("no answer")))));
                    let index = parts.len() - 1;
                    waiting.push(async move { (index, found.await) });
                }
            }
        }
        for (index, read) in join_all(waiting).await {
            parts[index] = Part::Read(Box::new(read));
        }
        Ok(parts)
    }
}
