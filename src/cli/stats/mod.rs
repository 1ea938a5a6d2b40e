//! `twintier stats`: counters of a replica and the state of its tiers, once or repeatedly.

mod command;
mod fleet;
mod report;
mod tables;

pub use command::StatsArgs;
