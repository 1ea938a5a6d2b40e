//! Stats: what was counted, in the contract's words.

mod counts;
mod fleet;
mod reporter;
mod snapshot;

pub use reporter::StatsReporter;
