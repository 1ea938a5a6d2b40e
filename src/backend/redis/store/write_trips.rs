//! Trips of plain writes: those of many callers travel to their server in one script.
//!
//! Each caller keeps its place in flight, its deadline and its outcome. A caller that disconnects
//! does not cancel its write.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use bytes::BufMut;
use fred::types::Value;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::yield_now;
use tokio_util::task::TaskTracker;

use super::plain_write::{PlainEntry, PlainWrite};
use crate::backend::redis::command::batcher::{Batcher, TripLimits, Trips};
use crate::backend::redis::command::command_error::{CommandError, LostAnswer};
use crate::backend::redis::command::executor::CommandExecutor;
use crate::backend::redis::command::spans;
use crate::backend::redis::connection::command_metrics::CommandKind;
use crate::backend::redis::connection::context::RedisContext;
use crate::backend::redis::connection::direct_trips::TripRequest;
use crate::backend::redis::connection::large_values;
use crate::backend::redis::connection::large_values::TRIP_BYTES;
use crate::backend::redis::connection::redis_connection::Connection;
use crate::backend::redis::connection::shard::Shard;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::codec::Announcement;
use crate::backend::redis::schema::codec::entry_layout::MAC_SIZE;
use crate::backend::redis::schema::crypto::{MessageFields, Protection};
use crate::backend::redis::schema::scripts::Script;
use crate::cache::clock::Moment;
use crate::cache::namespace::Namespace;
use crate::cache::tier::L2Error;
use crate::cache::version::Version;

/// Limits of the trips to one server. While one is under way, the next one fills.
const LIMITS: TripLimits = TripLimits { trips: 1, requests: 256, bytes: TRIP_BYTES };
/// The command of a trip.
const COMMAND: CommandKind = CommandKind::Script(Script::WriteBatch);

/// The position of a write that was carried out. `None` if it was left undone, because the full
/// script has to judge it.
type Outcome = Result<Option<Version>, CommandError>;

/// Plain writes on their way.
pub(super) struct WriteTrips {
    context: Arc<RedisContext>,
    executor: Arc<CommandExecutor>,
    tasks: TaskTracker,
    /// One queue for all partitions that a script may access together.
    queues: Box<[Arc<Batcher<PendingWrite>>]>,
}

/// A write that waits for its trip, or for the answer to it.
struct PendingWrite {
    write: PlainWrite,
    shard: Arc<Shard>,
    /// Its deadline by the clock of this machine.
    deadline: Moment,
    /// Its deadline by Redis's clock, microseconds.
    not_after: u64,
    outcome: oneshot::Sender<Outcome>,
    /// Its place in flight.
    _place: OwnedSemaphorePermit,
}

/// Writes of one namespace and partition, of different keys: they share a version.
struct TripStep {
    partition: u16,
    namespace: Arc<Namespace>,
    /// Number of the steps before it that write one of its keys.
    round: usize,
    /// The highest position seen of the partition.
    seen: Version,
    not_after: u64,
    writes: Vec<PendingWrite>,
}

// === impl WriteTrips ===

impl WriteTrips {
    /// Creates empty queues. Trips are made in `tasks`.
    pub fn new(context: Arc<RedisContext>, executor: Arc<CommandExecutor>, tasks: TaskTracker) -> Arc<WriteTrips> {
        let partitions: Vec<u16> = (0..context.keys.partitions()).collect();
        let queues = context.keys.groups(&partitions).map(|_| Batcher::new(LIMITS)).collect();
        Arc::new(WriteTrips { context, executor, tasks, queues })
    }

    /// Makes plain writes of one caller, together with those of others.
    ///
    /// `None` if the full script has to judge them.
    pub async fn write(self: &Arc<Self>, write: PlainWrite, deadline: Moment) -> Result<Option<Version>, L2Error> {
        let clock = &*self.context.clock;
        let shard = self.executor.shard(write.partition)?;
        // While nothing can be sent, nothing waits.
        self.executor.connection(&shard).map_err(CommandError::into_read_error)?;
        let span = spans::call(COMMAND, &shard.primary);
        let Some((not_after, uncertainty)) = shard.primary.clock.at(deadline) else {
            return Err(L2Error::unavailable("not connected to redis"));
        };
        let _place = self.executor.take_place().map_err(CommandError::into_read_error)?;
        let (outcome, answer) = oneshot::channel();
        let sent_at = clock.now();
        self.add(PendingWrite { write, shard, deadline, not_after, outcome, _place });
        let failure = match large_values::wait(clock, deadline.into(), || 0, answer).await {
            Some(Ok(Ok(position))) => return Ok(position),
            Some(Ok(Err(failure))) => failure,
            // The trip has panicked.
            Some(Err(_)) => CommandError::Lost(LostAnswer::ConnectionLost),
            None => {
                self.context.errors.inc();
                let failure = CommandError::Lost(LostAnswer::TimedOut);
                self.context.operations.observe(COMMAND, Some(failure.word()), clock.now().since(sent_at));
                failure
            }
        };
        failure.note_in(&span);
        Err(failure.as_write_error(deadline.since(clock.now()) + uncertainty))
    }

