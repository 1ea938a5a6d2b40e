//! Trips of reads: what waits for one primary travels together, in one pipeline.
//!
//! A trip reads the counter of each partition and namespace once, and then the entries. Each caller
//! keeps its own deadline and its own place in flight.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use fred::prelude::{Error, FredResult};
use fred::types::Value;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::read_reply::{CounterReply, EntriesReply, EntryReply};
use crate::backend::redis::command::batcher::{Batcher, TripLimits, Trips};
use crate::backend::redis::command::command_error::{CommandError, LostAnswer};
use crate::backend::redis::command::executor::CommandExecutor;
use crate::backend::redis::command::spans;
use crate::backend::redis::connection::command_metrics::CommandKind;
use crate::backend::redis::connection::context::RedisContext;
use crate::backend::redis::connection::direct_trips::TripRequest;
use crate::backend::redis::connection::large_values::{Load, TRIP_BYTES};
use crate::backend::redis::connection::redis_connection::Connection;
use crate::backend::redis::connection::shard::Shard;
use crate::backend::redis::schema::keys::KeySchema;
use crate::backend::redis::schema::partition_counter::PartitionCounter;
use crate::cache::clock::Moment;
use crate::cache::namespace::Namespace;
use crate::cache::tier::Timeout;
use crate::cache::version::Version;
use crate::sync::Mutex;

/// Limits of the trips of reads to one primary.
const LIMITS: TripLimits = TripLimits { trips: 2, requests: 256, bytes: TRIP_BYTES };
/// Approximate bytes of a small value of unknown size.
pub(super) const TYPICAL_BYTES: usize = 2 * 1024;

/// Approximate bytes of a command.
const COMMAND_BYTES: usize = 112;

/// The part of each entry that a read requests, and the connection for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// The last byte of each entry.
    pub last: usize,
    /// True to ask Redis for the remaining time to live.
    pub life: bool,
    /// Expected bytes if the connection for large values is used.
    pub large: Option<usize>,
}

/// Entries of one namespace at one primary, to be read in one trip.
pub(super) struct EntriesRead {
    /// Field of the namespace's invalidations in a counter.
    pub field: String,
    /// Partition and name of each entry.
    pub entries: Vec<(u16, Bytes)>,
    /// The part of each.
    pub reach: Reach,
    /// Approximate size of the reply, bytes.
    pub bytes: usize,
}

/// A read that waits for its trip.
struct WaitingRead {
    read: EntriesRead,
    deadline: Moment,
    place: OwnedSemaphorePermit,
    reply: oneshot::Sender<Result<EntriesReply, CommandError>>,
}

/// The reads that wait for a shard.
type ShardQueue = (Weak<Shard>, Arc<Batcher<WaitingRead>>);

/// Reads that travel together.
pub(super) struct ReadTrips {
    context: Arc<RedisContext>,
    executor: Arc<CommandExecutor>,
    tasks: TaskTracker,
    queues: Mutex<Vec<ShardQueue>>,
    /// Namespaces with sliding entries, by hash. Their reads always request the remaining time.
    sliding: AtomicU64,
}

/// The commands of a trip.
#[derive(Default)]
struct TripPlan {
    counters: Vec<PlannedCounter>,
    entries: Vec<PlannedEntry>,
    /// The last counter of each partition, as its index and one more; 0 if there is none.
    last: Vec<usize>,
}

struct PlannedCounter {
    partition: u16,
    field: String,
    floor: Version,
    /// The counter of its partition before it, in the form of [`TripPlan::last`].
    before: usize,
}

struct PlannedEntry {
    name: Bytes,
    counter: usize,
    reach: Reach,
}

// === impl ReadTrips ===

impl ReadTrips {
    /// Creates empty queues. Trips run in `tasks`.
    pub fn new(context: Arc<RedisContext>, executor: Arc<CommandExecutor>, tasks: TaskTracker) -> ReadTrips {
        ReadTrips { context, executor, tasks, queues: Default::default(), sliding: AtomicU64::new(0) }
    }

