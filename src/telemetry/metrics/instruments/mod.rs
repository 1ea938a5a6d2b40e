//! Table of all instruments: names, units, labels and descriptions. docs/metrics.md is generated
//! from it.

#[macro_use]
mod table;

mod access;
mod coherence;
mod durations;
mod leases;
mod memory;
mod redis;
mod replica;
mod requests;
mod security;
mod topics;

pub use topics::{TOPICS, all};
