//! All instruments by topic, in the order of docs/metrics.md.

use super::{access, coherence, durations, leases, memory, redis, replica, requests, security};
use crate::telemetry::metrics::instrument::Instrument;

/// All instruments by topic, in the order of docs/metrics.md.
pub static TOPICS: [(&str, &[Instrument]); 9] = [
    ("Requests", requests::INSTRUMENTS),
    ("Memory", memory::INSTRUMENTS),
    ("Leases and watches", leases::INSTRUMENTS),
    ("Coherence", coherence::INSTRUMENTS),
    ("Durations", durations::INSTRUMENTS),
    ("Redis", redis::INSTRUMENTS),
    ("TLS and reloads", security::INSTRUMENTS),
    ("Access", access::INSTRUMENTS),
    ("The replica", replica::INSTRUMENTS),
];

/// All instruments.
pub fn all() -> impl Iterator<Item = &'static Instrument> {
    TOPICS.iter().flat_map(|(_, instruments)| instruments.iter())
}
