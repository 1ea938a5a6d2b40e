//! The Stats RPC: reports of this replica or of the fleet, and their reset.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::fleet;
use super::snapshot::StatsSnapshot;
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::fleet::replica::{FleetReplica, ReplicaHandles};
use crate::grpc::convert;
use crate::pb;

/// Reports on this replica and its fleet.
pub struct StatsReporter {
    /// Handles to everything that reports read.
    pub observed: Arc<ReplicaHandles>,
    /// Counters at the last reset. Reports subtract them.
    baseline: ArcSwapOption<StatsSnapshot>,
}

// === impl StatsReporter ===

impl StatsReporter {
    /// Creates a reporter that counts from the start.
    pub fn new(observed: Arc<ReplicaHandles>) -> StatsReporter {
        StatsReporter { observed, baseline: ArcSwapOption::empty() }
    }

    /// Returns the report of this replica or of the fleet, for one namespace or for all.
    pub async fn report(&self, request: &pb::StatsRequest, deadline: Moment) -> Result<pb::StatsResponse, CacheError> {
        let (whole_fleet, namespace) = convert::stats(request)?;
        let own = self.snapshot();
        if whole_fleet {
            Ok(fleet::report(&self.observed, own, namespace, deadline).await)
        } else {
            Ok(own.render(namespace))
        }
    }

    /// Returns the known replicas of the fleet.
    pub async fn fleet(&self) -> Vec<FleetReplica> {
        fleet::replicas(&self.observed, self.snapshot()).await
    }

    /// Publishes summaries of this replica to the fleet, until it is dropped.
    pub async fn publish_summaries(&self) {
        fleet::publish_summaries(&self.observed, || self.snapshot()).await;
    }

    /// Resets the reports: they count from now on.
    pub fn reset(&self) {
        self.baseline.store(Some(Arc::new(StatsSnapshot::now(&self.observed))));
    }

    /// Returns the counters since the start, or since the last reset.
    fn snapshot(&self) -> StatsSnapshot {
        let mut snapshot = StatsSnapshot::now(&self.observed);
        if let Some(baseline) = &*self.baseline.load() {
            snapshot.subtract(baseline);
        }
        snapshot
    }
}
