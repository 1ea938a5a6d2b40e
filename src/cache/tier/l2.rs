//! Ports of L2 taken together, for where one object has to be all of them.

use super::entry_store::EntryStore;
use super::failover_store::FailoverStore;
use super::lease_store::LeaseStore;
use super::status::TierStatus;

/// L2: the store that the replicas share.
pub trait L2: EntryStore + LeaseStore + FailoverStore + TierStatus {}

impl<T: EntryStore + LeaseStore + FailoverStore + TierStatus> L2 for T {}

/// Store of a replica without L2: its entries live in L1 only, and it has no failovers.
pub trait LocalStore: EntryStore + LeaseStore + TierStatus {}

impl<T: EntryStore + LeaseStore + TierStatus> LocalStore for T {}
