//! Reading many keys: one pipelined trip to each primary.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fred::interfaces::{HashesInterface as _, KeysInterface as _};
use fred::prelude::{Error, FredResult};
use fred::types::Value;
use futures_util::future::join_all;

use super::call::Failure;
use super::connection::Connection;
use super::line::Line;
use super::operation::Command;
use super::shard::Shard;
use super::tier::{Asked, RedisTier};
use crate::cache::clock::Moment;
use crate::cache::coherence::version::Version;
use crate::cache::key::Key;
use crate::cache::tier::{L2Error, Read};

/// The keys that one primary is asked for.
struct Trip {
    shard: Arc<Shard>,
    /// Each partition among them, its counter, and the position that this replica has seen of it.
    counters: Vec<(u16, String, Version)>,
    /// Name of each key, and which of the counters is its.
    names: Vec<(Bytes, usize)>,
    /// Where each key comes in the request.
    places: Vec<usize>,
}

/// What came back: each counter, and remaining time and value of each key.
struct Answers {
    lines: Vec<FredResult<Value>>,
    values: Vec<(FredResult<Value>, FredResult<Value>)>,
}

impl RedisTier {
    /// Reads keys of one namespace, in their order.
    pub(super) async fn read_entries(&self, keys: &[Key], until: Moment) -> Vec<Result<Read, L2Error>> {
        let mut reads: Vec<Result<Read, L2Error>> =
            keys.iter().map(|_| Err(L2Error::unavailable("no answer"))).collect();
        let Some(first) = keys.first() else { return reads };
        let fields = Line::fields(self.shared().layout.invalidation_field(first.namespace().name()));
        let begun = self.shared().clock.now();
        let last = self.last_byte();
        let trips = self.trips(keys, &mut reads);
        let asked = trips.iter().map(|trip| async {
            self.shared().commands.one();
            let counters = trip.counters.iter().map(|(_, counter, _)| counter.clone()).collect();
            let (names, fields) = (trip.names.clone(), fields.clone());
            let sent =
                |connection: Arc<Connection>| async move { send(&connection, counters, names, fields, last).await };
            let command = Command::Pipeline(trip.counters.len() + 2 * trip.names.len());
            self.calls().call(&trip.shard, until, command, sent).await.map_err(Failure::of_a_read)
        });
        for (trip, answers) in trips.iter().zip(join_all(asked).await) {
            let read = match answers {
                Ok(answers) => self.read_answers(trip, keys, answers, begun, until).await,
                Err(error) => trip.places.iter().map(|_| Err(error.clone())).collect(),
            };
            trip.places.iter().zip(read).for_each(|(place, read)| reads[*place] = read);
        }
        reads
    }

    /// What each primary is to be asked. Keys of which none is known are answered at once.
    fn trips(&self, keys: &[Key], reads: &mut [Result<Read, L2Error>]) -> Vec<Trip> {
        let layout = &self.shared().layout;
        let mut by_partition: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (place, key) in keys.iter().enumerate() {
            by_partition.entry(key.as_ref().partition(layout.partitions())).or_default().push(place);
        }
        let mut trips: Vec<Trip> = Vec::new();
        for (partition, places) in by_partition {
            let shard = match self.calls().shard(partition) {
                Ok(shard) => shard,
                Err(error) => {
                    places.into_iter().for_each(|place| reads[place] = Err(error.clone()));
                    continue;
                }
            };
            let known = trips.iter().position(|trip| Arc::ptr_eq(&trip.shard, &shard));
            let index = known.unwrap_or_else(|| {
                trips.push(Trip { shard, counters: Vec::new(), names: Vec::new(), places: Vec::new() });
                trips.len() - 1
            });
            let trip = &mut trips[index];
            let counter = trip.counters.len();
            trip.counters.push((partition, layout.counter(partition), self.shared().floor(partition)));
            trip.names.extend(places.iter().map(|place| (layout.entry(keys[*place].as_ref()), counter)));
            trip.places.extend(places);
        }
        trips
    }

    async fn read_answers(
        &self,
        trip: &Trip,
        keys: &[Key],
        answers: Answers,
        begun: Moment,
        until: Moment,
    ) -> Vec<Result<Read, L2Error>> {
        let lines: Vec<Result<Line, L2Error>> = answers
            .lines
            .into_iter()
            .map(|line| self.part(trip, line.map(|line| Line::read(line.into_array()))))
            .collect();
        let found = trip.names.iter().zip(&trip.places).zip(answers.values);
        let reads = join_all(found.map(|(((_, counter), place), (ttl, value))| {
            let line = lines[*counter].as_ref().map_err(Clone::clone);
            let key = keys[*place].as_ref();
            let asked = Asked { floor: trip.counters[*counter].2, begun };
            async move {
                let ttl = self.part(trip, ttl.and_then(|ttl| ttl.convert()))?;
                self.found(&trip.shard, key, line?, ttl, value, asked, until).await
            }
        }));
        let reads = reads.await;
        let namespace = keys.first().map_or("", |key| key.namespace().name());
        for ((partition, ..), line) in trip.counters.iter().zip(lines) {
            line.into_iter().for_each(|line| self.saw_patterns(*partition, namespace, line));
        }
        reads
    }

    /// One of the answers of a trip.
    fn part<T>(&self, trip: &Trip, answer: FredResult<T>) -> Result<T, L2Error> {
        answer.map_err(|error| self.calls().refused_in_part(&trip.shard, &error))
    }
}

/// The counters before the entries, so that an absence is never taken for newer than it is; each time to live before its value.
async fn send(
    connection: &Connection,
    counters: Vec<String>,
    names: Vec<(Bytes, usize)>,
    fields: Vec<String>,
    last: usize,
) -> Result<Answers, Error> {
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
        // A trip that failed as a whole has one answer.
        return Err(answers.into_iter().find_map(Result::err).unwrap_or_else(Error::new_canceled));
    }
    let mut rest = answers.split_off(partitions).into_iter();
    let mut values = Vec::with_capacity(rest.len() / 2);
    while let (Some(ttl), Some(value)) = (rest.next(), rest.next()) {
        values.push((ttl, value));
    }
    Ok(Answers { lines: answers, values })
}
