//! The Stats RPC: reports of this replica or of the fleet, and their reset.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::{fleet, messages};
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::fleet::replica::{FleetReplica, ReplicaHandles};
use crate::cache::fleet::report::ReplicaReport;
use crate::grpc::convert;
use crate::pb;

/// Reports on this replica and its fleet.
pub struct StatsReporter {
    /// Handles to everything that reports read.
    pub observed: Arc<ReplicaHandles>,
    /// Report at the last reset. Later ones count from it.
    baseline: ArcSwapOption<ReplicaReport>,
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
        let own = self.response();
        let mut response = if whole_fleet { fleet::report(&self.observed, own, deadline).await } else { own };
        response.namespaces.retain(|stats| namespace.is_empty() || stats.namespace == namespace);
        Ok(response)
    }

    /// Returns the known replicas of the fleet.
    pub async fn fleet(&self) -> Vec<FleetReplica> {
        fleet::replicas(&self.observed, self.response()).await
    }

    /// Publishes summaries of this replica to the fleet, until it is dropped.
    pub async fn publish_summaries(&self) {
        fleet::publish_summaries(&self.observed, || self.counted()).await;
    }

    /// Resets the reports: they count from now on.
    pub fn reset(&self) {
        self.baseline.store(Some(Arc::new(ReplicaReport::read(&self.observed))));
    }

    /// Returns the counts since the start, or since the last reset.
    fn counted(&self) -> ReplicaReport {
        let report = ReplicaReport::read(&self.observed);
        match &*self.baseline.load() {
            Some(baseline) => report.since(baseline),
            None => report,
        }
    }

    fn response(&self) -> pb::StatsResponse {
        let reset_time = self.baseline.load().as_ref().map(|baseline| convert::timestamp(baseline.wall));
        pb::StatsResponse { reset_time, ..messages::response(&self.observed.replica, &self.counted()) }
    }
}
