//! State and counters of L2, for Stats, metrics and the dashboard.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::stats::Snapshot;
use crate::cache::stats::keyspace::KeyspaceSample;

/// State of the shared tier as this replica sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum L2State {
    /// There is none: memory is all there is.
    #[default]
    Disabled,
    /// Commands and subscription work.
    Healthy,
    /// Commands work, but the subscription is not proven; or only reads do.
    Degraded,
    /// Commands do not work.
    Unavailable,
}

/// What is known of the shared tier; the contract's RedisStats says what each means.
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
    pub bus_lag: Snapshot,
    /// Keys evicted and keys expired while this replica has watched, which never goes back as the server's own counts do.
    pub keys_gone: [u64; 2],
    /// Connections for commands that may be used now.
    pub connections_up: u64,
    /// Connections for commands that are lost, or left alone until their server answers again.
    pub connections_down: u64,
    pub in_flight: u64,
    pub max_in_flight: u64,
    pub server: ServerReport,
    /// The latest estimate of what namespaces hold; `sampled` returns it if it counts.
    pub keyspace: Option<Arc<KeyspaceSample>>,
}

impl L2Report {
    /// Returns the latest estimate of what namespaces hold, while the shared tier can be asked.
    pub fn sampled(&self) -> Option<&KeyspaceSample> {
        self.keyspace.as_deref().filter(|_| self.can_be_asked())
    }

    /// Whether the shared tier can be asked now. If not, what it said of itself last says nothing of now.
    pub fn can_be_asked(&self) -> bool {
        matches!(self.state, L2State::Healthy | L2State::Degraded)
    }
}

/// What the server of the shared tier says of itself.
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
