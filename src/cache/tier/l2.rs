//! The two tiers, as the core needs them.

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

/// A future of a tier.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The shared tier: the number line of each partition, and the entries on it.
///
/// Each write and invalidation is one atomic step that takes the next sequence of its partition, takes effect, and is announced on the bus.
/// Every call ends by `deadline`, or as its `timeout` says, about; an `Err` of a write says for how long it may still take effect.
pub trait L2: Send + Sync + 'static {
    /// Reads the live entry of `key`.
    fn read<'a>(&'a self, key: &'a Key, timeout: Timeout) -> BoxFuture<'a, Result<ReadResult, L2Error>>;
    /// Reads many different keys of one namespace at once. Answers in their order, each for itself.
    fn read_many<'a>(&'a self, keys: &'a [Key], timeout: Timeout) -> BoxFuture<'a, Vec<Result<ReadResult, L2Error>>> {
        Box::pin(join_all(keys.iter().map(move |key| self.read(key, timeout))))
    }
    /// Makes `writes`, of different keys, all of one namespace and of `partition`, in one step: each succeeds or is refused for itself. The
    /// ticket of a barrier, if not 0, has every replica confirm.
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
    /// Removes what `selectors` select of what `namespace` has in `partition`, or marks it stale.
    fn invalidate<'a>(
        &'a self,
        partition: u16,
        namespace: &'a Arc<Namespace>,
        selectors: &'a [Selector],
        mode: Mode,
        ticket: u64,
        deadline: Moment,
    ) -> BoxFuture<'a, Result<Version, L2Error>>;
    /// Lists the namespaces of which anything was stored or leased, by any replica. It may list more. Empty for a tier that only this replica
    /// writes to.
    fn namespaces(&self, _deadline: Moment) -> BoxFuture<'_, Result<BTreeSet<String>, L2Error>> {
        Box::pin(ready(Ok(BTreeSet::new())))
    }
    /// Changes the time to live of the live entry of `key`.
    fn touch<'a>(&'a self, key: &'a Key, touch: Touch, deadline: Moment) -> BoxFuture<'a, Result<Touched, L2Error>>;
    /// Asks for the lease of `key`.
    fn acquire<'a>(
        &'a self,
        key: &'a Key,
        claim: LeaseClaim,
        deadline: Moment,
    ) -> BoxFuture<'a, Result<Acquired, L2Error>>;
    /// Gives a lease back. False: it did not hold any more.
    fn release<'a>(
        &'a self,
        key: &'a Key,
        back: LeaseRelease,
        deadline: Moment,
    ) -> BoxFuture<'a, Result<bool, L2Error>>;
    /// Opens a barrier, before the change that is to pass it is made.
    fn barrier(&self) -> Box<dyn FleetBarrier + '_> {
        Box::new(NoFleet)
    }
    /// How the number line of `partition` came to its `epoch`.
    fn takeover(&self, _partition: u16, _epoch: u64, _deadline: Moment) -> BoxFuture<'_, Result<Takeover, L2Error>> {
        Box::pin(ready(Ok(Takeover::Anew)))
    }
    /// This replica has seen to the takeover that began `epoch`. Returns whether every other replica has, too, or is not waited for any more.
    fn settle(
        &self,
        _partition: u16,
        _epoch: u64,
        _settlement: Settlement,
        _deadline: Moment,
    ) -> BoxFuture<'_, Result<bool, L2Error>> {
        Box::pin(ready(Ok(true)))
    }
    /// What is current of `key`, without its value: for the self-audit. None: no live entry, or a tier that cannot say.
    fn current<'a>(&'a self, _: &'a Key, _: Moment) -> BoxFuture<'a, Result<Option<Current>, L2Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }
    /// What is stored under `key`, whether it may be answered or not. It tells what it knows of why not; time and marks are the caller's.
    fn inspect<'a>(&'a self, _: &'a Key, _: Moment) -> BoxFuture<'a, Result<Inspected, L2Error>> {
        Box::pin(ready(Ok(Inspected::default())))
    }
    /// True when the entries live in this replica's L1, and nowhere else: then a miss there is a miss.
    fn shares_l1(&self) -> bool {
        false
    }
    /// It answered with less of `partition` than it had announced: the server asked is not the one that announces.
    fn is_behind(&self, _partition: u16) {}
    /// What is known of it.
    fn report(&self) -> L2Report;
    /// How long its commands take, by name and by what became of them.
    fn operations(&self) -> Option<&LabeledHistograms> {
        None
    }
    /// Why this replica must not serve, if so: its configuration contradicts that of the deployment.
    fn halted(&self) -> Option<String> {
        None
    }
    /// Ends its tasks and connections.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A change that is not acknowledged before the fleet has applied it.
pub trait FleetBarrier: Send + Sync {
    /// What the change has to carry.
    fn ticket(&self) -> u64;
    /// Waits deadline every other replica has applied the change in `partitions`, or has lost its right to answer with what was before. Called
    /// after the change has taken effect.
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
