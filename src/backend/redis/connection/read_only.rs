//! A connection for reads alone, used while commands work on no other connection.
//!
//! A server that refuses only writes, or pauses them, still answers reads. No write is sent on this
//! connection, so that a pause of writes does not hold it up.
//!
//! A server that refuses writes may have been replaced. So the supervisor checks at an interval
//! that the server is a primary, in the life of the last handshake. A server that lacks the replicas
//! that it needs to write may be cut off from a new primary, and is not read from.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::fred_client::ClientTask;
use super::primary::Primary;
use super::redis_connection::Connection;
use super::server_life::life;
use super::supervisor::{ConnectionSupervisor, PINGS_PER_TIMEOUT};

/// Checks in a row in which commands work before the connection is closed.
const CHECKS_BEFORE_CLOSE: u32 = 2 * PINGS_PER_TIMEOUT;

/// The connection for reads to one primary.
pub struct ReadOnlySupervisor {
    primary: Arc<Primary>,
    supervisors: Vec<Arc<ConnectionSupervisor>>,
    current: ArcSwapOption<Connection>,
}

// === impl ReadOnlySupervisor ===

impl ReadOnlySupervisor {
    /// Creates a substitute for `supervisors`. [`ReadOnlySupervisor::supervise`] connects.
    pub fn new(primary: Arc<Primary>, supervisors: Vec<Arc<ConnectionSupervisor>>) -> ReadOnlySupervisor {
        ReadOnlySupervisor { primary, supervisors, current: ArcSwapOption::empty() }
    }

    /// The connection, if it may be used.
    pub fn connection(&self) -> Option<Arc<Connection>> {
        self.current.load_full()
    }

    /// Keeps the connection open while it is needed, until `stop`.
    pub async fn supervise(&self, stop: CancellationToken) {
        let pause = self.primary.context.config.unresponsive_after / PINGS_PER_TIMEOUT;
        let mut open: Option<(Arc<Connection>, ClientTask)> = None;
        let mut working = 0;
        while stop.run_until_cancelled(sleep(pause)).await.is_some() {
            let checked = stop.run_until_cancelled(self.check(&mut open, &mut working)).await.unwrap_or(false);
            if !checked {
                self.close(&mut open).await;
            }
        }
        self.close(&mut open).await;
    }

    /// Opens the connection if it is needed, and checks it. Returns true if it may be used.
    ///
    /// A new connection for commands counts before its first ping is answered. So the one for reads
    /// stays open until commands have worked for some checks in a row (`working`): otherwise reads
    /// would find neither in between.
    async fn check(&self, open: &mut Option<(Arc<Connection>, ClientTask)>, working: &mut u32) -> bool {
        let primary = &*self.primary;
        let has_connection = self.supervisors.iter().any(|supervisor| supervisor.connection().is_some());
        *working = if has_connection { *working + 1 } else { 0 };
        let is_needed = !has_connection || (open.is_some() && *working < CHECKS_BEFORE_CLOSE);
        if !is_needed || primary.greeted.load().is_none() {
            return false;
        }
        if open.is_none()
            && let Ok((connection, task)) = Connection::open_for_reads(primary).await
        {
            *open = Some((Arc::new(connection), task));
        }
        let Some((connection, _)) = open else { return false };
        if connection.condemned.is_cancelled() || !self.may_be_read(connection).await {
            return false;
        }
        if self.current.swap(Some(connection.clone())).is_none() {
            primary.health.reads_work(true);
        }
        true
    }

    async fn may_be_read(&self, connection: &Connection) -> bool {
        let primary = &*self.primary;
        let checked = timeout(primary.context.config.unresponsive_after, life(&connection.client)).await;
        let Ok(Ok(life)) = checked else { return false };
        // Under a later term another server may have been the primary in between, and have
        // acknowledged changes that this one lacks.
        let is_greeted = primary.greeted.load().as_deref() == Some(&(life.identity, primary.term()));
        let lacks_replicas = primary.obstacle.load().as_ref().is_some_and(|why| why.starts_with("NOREPLICAS"));
        is_greeted && !lacks_replicas && life.good_replicas != Some(0)
    }

    async fn close(&self, open: &mut Option<(Arc<Connection>, ClientTask)>) {
        if self.current.swap(None).is_some() {
            self.primary.health.reads_work(false);
        }
        if let Some((connection, _task)) = open.take() {
            connection.close().await;
        }
    }
}