    /// Reads entries in a trip with others, or alone over the connection for large values.
    pub async fn read(
        &self,
        shard: &Arc<Shard>,
        read: EntriesRead,
        limit: Timeout,
    ) -> Result<EntriesReply, CommandError> {
        self.context.commands.inc();
        match read.reach.large {
            None => self.read_together(shard, read, limit.deadline).await,
            Some(bytes) => self.read_alone(shard, read, Load { bytes, timeout: limit }).await,
        }
    }

    /// Returns true if the remaining time of an entry in `namespace` cannot be expected in its
    /// head.
    pub fn is_sliding(&self, namespace: &Namespace) -> bool {
        self.sliding.load(Ordering::Relaxed) & bit_of(namespace) != 0
    }

    /// Records that an entry in `namespace` is sliding.
    pub fn saw_sliding(&self, namespace: &Namespace) {
        self.sliding.fetch_or(bit_of(namespace), Ordering::Relaxed);
    }

    async fn read_together(
        &self,
        shard: &Arc<Shard>,
        read: EntriesRead,
        deadline: Moment,
    ) -> Result<EntriesReply, CommandError> {
        let place = self.executor.take_place()?;
        let span = spans::call(CommandKind::Pipeline(read.commands()), &shard.primary);
        let (reply, answer) = oneshot::channel();
        let bytes = read.bytes;
        if let Some(trips) = self.queue(shard).add(WaitingRead { read, deadline, place, reply }, bytes) {
            let (context, executor, shard) = (self.context.clone(), self.executor.clone(), shard.clone());
            self.tasks.spawn(make_trips(context, executor, shard, trips));
        }
        let answer = match timeout(deadline.since(self.context.clock.now()), answer).await {
            Ok(answer) => answer.unwrap_or(Err(CommandError::Lost(LostAnswer::ConnectionLost))),
            Err(_) => {
                self.context.errors.inc();
                Err(CommandError::Lost(LostAnswer::TimedOut))
            }
        };
        answer.inspect_err(|failure| failure.note_in(&span))
    }

    async fn read_alone(
        &self,
        shard: &Arc<Shard>,
        read: EntriesRead,
        load: Load,
    ) -> Result<EntriesReply, CommandError> {
        let sent_at = self.context.clock.now();
        let plan = TripPlan::of([&read].into_iter(), &self.context.keys, |partition| self.context.floor(partition));
        let request = plan.request(&self.context.keys);
        let command = CommandKind::Pipeline(request.commands());
        let replies = self.executor.call_large(shard, load, command, |on| exchange(on, request)).await?;
        Ok(EntriesReply { sent_at, entries: plan.read(replies).collect() })
    }

    fn queue(&self, shard: &Arc<Shard>) -> Arc<Batcher<WaitingRead>> {
        let mut queues = self.queues.lock();
        if let Some((_, queue)) = queues.iter().find(|(known, _)| known.as_ptr() == Arc::as_ptr(shard)) {
            return queue.clone();
        }
        queues.retain(|(known, _)| known.strong_count() > 0);
        let queue = Batcher::new(LIMITS);
        queues.push((Arc::downgrade(shard), queue.clone()));
        queue
    }
}

/// The bit of a namespace.
fn bit_of(namespace: &Namespace) -> u64 {
    1 << (namespace.id % u64::BITS)
}

/// Makes trips to `shard` until no read waits.
async fn make_trips(
    context: Arc<RedisContext>,
    executor: Arc<CommandExecutor>,
    shard: Arc<Shard>,
    mut trips: Trips<WaitingRead>,
) {
    while let Some(waiting) = trips.next() {
        make_trip(&context, &executor, &shard, waiting).await;
    }
}

