//! `twintier stats`: what a replica counted and the state of its tiers, once or again and again.

mod command;
mod document;
mod fleet;
mod report;
mod tables;

pub use command::StatsArgs;
