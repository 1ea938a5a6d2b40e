//! What is wrong with this replica, told from two samples: a pure function, so that every sign can be tested, and its absence too.
//!
//! Each check knows one condition, and says what it saw and what to do. The thresholds are for telling people, not for acting: they err on
//! the side of silence.

mod finding;
mod findings;
mod memory;
mod redis;
mod steady;
mod traffic;

pub use finding::{Finding, Hottest, Level, Signs};
pub use findings::findings;
pub use steady::Steady;
