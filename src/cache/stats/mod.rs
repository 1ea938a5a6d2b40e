//! Counts that Stats and metrics report: an atomic add each, no lock anywhere.

mod counters;
mod histogram;
pub mod hot_keys;
pub mod keyspace;
mod labeled_histograms;
pub mod sketch;

pub use counters::{CoherenceCounters, Counter, IncGuard, Latencies, NamespaceCounters, SelfAuditCounters};
pub use histogram::{Histogram, Snapshot};
pub use labeled_histograms::LabeledHistograms;
