//! Port of L2: its state, and its end.

use std::sync::Arc;

use super::call::BoxFuture;
use super::report::L2Report;
use crate::cache::stats::LabeledHistograms;
use crate::cache::stats::keyspace::KeyspaceSample;

/// State and counters of a tier.
pub trait TierStatus: Send + Sync + 'static {
    /// Returns its state and counters.
    fn report(&self) -> L2Report;
    /// Returns the latency histograms of its commands, by name and result. `None` if it sends none.
    fn operations(&self) -> Option<&LabeledHistograms>;
    /// Returns why this replica must not serve: its configuration contradicts that of the
    /// deployment. `None` if it may serve.
    fn halted(&self) -> Option<String>;
    /// Returns the last sample of the keys and bytes of all namespaces. `None` if it is not sampled.
    fn keyspace(&self) -> Option<Arc<KeyspaceSample>> {
        None
    }
    /// Closes its tasks and connections.
    fn close(&self) -> BoxFuture<'_, ()>;
}
