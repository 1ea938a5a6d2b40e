//! Runs commands: each has a deadline and a place in flight, and fails fast while Redis is silent.

use std::future::Future;
use std::sync::Arc;

use arc_swap::ArcSwap;
use fred::prelude::Error;
use fred::types::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::command_error::{CommandError, LostAnswer, not_connected, refused};
use super::in_flight::InFlight;
use super::spans;
use crate::backend::redis::connection::command_metrics::CommandKind;
use crate::backend::redis::connection::context::RedisContext;
use crate::backend::redis::connection::health::RedisHealth;
use crate::backend::redis::connection::large_values;
use crate::backend::redis::connection::large_values::Load;
use crate::backend::redis::connection::redis_connection::Connection;
use crate::backend::redis::connection::redis_error::{is_misplaced, not_a_primary};
use crate::backend::redis::connection::shard::Shard;
use crate::backend::redis::schema::scripts::Script;
use crate::cache::clock::Moment;
use crate::cache::tier::{L2Error, Timeout};

/// The connection of one call, and its timeout.
pub struct CallRoute {
    connection: Arc<Connection>,
    /// Room on the connection for large values, held until the answer.
    room: Option<OwnedSemaphorePermit>,
    /// The timeout, from now on.
    pub timeout: Timeout,
}

/// Runs commands on the primaries.
pub struct CommandExecutor {
    context: Arc<RedisContext>,
    health: Arc<RedisHealth>,
    routes: ArcSwap<Routes>,
    in_flight: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// The shard of each partition.
#[derive(Default)]
pub struct Routes {
    /// All shards.
    pub shards: Vec<Arc<Shard>>,
    /// The shard by partition; `None` while no primary is known.
    pub by_partition: Vec<Option<Arc<Shard>>>,
}

// === impl CommandExecutor ===

impl CommandExecutor {
    /// Creates an executor without routes. Calls whose callers disconnect are completed in `tasks`.
    pub fn new(context: Arc<RedisContext>, health: Arc<RedisHealth>, tasks: TaskTracker) -> CommandExecutor {
        let in_flight = Arc::new(Semaphore::new(context.config.max_in_flight));
        CommandExecutor { context, health, routes: ArcSwap::default(), in_flight, tasks }
    }

    /// The current routes.
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    /// Replaces the routes.
    pub fn reroute(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
    }

    /// The shard of a partition.
    pub fn shard(&self, partition: u16) -> Result<Arc<Shard>, L2Error> {
        if let Some(why) = self.health.halted() {
            return Err(L2Error::Halted(why));
        }
        let routes = self.routes.load();
        let shard = routes.by_partition.get(usize::from(partition)).cloned().flatten();
        shard.ok_or_else(|| {
            self.context.errors.inc();
            L2Error::unavailable("no primary is known for the key")
        })
    }

