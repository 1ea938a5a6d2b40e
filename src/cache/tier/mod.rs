//! Ports of the core: L1, L2 and the bus, with their requests, reports and errors.

pub mod bus;
mod call;
mod entry_store;
mod error;
mod failover_store;
pub mod inspect;
mod l1;
mod l2;
mod lease_store;
mod report;
mod requests;
mod scan;
mod status;

pub use call::{BoxFuture, CallContext, Timeout};
pub use entry_store::{EntryStore, FleetBarrier};
pub use error::{L2Error, RETRY_AFTER};
pub use failover_store::{FailoverStore, Settlement, Takeover};
pub use l1::{L1, L1Usage, NotTaken, insert_counted};
pub use l2::{L2, TierStore};
pub use lease_store::{Acquired, LeaseClaim, LeaseId, LeaseRelease, LeaseStore, NotALease};
pub use report::{L2Report, L2State, RefusedCount, ServerReport};
pub use requests::{
    Condition, ConditionFailure, Current, Mode, ReadResult, Removal, RemoveResult, RequestId, Touch, TouchMode,
    Touched, TouchedEntry, TtlChange, Write, WriteResult,
};
pub use scan::{KeyScan, ScanPosition, ScannedKey, ScannedKeys};
pub use status::TierStatus;
