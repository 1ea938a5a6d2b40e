//! `RedisL2`, the L2 in Redis: what its operations share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwapOption;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::invalidation_lookup::InvalidationLookup;
use super::read_trip::ReadTrips;
use super::write_trips::WriteTrips;
use crate::backend::redis::command::executor::CommandExecutor;
use crate::backend::redis::connection::context::RedisContext;
use crate::backend::redis::connection::health::RedisHealth;
use crate::backend::redis::connection::shard::Shard;
use crate::backend::redis::schema::crypto::Protection;
use crate::cache::stats::Counter;
use crate::cache::stats::keyspace::KeyspaceSample;
use crate::cache::tier::{L2Error, ServerReport};
use crate::sync::Mutex;

/// L2 in Redis.
pub struct RedisL2 {
    pub(super) context: Arc<RedisContext>,
    pub(super) health: Arc<RedisHealth>,
    pub(super) executor: Arc<CommandExecutor>,
    pub(super) reads: ReadTrips,
    pub(super) write_trips: Arc<WriteTrips>,
    pub(super) server: Mutex<ServerReport>,
    keyspace: ArcSwapOption<KeyspaceSample>,
    pub(super) undecodable: Counter,
    /// True if the log has a warning of a value that is too large.
    pub(super) too_large_is_logged: AtomicBool,
    pub(super) invalidation_lookup: InvalidationLookup,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

// === impl RedisL2 ===

impl RedisL2 {
    pub(crate) fn new(
        context: Arc<RedisContext>,
        health: Arc<RedisHealth>,
        executor: CommandExecutor,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> RedisL2 {
        let executor = Arc::new(executor);
        let write_trips = WriteTrips::new(context.clone(), executor.clone(), tasks.clone());
        let (server, undecodable, invalidation_lookup) =
            (Mutex::default(), Counter::default(), InvalidationLookup::new(context.clone()));
        let reads = ReadTrips::new(context.clone(), executor.clone(), tasks.clone());
        let (too_large_is_logged, keyspace) = (AtomicBool::new(false), ArcSwapOption::empty());
        RedisL2 {
            context,
            health,
            executor,
            reads,
            write_trips,
            server,
            keyspace,
            undecodable,
            too_large_is_logged,
            invalidation_lookup,
            tasks,
            stop,
        }
    }

    pub(crate) fn context(&self) -> &Arc<RedisContext> {
        &self.context
    }

    /// The keys of MACs and encryption, which a reload replaces.
    pub fn protection(&self) -> &Arc<Protection> {
        &self.context.protection
    }

    pub(crate) fn health(&self) -> &Arc<RedisHealth> {
        &self.health
    }

    pub(crate) fn executor(&self) -> &CommandExecutor {
        &self.executor
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    pub(crate) fn set_server(&self, report: ServerReport) {
        *self.server.lock() = report;
    }

    pub(crate) fn set_keyspace(&self, sample: Option<KeyspaceSample>) {
        self.keyspace.store(sample.map(Arc::new));
    }

    pub(crate) fn keyspace(&self) -> Option<Arc<KeyspaceSample>> {
        self.keyspace.load_full()
    }

    /// Handles a server with older data than this replica has seen of it: another one had taken
    /// over in between.
    ///
    /// The handshake is repeated, which begins an epoch there.
    pub(crate) fn handle_older_data(&self, shard: &Shard) -> L2Error {
        shard.condemn();
        self.context.misplaced.notify_one();
        L2Error::unavailable("redis has older data than before")
    }

    /// Counts a stored value that cannot be decoded.
    pub(crate) fn undecodable<T>(&self) -> Option<T> {
        self.undecodable.inc();
        None
    }
}