/// Sends the reads that are still awaited, and answers each.
async fn make_trip(context: &RedisContext, executor: &CommandExecutor, shard: &Shard, waiting: Vec<WaitingRead>) {
    let sent_at = context.clock.now();
    let mut reads = Vec::with_capacity(waiting.len());
    let (mut places, mut deadline): (Option<OwnedSemaphorePermit>, _) = (None, sent_at);
    for WaitingRead { read, deadline: until, place, reply } in waiting {
        if reply.is_closed() || until <= sent_at {
            continue;
        }
        deadline = deadline.max(until);
        match &mut places {
            Some(places) => places.merge(place),
            None => places = Some(place),
        }
        reads.push((read, reply));
    }
    let Some(places) = places else { return };
    let plan = TripPlan::of(reads.iter().map(|(read, _)| read), &context.keys, |partition| context.floor(partition));
    let answer = match executor.route_for_reads(shard, deadline) {
        Ok(route) => {
            let request = plan.request(&context.keys);
            let command = CommandKind::Pipeline(request.commands());
            executor.send(route, places, command, |on| exchange(on, request)).await
        }
        Err(failure) => Err(failure),
    };
    match answer {
        Ok(replies) => {
            let mut replies = plan.read(replies);
            for (read, reply) in reads {
                let entries = replies.by_ref().take(read.entries.len()).collect();
                // A caller that has left does not wait for it.
                let _ = reply.send(Ok(EntriesReply { sent_at, entries }));
            }
        }
        Err(failure) => reads.into_iter().for_each(|(_, reply)| _ = reply.send(Err(failure.clone()))),
    }
}

async fn exchange(connection: Arc<Connection>, request: TripRequest) -> Result<Vec<FredResult<Value>>, Error> {
    connection.trips.exchange(request).await
}

// === impl EntriesRead ===

impl EntriesRead {
    /// The number of commands that it takes if it travels alone.
    fn commands(&self) -> usize {
        let partitions = self.entries.chunk_by(|(one, _), (next, _)| one == next).count();
        partitions + self.entries.len() * (1 + usize::from(self.reach.life))
    }
}

// === impl TripPlan ===

