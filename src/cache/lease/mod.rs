//! Leases at one replica: options of a request, the table of leases granted here, and rounds of
//! waiters.

mod grants;
mod table;
pub mod waiters;

pub use grants::{Lease, LeaseHolder, LeaseOptions, LeaseStatus, Leases};
