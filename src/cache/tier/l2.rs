//! Port of L2: the store that the replicas share.

use std::collections::BTreeSet;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::join_all;

use super::error::L2Error;
use super::inspect::Inspected;
use super::report::L2Report;
use super::requests::{
    Acquired, Current, LeaseClaim, LeaseRelease, Mode, ReadResult, Removal, RemoveResult, Settlement, Takeover,
    Timeout, Touch, Touched, Write, WriteResult,
};
use crate::cache::clock::Moment;
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::Key;
use crate::cache::namespace::Namespace;
use crate::cache::stats::LabeledHistograms;
use crate::cache::version::Version;

/// Future of a tier's operation.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// L2: the counter of each partition, and its entries.
///
/// Each write and invalidation is one atomic step that takes the next sequence of its partition,
/// takes effect, and is announced on the bus. Every call ends at about its deadline; an `Err` of a
/// write says for how long it may still take effect.
pub trait L2: Send + Sync + 'static {
    /// Reads the live entry of `key`.
    fn read<'a>(&'a self, key: &'a Key, timeout: Timeout) -> BoxFuture<'a, Result<ReadResult, L2Error>>;
    /// Reads several different keys of one namespace. Returns one result for each key, in their
    /// order.
    fn read_many<'a>(&'a self, keys: &'a [Key], timeout: Timeout) -> BoxFuture<'a, Vec<Result<ReadResult, L2Error>>> {
        Box::pin(join_all(keys.iter().map(move |key| self.read(key, timeout))))
    }
    /// Makes `writes`, of different keys, all of one namespace and of `partition`, in one step.
    ///
    /// Each succeeds or is refused by itself. A `ticket` other than 0 makes every replica confirm,
    /// for a barrier.
    fn write<'a>(
        &'a self,
        partition: u16,
        writes: &'a [Write],
        ticket: u64,
        timeout: Timeout,
    ) -> BoxFuture<'a, Result<Vec<WriteResult>, L2Error>>;
    /// Removes different keys, all of one namespace and of `partition`, or marks them stale.
    fn remove<'a>(
        &'a self,
        partition: u16,
        removals: &'a [Removal],
        mode: Mode,
        ticket: u64,
        deadline: Moment,
    ) -> BoxFuture<'a, Result<RemoveResult, L2Error>>;
    /// Removes the entries of `namespace` in `partition` that `selectors` select, or marks them
    /// stale.
    fn invalidate<'a>(
        &'a self,
        partition: u16,
        namespace: &'a Arc<Namespace>,
        selectors: &'a [Selector],
        mode: Mode,
        ticket: u64,
        deadline: Moment,
    ) -> BoxFuture<'a, Result<Version, L2Error>>;
    /// Lists the namespaces in which any replica stored or leased something. It may list more.
    ///
    /// Empty for a tier that only this replica writes to.
    fn namespaces(&self, _deadline: Moment) -> BoxFuture<'_, Result<BTreeSet<String>, L2Error>> {
        Box::pin(ready(Ok(BTreeSet::new())))
    }
    /// Changes the time to live of the live entry of `key`.
    fn touch<'a>(&'a self, key: &'a Key, touch: Touch, deadline: Moment) -> BoxFuture<'a, Result<Touched, L2Error>>;
    /// Requests the lease of `key`.
    fn acquire<'a>(
        &'a self,
        key: &'a Key,
        claim: LeaseClaim,
        deadline: Moment,
    ) -> BoxFuture<'a, Result<Acquired, L2Error>>;
    /// Releases a lease. Returns false if it was not valid any more.
    fn release<'a>(
        &'a self,
        key: &'a Key,
        back: LeaseRelease,
        deadline: Moment,
    ) -> BoxFuture<'a, Result<bool, L2Error>>;
    /// Opens a barrier, before the change that has to pass it is made.
    fn barrier(&self) -> Box<dyn FleetBarrier + '_> {
        Box::new(NoFleet)
    }
    /// Returns how the counter of `partition` came to its `epoch`.
    fn takeover(&self, _partition: u16, _epoch: u64, _deadline: Moment) -> BoxFuture<'_, Result<Takeover, L2Error>> {
        Box::pin(ready(Ok(Takeover::Anew)))
    }
    /// Reports that this replica has settled the failover that began `epoch`.
    ///
    /// Returns true if every other replica has settled it, too, or is not waited for any more.
    fn settle(
        &self,
        _partition: u16,
        _epoch: u64,
        _settlement: Settlement,
        _deadline: Moment,
    ) -> BoxFuture<'_, Result<bool, L2Error>> {
        Box::pin(ready(Ok(true)))
    }
    /// Returns the facts of the live entry of `key`, for the self-audit.
    ///
    /// `None` if there is no live entry, or if the tier cannot tell.
    fn current<'a>(&'a self, _: &'a Key, _: Moment) -> BoxFuture<'a, Result<Option<Current>, L2Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }
    /// Returns what is stored under `key`, servable or not, with the reasons against serving that
    /// it knows.
    ///
    /// Expiry and marks are for the caller to judge.
    fn inspect<'a>(&'a self, _: &'a Key, _: Moment) -> BoxFuture<'a, Result<Inspected, L2Error>> {
        Box::pin(ready(Ok(Inspected::default())))
    }
    /// Returns true if the entries live only in this replica's L1: then a miss there is a miss.
    fn shares_l1(&self) -> bool {
        false
    }
    /// Reports that it returned less of `partition` than it had announced: the queried server is
    /// not the one that announces.
    fn is_behind(&self, _partition: u16) {}
    /// Returns its state and counters.
    fn report(&self) -> L2Report;
    /// Returns the latency histograms of its commands, by name and result.
    fn operations(&self) -> Option<&LabeledHistograms> {
        None
    }
    /// Returns why this replica must not serve: its configuration contradicts that of the
    /// deployment. `None` if it may serve.
    fn halted(&self) -> Option<String> {
        None
    }
    /// Closes its tasks and connections.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Barrier of a change that is not acknowledged before the fleet has applied it.
pub trait FleetBarrier: Send + Sync {
    /// Returns the ticket that the change has to carry.
    fn ticket(&self) -> u64;
    /// Waits until every other replica has applied the change in `partitions`, or may not answer
    /// any more with what was before.
    ///
    /// Called after the change has taken effect.
    fn passed<'a>(&'a self, partitions: &'a [u16], deadline: Moment) -> BoxFuture<'a, Result<(), L2Error>>;
}

/// The barrier of a replica that is the whole fleet.
struct NoFleet;

impl FleetBarrier for NoFleet {
    fn ticket(&self) -> u64 {
        0
    }

    fn passed<'a>(&'a self, _: &'a [u16], _: Moment) -> BoxFuture<'a, Result<(), L2Error>> {
        Box::pin(ready(Ok(())))
    }
}
