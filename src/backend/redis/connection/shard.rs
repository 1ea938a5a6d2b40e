//! Connections to one primary: a command pool, one for large values, one for reads alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::large_values::LargeValueRoom;
use super::primary::Primary;
use super::read_only::ReadOnlySupervisor;
use super::redis_connection::Connection;
use super::supervisor::ConnectionSupervisor;

/// A primary with the connections to it.
pub struct Shard {
    /// The primary.
    pub primary: Arc<Primary>,
    /// Connections for commands.
    pub supervisors: Vec<Arc<ConnectionSupervisor>>,
    /// Room on the connection for large values.
    pub room: LargeValueRoom,
    /// The connection for large values.
    large: Arc<ConnectionSupervisor>,
    reads: Arc<ReadOnlySupervisor>,
    next_supervisor: AtomicUsize,
    stop: CancellationToken,
}

// === impl Shard ===

impl Shard {
    /// Opens the connections to `primary`, and reopens them whenever they are lost, until `stop`.
    ///
    /// Runs in `tasks`.
    pub fn start(primary: Arc<Primary>, tasks: &TaskTracker, stop: CancellationToken) -> Arc<Shard> {
        let supervisors: Vec<_> = (0..primary.context.config.connections)
            .map(|n| Arc::new(ConnectionSupervisor::new(Some(n), primary.clone())))
            .collect();
        let large = Arc::new(ConnectionSupervisor::new(None, primary.clone()));
        for supervisor in supervisors.iter().chain([&large]) {
            let (supervisor, stop) = (supervisor.clone(), stop.clone());
            tasks.spawn(async move { supervisor.supervise(stop).await });
        }
        let reads = Arc::new(ReadOnlySupervisor::new(primary.clone(), supervisors.clone()));
        tasks.spawn({
            let (reads, stop) = (reads.clone(), stop.clone());
            async move { reads.supervise(stop).await }
        });
        Arc::new(Shard {
            primary,
            supervisors,
            room: LargeValueRoom::default(),
            large,
            reads,
            next_supervisor: AtomicUsize::new(0),
            stop,
        })
    }

    /// A connection that may be used now.
    pub fn connection(&self) -> Option<Arc<Connection>> {
        let first = self.next_supervisor.fetch_add(1, Ordering::Relaxed);
        (0..self.supervisors.len()).find_map(|n| self.supervisors[(first + n) % self.supervisors.len()].connection())
    }

    /// A connection that may be used now for reads.
    pub fn connection_for_reads(&self) -> Option<Arc<Connection>> {
        self.connection().or_else(|| self.reads.connection())
    }

    /// The connection for large values while commands work; another one if it is not open.
    pub fn connection_for_large(&self, only_reads: bool) -> Option<Arc<Connection>> {
        match self.connection() {
            Some(other) => self.large.connection().or(Some(other)),
            None => self.reads.connection().filter(|_| only_reads),
        }
    }

    /// Discards every connection for commands.
    pub fn condemn(&self) {
        let supervisors = self.supervisors.iter().chain([&self.large]);
        let connections = supervisors.filter_map(|supervisor| supervisor.connection()).chain(self.reads.connection());
        connections.for_each(|connection| connection.condemned.cancel());
    }

    /// Closes the connections: this server is not a primary any more.
    pub fn close(&self) {
        self.primary.health.retire();
        self.stop.cancel();
    }
}
