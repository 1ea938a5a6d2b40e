//! Ports of the core: L1, L2 and the bus, with their requests, reports and errors.

pub mod bus;
mod error;
pub mod inspect;
mod l1;
mod l2;
mod report;
mod requests;

pub use error::{L2Error, RETRY_AFTER};
pub use l1::{L1, L1Usage, NotTaken, insert_within_quota};
pub use l2::{BoxFuture, FleetBarrier, L2};
pub use report::{L2Report, L2State, ServerReport};
pub use requests::{
    Acquired, Condition, ConditionFailure, Current, LeaseClaim, LeaseId, LeaseRelease, Mode, NotALease, ReadResult,
    Removal, RemoveResult, RequestId, Settlement, Takeover, Timeout, Touch, TouchMode, Touched, TouchedEntry,
    TtlChange, Write, WriteResult,
};
