//! State and counters of L2, for Stats, metrics and the dashboard.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::stats::Snapshot;
use crate::cache::stats::keyspace::KeyspaceSample;

/// State of L2 as this replica sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum L2State {
    /// There is no L2, only L1.
    #[default]
    Disabled,
    /// Commands and subscription work.
    Healthy,
    /// Commands work, but the subscription is not proven; or only reads work.
    Degraded,
    /// Commands do not work.
    Unavailable,
}

/// Number of data of one kind that were refused for one reason: kind, reason, number.
pub type RefusedCount = (&'static str, &'static str, u64);

/// State and counters of L2; the contract's RedisStats describes each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct L2Report {
    pub state: L2State,
    pub reason: String,
    pub state_age: Duration,
    pub round_trip: Option<Duration>,
    pub reconnects: u64,
    pub commands: u64,
    pub errors: u64,
    pub undecodable: u64,
    /// Messages of another deployment on the channels of this one.
    pub foreign_messages: u64,
    /// Data refused for lack of a valid signature or encryption.
    pub refused: Vec<RefusedCount>,
    pub bus_lag: Snapshot,
    /// Keys evicted and expired while this replica has watched. Never goes back, unlike the
    /// server's own counters.
    pub keys_gone: [u64; 2],
    /// Command connections that are usable now.
    pub connections_up: u64,
    /// Command connections that are lost, or not used until their server answers again.
    pub connections_down: u64,
    pub in_flight: u64,
    pub max_in_flight: u64,
    pub server: ServerReport,
    /// The latest estimate of the contents of namespaces; `sampled` returns it if it counts.
    pub keyspace: Option<Arc<KeyspaceSample>>,
}

// === impl L2Report ===

impl L2Report {
    /// Returns the counts since `earlier`, with the state of now.
    ///
    /// The server counts keys and commands itself: these are no counts of the replica.
    pub fn since(&self, earlier: &L2Report) -> L2Report {
        L2Report {
            reconnects: self.reconnects.saturating_sub(earlier.reconnects),
            commands: self.commands.saturating_sub(earlier.commands),
            errors: self.errors.saturating_sub(earlier.errors),
            undecodable: self.undecodable.saturating_sub(earlier.undecodable),
            foreign_messages: self.foreign_messages.saturating_sub(earlier.foreign_messages),
            bus_lag: self.bus_lag.since(&earlier.bus_lag),
            keys_gone: std::array::from_fn(|at| self.keys_gone[at].saturating_sub(earlier.keys_gone[at])),
            ..self.clone()
        }
    }

    /// Returns the latest estimate of the contents of namespaces, while L2 is reachable.
    pub fn sampled(&self) -> Option<&KeyspaceSample> {
        self.keyspace.as_deref().filter(|_| self.can_be_asked())
    }

    /// Returns true if L2 is reachable now. If not, its last report is out of date.
    pub fn can_be_asked(&self) -> bool {
        matches!(self.state, L2State::Healthy | L2State::Degraded)
    }
}

/// Report of the server of L2 about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ServerReport {
    pub version: String,
    pub used_memory: u64,
    pub used_memory_peak: u64,
    pub maxmemory: u64,
    pub keys: u64,
    pub evicted_keys: u64,
    pub expired_keys: u64,
    pub commands_processed: u64,
    pub maxmemory_policy: String,
    pub warnings: BTreeSet<String>,
}
