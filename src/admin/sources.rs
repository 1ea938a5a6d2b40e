//! Sources of the admin server: this replica, its fleet, its metrics, and the form of keys.

use std::sync::Arc;

use crate::cache::fleet::replica::{FleetReplica, ReplicaHandles};
use crate::cache::tier::BoxFuture;

/// Renders the metrics in the Prometheus text format.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;
/// Queries the replicas of the fleet.
pub type FleetQuery = Arc<dyn Fn() -> BoxFuture<'static, Vec<FleetReplica>> + Send + Sync>;

/// Form of keys on the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyNames {
    /// Hash of the key, as in the log.
    Hashed,
    /// Plain text.
    Clear,
}

/// Sources of the admin server.
pub struct AdminSources {
    /// This replica.
    pub observed: Arc<ReplicaHandles>,
    /// Its fleet.
    pub fleet: FleetQuery,
    /// Its metrics; `None` if they are not served.
    pub metrics: Option<MetricsText>,
}
