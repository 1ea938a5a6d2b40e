//! Stats: what was counted, in the contract's words.

mod counts;
mod fleet;
mod reporter;

pub use reporter::StatsReporter;
