//! Port of L2: its failovers.

use super::call::BoxFuture;
use super::error::L2Error;
use crate::cache::clock::Moment;
use crate::cache::version::Version;

/// Failovers: how the counter of a partition came to its epoch, and which replicas have settled
/// that.
pub trait FailoverStore: Send + Sync + 'static {
    /// Returns how the counter of `partition` came to its `epoch`.
    fn takeover(&self, partition: u16, epoch: u64, deadline: Moment) -> BoxFuture<'_, Result<Takeover, L2Error>>;
    /// Reports that this replica has settled the failover that began `epoch`.
    ///
    /// Returns true if every other replica has settled it, too, or is not waited for any more.
    fn settle(
        &self,
        partition: u16,
        epoch: u64,
        settlement: Settlement,
        deadline: Moment,
    ) -> BoxFuture<'_, Result<bool, L2Error>>;
    /// Reports that it returned less of `partition` than it had announced: the queried server is
    /// not the one that announces.
    fn is_behind(&self, partition: u16);
}

/// Origin of a counter's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// The server kept no entry from before.
    Anew,
    /// On a server that may lack everything after its position at the failover.
    From {
        /// That position, of an earlier epoch.
        prior: Version,
        /// The epoch from which on its entries count.
        trusted_from: u64,
    },
}

/// Result of a failover at a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Every change known here that may be lost was invalidated again.
    Repaired,
    /// More may be lost than is remembered: nothing from before may count.
    Forgotten,
    /// This replica remembers no changes: older entries may not count, unless another replica has
    /// decided already.
    Cold,
}
