//! Port of L2: its state, and its end.

use super::call::BoxFuture;
use super::report::L2Report;
use crate::cache::stats::LabeledHistograms;

/// State and counters of a tier.
pub trait TierStatus: Send + Sync + 'static {
    /// Returns its state and counters.
    fn report(&self) -> L2Report;
    /// Returns the latency histograms of its commands, by name and result. `None` if it sends none.
    fn operations(&self) -> Option<&LabeledHistograms>;
    /// Returns why this replica must not serve: its configuration contradicts that of the
    /// deployment. `None` if it may serve.
    fn halted(&self) -> Option<String>;
    /// Closes its tasks and connections.
    fn close(&self) -> BoxFuture<'_, ()>;
}
