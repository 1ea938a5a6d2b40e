//! Counts that Stats and metrics report: an atomic add each, no lock anywhere.

mod counters;
pub mod hot_keys;
pub mod keyspace;
mod labeled_histograms;
pub mod sketch;

pub use counters::{
    CoherenceCounters, Counter, Histogram, IncGuard, Latencies, NamespaceCounters, SelfAuditCounters, Snapshot,
};
pub use labeled_histograms::LabeledHistograms;
