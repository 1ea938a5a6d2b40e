//! Stats of one replica and of the fleet, as messages of the contract.

mod counts;
mod fleet;
mod reporter;
mod snapshot;

pub use reporter::StatsReporter;
