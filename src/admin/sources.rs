//! Sources of the admin server: this replica, its fleet, its metrics, and how keys are shown.

use std::sync::Arc;

use crate::cache::fleet::replica::{FleetReplica, ReplicaHandles};
use crate::cache::tier::BoxFuture;

/// The metrics, in Prometheus' text form.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;
/// Asks for the replicas of the fleet.
pub type FleetQuery = Arc<dyn Fn() -> BoxFuture<'static, Vec<FleetReplica>> + Send + Sync>;

/// How the dashboard names keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyNames {
    /// By the hash that the log has, too.
    Hashed,
    /// As they are.
    Clear,
}

/// Where what is served comes from.
pub struct AdminSources {
    /// This replica.
    pub observed: Arc<ReplicaHandles>,
    /// Its fleet.
    pub fleet: FleetQuery,
    /// Its metrics; none: they are not served.
    pub metrics: Option<MetricsText>,
}
