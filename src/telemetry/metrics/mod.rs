//! Metrics: what the core counts, for Prometheus to scrape and to be sent by OTLP. The core counts by itself and knows nothing of this; all is
//! read when it is asked for.

mod histogram_bridge;
mod instrument;
mod instruments;
mod metrics;
mod otlp_exporter;
mod scrape;

pub use metrics::{Described, Metrics, MetricsConfig, reference};
