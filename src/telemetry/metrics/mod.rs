//! Metrics: reads the core's counters for Prometheus and OTLP.
//!
//! The core counts by itself and does not know this module. Counters are read at each collection.

mod histogram_bridge;
mod instrument;
mod instruments;
mod metrics;
mod otlp_exporter;
mod scrape;

pub use metrics::{MetricDescription, Metrics, MetricsConfig, reference};
