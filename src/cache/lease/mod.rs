//! Leases as one replica sees them: how they are asked for, what was granted through here, and the rounds of those who want one.

mod grants;
pub mod waiters;

pub use grants::{Lease, LeaseCounters, LeaseHolder, LeaseOptions, LeaseStatus, Leases};