impl TripPlan {
    /// Plans a trip for `reads`.
    fn of<'a>(
        reads: impl Iterator<Item = &'a EntriesRead>,
        keys: &KeySchema,
        floor: impl Fn(u16) -> Version,
    ) -> TripPlan {
        let mut plan = TripPlan { last: vec![0; usize::from(keys.partitions())], ..TripPlan::default() };
        for read in reads {
            for (partition, name) in &read.entries {
                let counter = plan.counter(*partition, &read.field, &floor);
                plan.entries.push(PlannedEntry { name: name.clone(), counter, reach: read.reach });
            }
        }
        plan
    }

    /// The index of the counter of a partition, with this field. Adds it if it is new.
    fn counter(&mut self, partition: u16, field: &str, floor: impl Fn(u16) -> Version) -> usize {
        let last = &mut self.last[usize::from(partition)];
        let (mut next, before) = (*last, *last);
        while let Some(index) = next.checked_sub(1) {
            if self.counters[index].field == field {
                return index;
            }
            next = self.counters[index].before;
        }
        self.counters.push(PlannedCounter { partition, field: field.to_owned(), floor: floor(partition), before });
        *last = self.counters.len();
        self.counters.len() - 1
    }

    /// The commands: the counters before the entries, so that an absence is never taken for newer
    /// than it is; each remaining time before its value.
    fn request(&self, keys: &KeySchema) -> TripRequest {
        let mut request = TripRequest::default();
        request.reserve(COMMAND_BYTES * (self.counters.len() + self.entries.len()));
        for PlannedCounter { partition, field, .. } in &self.counters {
            let name = keys.counter_name(*partition).as_bytes();
            let [epoch, sequence, trusted] = PartitionCounter::FIELDS.map(str::as_bytes);
            request.command(&[b"HMGET", name, epoch, sequence, trusted, field.as_bytes()], 0);
        }
        for PlannedEntry { name, reach, .. } in &self.entries {
            if reach.life {
                request.command(&[b"PTTL", name], 0);
            }
            let mut digits = itoa::Buffer::new();
            request.command(&[b"GETRANGE", name, b"0", digits.format(reach.last).as_bytes()], reach.last);
        }
        request
    }

    /// Reads the replies of the trip. Returns those for each entry, in their order.
    fn read(&self, replies: Vec<FredResult<Value>>) -> impl Iterator<Item = EntryReply> {
        let mut replies = replies.into_iter();
        let counters: Vec<Arc<CounterReply>> = self
            .counters
            .iter()
            .zip(replies.by_ref())
            .map(|(counter, reply)| {
                let line = reply.map(|fields| PartitionCounter::read(fields.into_array()));
                Arc::new(CounterReply { floor: counter.floor, line })
            })
            .collect();
        self.entries.iter().map_while(move |entry| {
            let ttl = if entry.reach.life { Some(replies.next()?.and_then(Value::convert)) } else { None };
            Some(EntryReply { counter: counters[entry.counter].clone(), ttl, value: replies.next()? })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(field: &str, entries: &[(u16, &'static str)], life: bool) -> EntriesRead {
        let entries = entries.iter().map(|(partition, name)| (*partition, Bytes::from_static(name.as_bytes())));
        let reach = Reach { last: 9, life, large: None };
        EntriesRead { field: field.to_owned(), entries: entries.collect(), reach, bytes: 1 }
    }

    #[test]
    fn a_trip_reads_each_counter_once_and_before_all_entries() {
        let reads = [
            read("i:a", &[(1, "k"), (2, "l")], false),
            read("i:a", &[(2, "m")], true),
            read("i:b", &[(2, "n")], false),
        ];
        let keys = KeySchema::new("p", 4, false);
        let plan = TripPlan::of(reads.iter(), &keys, |partition| Version::new(1, partition.into()));
        let request = plan.request(&keys);
        let text = String::from_utf8_lossy(request.bytes()).replace("\r\n", " ");
        let words: Vec<&str> = text.split(' ').filter(|word| !word.starts_with(['*', '$'])).collect();
        assert_eq!(
            words.join(" ").trim_end(),
            "HMGET p:{1}:c e s t i:a HMGET p:{2}:c e s t i:a HMGET p:{2}:c e s t i:b \
             GETRANGE k 0 9 GETRANGE l 0 9 PTTL m GETRANGE m 0 9 GETRANGE n 0 9"
        );
        let blob = |text: &'static str| Ok(Value::Bytes(Bytes::from_static(text.as_bytes())));
        let counter =
            |sequence: &'static str| Ok(Value::Array(vec!["1".into(), sequence.into(), "1".into(), Value::Null]));
        let replies = vec![
            counter("7"),
            counter("8"),
            counter("9"),
            blob("1"),
            blob("2"),
            Ok(Value::Integer(5)),
            blob("3"),
            blob("4"),
        ];
        let entries: Vec<EntryReply> = plan.read(replies).collect();
        let shown = |entry: &EntryReply| {
            let sequence = entry.counter.line.as_ref().ok().and_then(|line| line.position).map(|at| at.sequence);
            let value = entry.value.as_ref().ok().and_then(Value::as_str).map(|text| text.to_string());
            (
                entry.counter.floor.sequence,
                sequence,
                entry.ttl.as_ref().and_then(|ttl| ttl.as_ref().ok()).copied(),
                value,
            )
        };
        let expected = [(1, 7, None, "1"), (2, 8, None, "2"), (2, 8, Some(5), "3"), (2, 9, None, "4")];
        let expected = expected.map(|(floor, at, ttl, value)| (floor, Some(at), ttl, Some(value.to_owned())));
        assert_eq!(entries.iter().map(shown).collect::<Vec<_>>(), expected);
    }
}
