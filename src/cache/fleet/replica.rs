//! What can be told of a replica: by Stats, by metrics, by the dashboard. Who tells it reads the counts where they are kept.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::health::Health;
use super::shared_store::SharedStore;
use super::warm_start::WarmStart;
use crate::cache::admission::limits::Admission;
use crate::cache::clock::Clock;
use crate::cache::namespace::Namespaces;
use crate::cache::stats::LabeledHistograms;
use crate::cache::tier::L2;
use crate::cache::tiered::Tiered;

/// What this replica says of itself.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Identity of this process.
    pub id: String,
    /// When it was started.
    pub started: SystemTime,
}

impl Replica {
    /// A process that starts now.
    pub fn new() -> Replica {
        Replica { id: format!("{:016x}", rand::random::<u64>()), started: SystemTime::now() }
    }
}

impl Default for Replica {
    fn default() -> Self {
        Replica::new()
    }
}

/// A replica of the fleet, as it last said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetReplica {
    /// Identity of the process.
    pub id: String,
    /// Version of the service.
    pub version: String,
    /// How long ago it said so.
    pub age: Duration,
    /// Age of its oldest valid proof then; none: it had none.
    pub audit_age: Option<Duration>,
    /// Start of its process.
    pub started: Option<SystemTime>,
    /// Readiness in one word; empty: a release that does not say.
    pub state: String,
    /// Gets that were answered from memory, from the shared tier, with something stale, and with nothing.
    pub gets: [u64; 4],
    /// Sets and invalidations.
    pub writes: u64,
    /// Entries in its memory, their bytes, and the most bytes there may be.
    pub l1: [u64; 3],
    /// Lag of the changes that it applied lately, 99th percentile; none: there were none.
    pub lag_p99: Option<Duration>,
}

/// What is told of.
pub struct ReplicaHandles {
    /// The replica.
    pub replica: Replica,
    /// The cache.
    pub cache: Tiered,
    /// The shared tier.
    pub l2: Arc<dyn L2>,
    /// The namespaces.
    pub namespaces: Arc<Namespaces>,
    /// The load.
    pub admission: Arc<Admission>,
    /// How long RPCs take, by method and status; none: it is not measured.
    pub rpcs: Option<Arc<LabeledHistograms>>,
    /// Whether callers should come here.
    pub health: watch::Receiver<Health>,
    /// Where the fleet is heard of; none: this replica is all there is.
    pub shared_store: Option<Arc<dyn SharedStore>>,
    /// The warm start, if one is made.
    pub warm_start: Option<Arc<WarmStart>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}
