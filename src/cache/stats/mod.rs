//! Counters, histograms and hot keys for Stats and metrics. Counting takes no lock.

mod counters;
mod histogram;
pub mod hot_keys;
pub mod keyspace;
mod labeled_histograms;
pub mod sketch;

pub use counters::{CoherenceCounters, Counter, IncGuard, Latencies, NamespaceCounters, SelfAuditCounters};
pub use histogram::{Histogram, Snapshot};
pub use labeled_histograms::LabeledHistograms;