    fn add(self: &Arc<Self>, pending: PendingWrite) {
        let partition = pending.write.partition;
        let queue = if self.context.keys.sharded() { usize::from(partition) } else { 0 };
        let size = pending.write.size();
        if let Some(trips) = self.queues[queue].add(pending, size) {
            self.tasks.spawn(self.clone().make_trips(trips));
        }
    }

    /// Makes one trip after another.
    ///
    /// A trip whose callers have all given up goes on by itself, and does not hold up the next one.
    async fn make_trips(self: Arc<Self>, mut trips: Trips<PendingWrite>) {
        loop {
            // Tasks that can run may add writes.
            yield_now().await;
            let Some(writes) = trips.next() else { return };
            let last = writes.iter().map(|pending| pending.deadline).max().unwrap_or(Moment::NEVER);
            let clock = &*self.context.clock;
            let mut trip = Box::pin(self.clone().make_trip(writes));
            if large_values::wait(clock, last.into(), || 0, &mut trip).await.is_none() {
                self.tasks.spawn(trip);
            }
        }
    }

    /// Sends writes, and hands each its outcome.
    async fn make_trip(self: Arc<Self>, writes: Vec<PendingWrite>) {
        let Some(shard) = writes.first().map(|pending| pending.shard.clone()) else { return };
        let steps = self.steps(&shard, writes);
        if steps.is_empty() {
            return;
        }
        let (steps, answer) = self.send(&shard, steps).await;
        match answer {
            Ok(sequences) => {
                for (index, step) in steps.into_iter().enumerate() {
                    let sequence = sequences.as_ref().map_or(Some(0), |sequences| sequences.get(index)?.as_i64());
                    self.complete(step, sequence);
                }
            }
            Err(failure) => {
                steps.into_iter().flat_map(|step| step.writes).for_each(|pending| pending.end(Err(failure.clone())));
            }
        }
    }

    /// Runs the script. Returns the steps, and its reply: `None` if it has not run.
    async fn send(
        &self,
        shard: &Shard,
        mut steps: Vec<TripStep>,
    ) -> (Vec<TripStep>, Result<Option<Vec<Value>>, CommandError>) {
        let connection = match self.executor.connection(shard) {
            Ok(connection) => connection,
            Err(failure) => return (steps, Err(failure)),
        };
        let request = self.encode(&connection, &mut steps);
        let run = connection.run_trip(Script::WriteBatch, request);
        let answer = self.executor.make_trip(&connection, COMMAND, run).await;
        (steps, answer)
    }

    /// Groups writes into steps. Writes of one key are in different ones: each has a version of its
    /// own.
    ///
    /// Ends those that cannot travel: of another server, with a deadline that has passed, or of a
    /// partition of which nothing is known yet.
    fn steps(&self, shard: &Arc<Shard>, writes: Vec<PendingWrite>) -> Vec<TripStep> {
        let now = self.context.clock.now();
        let mut rounds: HashMap<u64, usize, BuildHasherDefault<DigestHasher>> = HashMap::default();
        rounds.reserve(writes.len());
        let mut steps: Vec<TripStep> = Vec::new();
        for pending in writes {
            let partition = pending.write.partition;
            let seen = self.context.floor(partition);
            if pending.deadline <= now {
                let error = L2Error::unavailable(LostAnswer::TimedOut.reason());
                pending.end(Err(CommandError::NotSent(error)));
                continue;
            }
            if seen == Version::ZERO || !Arc::ptr_eq(&pending.shard, shard) {
                pending.end(Ok(None));
                continue;
            }
            let digests = || pending.write.entries.iter().map(|entry| entry.digest);
            let round = digests().filter_map(|digest| rounds.get(&digest)).max().map_or(0, |round| round + 1);
            digests().for_each(|digest| _ = rounds.insert(digest, round));
            let same = |step: &TripStep| {
                let namespace = &pending.write.namespace;
                (step.partition, step.round) == (partition, round) && step.namespace.name() == namespace.name()
            };
            let place = steps.iter().position(same).unwrap_or(steps.len());
            if place == steps.len() {
                let namespace = pending.write.namespace.clone();
                steps.push(TripStep { partition, namespace, round, seen, not_after: u64::MAX, writes: Vec::new() });
            }
            let step = &mut steps[place];
            step.not_after = step.not_after.min(pending.not_after);
            step.writes.push(pending);
        }
        steps
    }