    /// Sends one call.
    ///
    /// A call whose caller disconnects keeps its place in flight until the answer, or the end of
    /// its connection.
    pub async fn call<T, F, Work>(
        &self,
        shard: &Shard,
        deadline: Moment,
        command: CommandKind,
        work: F,
    ) -> Result<T, CommandError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Connection>) -> Work,
        Work: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let connection = if command.only_reads() { shard.connection_for_reads() } else { shard.connection() };
        let connection = connection.ok_or_else(|| self.not_connected(shard))?;
        self.call_on(shard, CallRoute { connection, room: None, timeout: deadline.into() }, command, work).await
    }

    /// The route of a read of small values.
    pub fn route_for_reads(&self, shard: &Shard, deadline: Moment) -> Result<CallRoute, CommandError> {
        let connection = shard.connection_for_reads().ok_or_else(|| self.not_connected(shard))?;
        Ok(CallRoute { connection, room: None, timeout: deadline.into() })
    }

    /// Sends a call that moves many bytes over the connection for large values, in turn.
    ///
    /// The timeout is extended while that connection moves bytes.
    pub async fn call_large<T, F, Work>(
        &self,
        shard: &Shard,
        load: Load,
        command: CommandKind,
        work: F,
    ) -> Result<T, CommandError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Connection>) -> Work,
        Work: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let route = self.await_room(shard, load, command).await?;
        self.call_on(shard, route, command, work).await
    }

    /// Waits until there is room for a call that moves many bytes. Sends nothing yet.
    pub async fn await_room(&self, shard: &Shard, load: Load, command: CommandKind) -> Result<CallRoute, CommandError> {
        let connection = shard.connection_for_large(command.only_reads());
        let connection = connection.ok_or_else(|| self.not_connected(shard))?;
        let (clock, started_at) = (&*self.context.clock, self.context.clock.now());
        let room = connection.ended.run_until_cancelled(shard.room.take(load.bytes));
        let room = match large_values::wait(clock, load.timeout, || connection.moved.progress(), room).await {
            Some(Some(room)) => room,
            ended => {
                self.context.errors.inc();
                let lost = if ended.is_some() { LostAnswer::ConnectionLost } else { LostAnswer::TimedOut };
                return Err(CommandError::NotSent(L2Error::unavailable(lost.reason())));
            }
        };
        let timeout = load.timeout.renewed(started_at, clock.now());
        Ok(CallRoute { connection, room, timeout })
    }

    fn not_connected(&self, shard: &Shard) -> CommandError {
        self.context.errors.inc();
        let obstacle = shard.primary.obstacle.load();
        CommandError::NotSent(L2Error::unavailable(not_connected(obstacle.as_ref().map(|why| why.as_str()))))
    }

    /// Takes a place in flight.
    pub fn take_place(&self) -> Result<OwnedSemaphorePermit, CommandError> {
        let place = self.in_flight.clone().try_acquire_owned();
        place.map_err(|_| CommandError::NotSent(L2Error::Busy { limit: self.context.config.max_in_flight }))
    }

    /// Sends a call over a chosen connection.
    pub async fn call_on<T, F, Work>(
        &self,
        shard: &Shard,
        route: CallRoute,
        command: CommandKind,
        work: F,
    ) -> Result<T, CommandError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Connection>) -> Work,
        Work: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let place = self.take_place()?;
        let span = spans::call(command, &shard.primary);
        let answer = self.send(route, place, command, work).await;
        answer.inspect_err(|failure| failure.note_in(&span))
    }

    /// Sends a call that has a place in flight, or one place for each request in it.
    pub async fn send<T, F, Work>(
        &self,
        CallRoute { connection, room, timeout }: CallRoute,
        place: OwnedSemaphorePermit,
        command: CommandKind,
        work: F,
    ) -> Result<T, CommandError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Connection>) -> Work,
        Work: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let ended = connection.ended.clone();
        let call = Box::pin(ended.run_until_cancelled_owned(work(connection.clone())));
        let mut call = InFlight::new(call, (place, room), &self.tasks);
        let sent_at = self.context.clock.now();
        let progress = || connection.moved.progress();
        let answer = large_values::wait(&*self.context.clock, timeout, progress, &mut call).await;
        let answer = answer.map_or(Err(LostAnswer::TimedOut), |answer| answer.ok_or(LostAnswer::ConnectionLost));
        self.ended(&connection, command, sent_at, answer)
    }

    /// A connection for a trip of calls.
    pub fn connection(&self, shard: &Shard) -> Result<Arc<Connection>, CommandError> {
        shard.connection().ok_or_else(|| self.not_connected(shard))
    }

    /// Sends a trip of calls that hold their own places in flight. It ends with its answer, or with
    /// the connection.
    pub async fn make_trip<T>(
        &self,
        connection: &Connection,
        command: CommandKind,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, CommandError> {
        let sent_at = self.context.clock.now();
        let answer = connection.ended.run_until_cancelled(work).await.ok_or(LostAnswer::ConnectionLost);
        self.ended(connection, command, sent_at, answer)
    }

    /// Converts and measures the answer to a call or a trip, or its loss.
    fn ended<T>(
        &self,
        connection: &Connection,
        command: CommandKind,
        sent_at: Moment,
        answer: Result<Result<T, Error>, LostAnswer>,
    ) -> Result<T, CommandError> {
        let answer = match answer {
            Ok(answer) => answer.map_err(|error| self.failure(connection, error)),
            Err(lost) => {
                self.context.errors.inc();
                Err(CommandError::Lost(lost))
            }
        };
        let took = self.context.clock.now().since(sent_at);
        self.context.operations.observe(command, answer.as_ref().err().map(CommandError::word), took);
        answer
    }

    /// The number of calls in flight.
    pub fn in_flight(&self) -> usize {
        self.context.config.max_in_flight - self.in_flight.available_permits()
    }

    /// Runs a script on one counter that takes no sequence.
    pub async fn run_script(
        &self,
        script: Script,
        partition: u16,
        args: Vec<Value>,
        deadline: Moment,
    ) -> Result<Vec<Value>, L2Error> {
        let shard = self.shard(partition)?;
        let counter = self.context.keys.counter(partition);
        let work = |connection: Arc<Connection>| async move { connection.run(script, vec![counter], args).await };
        self.call(&shard, deadline, CommandKind::Script(script), work).await.map_err(CommandError::into_read_error)
    }

    /// Converts the refusal of a part of a read.
    pub fn part_refused(&self, shard: &Shard, error: &Error) -> L2Error {
        self.context.errors.inc();
        if not_a_primary(error) {
            shard.condemn();
        }
        if is_misplaced(error) {
            self.context.misplaced.notify_one();
        }
        refused(error)
    }

    fn failure(&self, connection: &Connection, error: Error) -> CommandError {
        self.context.errors.inc();
        if not_a_primary(&error) {
            connection.condemned.cancel();
        }
        if is_misplaced(&error) {
            self.context.misplaced.notify_one();
        }
        CommandError::from_answer(error)
    }
}
