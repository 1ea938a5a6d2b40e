//! Ports of L2 taken together, for where one object has to be all of them.

use super::entry_store::EntryStore;
use super::failover_store::FailoverStore;
use super::lease_store::LeaseStore;
use super::status::TierStatus;

/// A tier: its entries, its leases and its state.
pub trait TierStore: EntryStore + LeaseStore + TierStatus {}

impl<T: EntryStore + LeaseStore + TierStatus> TierStore for T {}

/// L2: the tier that replicas share, with the failovers of its servers.
pub trait L2: TierStore + FailoverStore {}

impl<T: TierStore + FailoverStore> L2 for T {}
