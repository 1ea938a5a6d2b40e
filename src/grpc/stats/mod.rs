//! Stats of one replica and of the fleet, as messages of the contract.

mod additive;
mod fleet;
mod messages;
mod reporter;

pub use reporter::StatsReporter;
