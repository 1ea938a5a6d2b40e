//! Stats: what was counted, in the contract's words.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::fleet;
use super::snapshot::StatsSnapshot;
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::fleet::replica::{FleetReplica, ReplicaHandles};
use crate::grpc::convert;
use crate::pb;

/// Reports on a replica and its fleet.
pub struct StatsReporter {
    /// What is reported on.
    pub observed: Arc<ReplicaHandles>,
    /// What reports leave out: what was counted before the last reset.
    baseline: ArcSwapOption<StatsSnapshot>,
}

// === impl Reports ===

impl StatsReporter {
    /// Reports on what is counted from the start on.
    pub fn new(observed: Arc<ReplicaHandles>) -> StatsReporter {
        StatsReporter { observed, baseline: ArcSwapOption::empty() }
    }

    /// The report of this replica or of the fleet, of one namespace or of all.
    pub async fn report(&self, request: &pb::StatsRequest, deadline: Moment) -> Result<pb::StatsResponse, CacheError> {
        let (whole_fleet, namespace) = convert::stats(request)?;
        let own = self.snapshot();
        if whole_fleet {
            Ok(fleet::report(&self.observed, own, namespace, deadline).await)
        } else {
            Ok(own.render(namespace))
        }
    }

    /// The replicas of the fleet, as far as they can be heard of.
    pub async fn fleet(&self) -> Vec<FleetReplica> {
        fleet::replicas(&self.observed, self.snapshot()).await
    }

    /// Tells the fleet what is counted here, for ever.
    pub async fn publish_summaries(&self) {
        fleet::publish_summaries(&self.observed, || self.snapshot()).await;
    }

    /// Reports count from now on.
    pub fn reset(&self) {
        self.baseline.store(Some(Arc::new(StatsSnapshot::now(&self.observed))));
    }

    /// What was counted since the start, or since the last reset.
    fn snapshot(&self) -> StatsSnapshot {
        let mut snapshot = StatsSnapshot::now(&self.observed);
        if let Some(baseline) = &*self.baseline.load() {
            snapshot.subtract(baseline);
        }
        snapshot
    }
}
