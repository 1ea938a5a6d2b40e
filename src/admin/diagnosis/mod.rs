//! Diagnosis of this replica from two reports: a pure function, so that each finding is tested.
//!
//! Each check knows one condition, and reports what it saw and what to do. The thresholds inform
//! people and trigger no action: in doubt they report nothing.

mod certificates;
mod finding;
mod findings;
mod memory;
mod redis;
mod steady;
mod traffic;

pub use finding::{Finding, Hottest, Level, Signs};
pub use findings::findings;
pub use steady::Steady;
