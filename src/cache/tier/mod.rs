//! The two tiers, as the core needs them.

pub mod bus;
pub mod inspect;
mod l2;

pub use l2::{
    Acquired, BoxFuture, Claim, Condition, Current, FleetBarrier, L1, L1Usage, L2, L2Error, L2Report, L2State, LeaseId,
    LifeChange, Mode, NotALease, NotTaken, RETRY_AFTER, Read, Refusal, Removal, Removed, RequestId, Return,
    ServerReport, Settlement, Takeover, Timeout, Touch, TouchMode, Touched, TouchedEntry, Write, Written,
};
