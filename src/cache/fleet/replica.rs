//! Handles that Stats, metrics and the dashboard read from, and facts of the other replicas.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::health::Health;
use super::shared_store::SharedStore;
use super::warm_start::WarmStart;
use crate::cache::admission::limits::Admission;
use crate::cache::clock::Clock;
use crate::cache::namespace::Namespaces;
use crate::cache::stats::{AccessCounters, LabeledHistograms, SecurityStats};
use crate::cache::tier::TierStatus;
use crate::cache::tiered::Tiered;

/// Identity of this replica.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Identity of this process.
    pub id: String,
    /// Start of this process.
    pub started: SystemTime,
}

impl Replica {
    /// Creates the identity of a process that starts now.
    pub fn new() -> Replica {
        Replica { id: format!("{:016x}", rand::random::<u64>()), started: SystemTime::now() }
    }
}

impl Default for Replica {
    fn default() -> Self {
        Replica::new()
    }
}

/// Last known state of a replica of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetReplica {
    /// Identity of the process.
    pub id: String,
    /// Version of the service.
    pub version: String,
    /// Age of this report.
    pub age: Duration,
    /// Age of its oldest valid proof at that time. `None` if it had none.
    pub audit_age: Option<Duration>,
    /// Start of its process.
    pub started: Option<SystemTime>,
    /// Readiness as one word. Empty if its release does not report it.
    pub state: String,
    /// Gets answered from L1, from L2, with a stale value, and with a miss.
    pub gets: [u64; 4],
    /// Sets and invalidations.
    pub writes: u64,
    /// Entries in its L1, their bytes, and the limit of bytes.
    pub l1: [u64; 3],
    /// Lag of the changes applied recently, 99th percentile. `None` if there were none.
    pub lag_p99: Option<Duration>,
}

/// Handles to all parts of a replica that report something.
pub struct ReplicaHandles {
    /// The replica.
    pub replica: Replica,
    /// The cache.
    pub cache: Tiered,
    /// State of the shared tier.
    pub l2: Arc<dyn TierStatus>,
    /// The namespaces.
    pub namespaces: Arc<Namespaces>,
    /// Admission control.
    pub admission: Arc<Admission>,
    /// Latency of RPCs by method and status. `None` if it is not measured.
    pub rpcs: Option<Arc<LabeledHistograms>>,
    /// Health of this replica.
    pub health: watch::Receiver<Health>,
    /// The store shared with the fleet. `None` if this replica is alone.
    pub shared_store: Option<Arc<dyn SharedStore>>,
    /// The warm start. `None` if it is off.
    pub warm_start: Option<Arc<WarmStart>>,
    /// TLS and reloads.
    pub security: Arc<SecurityStats>,
    /// Decisions on access, and failed logins.
    pub access: Arc<AccessCounters>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}
