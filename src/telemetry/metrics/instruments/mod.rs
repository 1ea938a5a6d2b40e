//! Table of all instruments: names, units, labels and descriptions. docs/metrics.md is generated
//! from it.

use super::instrument::Instrument;

#[macro_use]
mod table;

mod coherence;
mod durations;
mod leases;
mod memory;
mod redis;
mod replica;
mod requests;

/// All instruments by topic, in the order of docs/metrics.md.
pub static TOPICS: [(&str, &[Instrument]); 7] = [
    ("Requests", requests::INSTRUMENTS),
    ("Memory", memory::INSTRUMENTS),
    ("Leases and watches", leases::INSTRUMENTS),
    ("Coherence", coherence::INSTRUMENTS),
    ("Durations", durations::INSTRUMENTS),
    ("Redis", redis::INSTRUMENTS),
    ("The replica", replica::INSTRUMENTS),
];

/// All instruments.
pub fn all() -> impl Iterator<Item = &'static Instrument> {
    TOPICS.iter().flat_map(|(_, instruments)| instruments.iter())
}