    /// Encodes the call of the script, and drops the entries.
    fn encode(&self, connection: &Connection, steps: &mut [TripStep]) -> TripRequest {
        let schema = &self.context.keys;
        let entries: usize = steps.iter().map(|step| step.entries().count()).sum();
        let (names, arguments) = (steps.len() + entries, 2 + 3 * steps.len() + 2 * entries);
        let mut request = connection.script_trip(Script::WriteBatch, names, arguments);
        let bytes: usize = steps.iter().flat_map(|step| &step.writes).map(|pending| pending.write.size()).sum();
        request.reserve(bytes + 32 * (names + arguments) + 192 * steps.len());
        for step in &*steps {
            request.argument(schema.counter_name(step.partition).as_bytes());
            step.entries().for_each(|entry| request.argument(&entry.name));
        }
        request.number(steps.iter().map(|step| step.not_after).min().unwrap_or(0));
        request.argument(connection.identity.as_bytes());
        let protection = &*self.context.protection;
        let mut facts = Vec::with_capacity(128);
        for step in steps {
            facts.clear();
            self.put_facts(step, &mut facts);
            let namespace = step.namespace.clone();
            let announcement = Announcement::new(self.message_fields(step, &namespace), protection);
            request.argument(&facts);
            request.argument(&announcement.head());
            let mut message = announcement.effect();
            for entry in step.writes.iter_mut().flat_map(|pending| pending.write.entries.drain(..)) {
                request.number(entry.kept);
                request.argument(&entry.bytes);
                entry.announce(&announcement, &mut message);
            }
            request.argument(&message);
        }
        request
    }

    /// Returns what the message of a step says beside its keys.
    fn message_fields<'a>(&self, step: &TripStep, namespace: &'a Namespace) -> MessageFields<'a> {
        MessageFields {
            partition: step.partition,
            origin: self.context.replica,
            ticket: 0,
            void_after: Protection::void_after(step.not_after),
            effect: codec::SET,
            namespace: namespace.name().as_bytes(),
        }
    }

    /// Writes the facts of a step, as the script reads them.
    fn put_facts(&self, step: &TripStep, facts: &mut Vec<u8>) {
        let schema = &self.context.keys;
        facts.put_u16(step.entries().count() as u16);
        facts.put_u16(if self.context.protection.signs() { MAC_SIZE as u16 } else { 0 });
        facts.put_u64(step.not_after);
        facts.put_u64(step.seen.sequence);
        facts.put_u64(step.seen.epoch);
        let field = schema.invalidation_field(step.namespace.name());
        let texts = [step.seen.epoch.to_string(), field, schema.channel(step.partition)];
        for text in texts {
            facts.put_u16(text.len() as u16);
            facts.put_slice(text.as_bytes());
        }
    }

    /// Hands the writes of a step their outcome. The reply lacks the sequence if it is not ours.
    fn complete(&self, step: TripStep, sequence: Option<i64>) {
        let outcome = match sequence {
            Some(0) => Ok(None),
            other => {
                let position = other.and_then(|sequence| Version::checked(step.seen.epoch, sequence));
                position.map(Some).ok_or(CommandError::Unexpected)
            }
        };
        for pending in step.writes {
            if let Ok(Some(position)) = outcome {
                self.context.raise_floor(pending.write.partition, position);
            }
            pending.end(outcome.clone());
        }
    }
}

// === impl TripStep ===

impl TripStep {
    fn entries(&self) -> impl Iterator<Item = &PlainEntry> {
        self.writes.iter().flat_map(|pending| &pending.write.entries)
    }
}

// === impl PendingWrite ===

impl PendingWrite {
    /// Hands the caller its outcome. It may have given up.
    fn end(self, outcome: Outcome) {
        let _ = self.outcome.send(outcome);
    }
}

/// Hasher of digests, which are hashes already.
#[derive(Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }
}
