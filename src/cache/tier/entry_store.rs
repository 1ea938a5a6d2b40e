//! Port of L2: the counter of each partition, and its entries.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;

use super::call::{BoxFuture, CallContext, Timeout};
use super::error::L2Error;
use super::inspect::Inspected;
use super::requests::{Current, Mode, ReadResult, Removal, RemoveResult, Touch, Touched, Write, WriteResult};
use super::scan::{KeyScan, ScannedKeys};
use crate::cache::clock::Moment;
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::Key;
use crate::cache::namespace::Namespace;
use crate::cache::version::Version;

/// The counter of each partition, and its entries.
///
/// Each write and invalidation is one atomic step that takes the next sequence of its partition,
/// takes effect, and is announced on the bus. Every call ends at about its deadline; an `Err` of a
/// write says for how long it may still take effect.
pub trait EntryStore: Send + Sync + 'static {
    /// Reads the live entry of `key`.
    fn read<'a>(&'a self, key: &'a Key, timeout: Timeout) -> BoxFuture<'a, Result<ReadResult, L2Error>>;
    /// Reads several different keys of one namespace. Returns one result for each key, in their
    /// order.
    fn read_many<'a>(&'a self, keys: &'a [Key], timeout: Timeout) -> BoxFuture<'a, Vec<Result<ReadResult, L2Error>>> {
        Box::pin(join_all(keys.iter().map(move |key| self.read(key, timeout))))
    }
    /// Makes `writes`, of different keys, all of one namespace and of `partition`, in one step.
    ///
    /// Each succeeds or is refused by itself.
    fn write<'a>(
        &'a self,
        partition: u16,
        writes: &'a [Write],
        context: CallContext,
    ) -> BoxFuture<'a, Result<Vec<WriteResult>, L2Error>>;
    /// Removes different keys, all of one namespace and of `partition`, or marks them stale.
    fn remove<'a>(
        &'a self,
        partition: u16,
        removals: &'a [Removal],
        mode: Mode,
        context: CallContext,
    ) -> BoxFuture<'a, Result<RemoveResult, L2Error>>;
    /// Removes the entries of `namespace` in `partition` that `selectors` select, or marks them
    /// stale.
    fn invalidate<'a>(
        &'a self,
        partition: u16,
        namespace: &'a Arc<Namespace>,
        selectors: &'a [Selector],
        mode: Mode,
        context: CallContext,
    ) -> BoxFuture<'a, Result<Version, L2Error>>;
    /// Lists the namespaces in which any replica stored or leased something. It may list more.
    ///
    /// Empty for a store that only this replica writes to.
    fn namespaces(&self, deadline: Moment) -> BoxFuture<'_, Result<BTreeSet<String>, L2Error>>;
    /// Searches a small part of the entries for keys, without blocking other calls.
    fn scan_keys<'a>(&'a self, scan: KeyScan<'a>, deadline: Moment) -> BoxFuture<'a, Result<ScannedKeys, L2Error>>;
    /// Changes the time to live of the live entry of `key`.
    fn touch<'a>(&'a self, key: &'a Key, touch: Touch, deadline: Moment) -> BoxFuture<'a, Result<Touched, L2Error>>;
    /// Returns the facts of the live entry of `key`, for the self-audit. `None` if there is none.
    fn current<'a>(&'a self, key: &'a Key, deadline: Moment) -> BoxFuture<'a, Result<Option<Current>, L2Error>>;
    /// Returns what is stored under `key` outside of L1, servable or not, with the reasons against
    /// serving that it knows.
    ///
    /// Expiry and marks are for the caller to judge.
    fn inspect<'a>(&'a self, key: &'a Key, deadline: Moment) -> BoxFuture<'a, Result<Inspected, L2Error>>;
    /// Opens a barrier, before the change that has to pass it is made.
    fn barrier(&self) -> Box<dyn FleetBarrier + '_>;
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
