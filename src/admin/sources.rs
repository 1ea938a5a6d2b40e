//! Sources of the admin server: this replica, its fleet and its metrics.

use std::sync::Arc;

use crate::auth::Authority;
use crate::cache::fleet::replica::{FleetReplica, ReplicaHandles};
use crate::cache::tier::BoxFuture;

/// Renders the metrics in the Prometheus text format.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;
/// Queries the replicas of the fleet.
pub type FleetQuery = Arc<dyn Fn() -> BoxFuture<'static, Vec<FleetReplica>> + Send + Sync>;

/// Sources of the admin server.
pub struct AdminSources {
    /// This replica.
    pub observed: Arc<ReplicaHandles>,
    /// Its fleet.
    pub fleet: FleetQuery,
    /// Its metrics; `None` if they are not served.
    pub metrics: Option<MetricsText>,
    /// The identities and grants in force.
    pub authority: Arc<Authority>,
}
