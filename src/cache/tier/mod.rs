//! The two tiers, as the core needs them.

pub mod bus;
pub mod inspect;
mod l2;

pub use l2::{
    Acquired, BoxFuture, Condition, ConditionFailure, Current, FleetBarrier, L1, L1Usage, L2, L2Error, L2Report,
    L2State, LeaseClaim, LeaseId, LeaseRelease, Mode, NotALease, NotTaken, RETRY_AFTER, ReadResult, Removal,
    RemoveResult, RequestId, ServerReport, Settlement, Takeover, Timeout, Touch, TouchMode, Touched, TouchedEntry,
    TtlChange, Write, WriteResult,
};
