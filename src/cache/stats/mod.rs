//! Counters, histograms and hot keys for Stats and metrics. Counting takes no lock.

mod access_counters;
mod counters;
mod histogram;
pub mod hot_keys;
pub mod keyspace;
mod l1_activity;
mod l2_growth;
mod labeled_histograms;
mod meter;
mod security;
pub mod sketch;

pub use access_counters::{AccessCounters, AccessCounts, DECISIONS, FAILED_LOGINS, VERBS};
pub use counters::{
    CoherenceCounters, CoherenceCounts, Gets, L1Counters, L1Counts, Latencies, LatencyReport, LeaseCounters,
    LeaseCounts, NamespaceCounters, NamespaceCounts, SecurityCounters, SecurityCounts, SelfAuditCounters,
    SelfAuditCounts, WatchCounters, WatchCounts,
};
pub use histogram::{Histogram, Snapshot};
pub use l1_activity::L1Activity;
pub use l2_growth::L2Growth;
pub use labeled_histograms::LabeledHistograms;
pub use meter::{Counter, Gauge, IncGuard, Meter, Number};
pub use security::{CertificateEnds, CertificateLife, SecurityStats};
