//! Telemetry: logs, traces and metrics, and their export.
//!
//! The OTEL_* variables of OpenTelemetry select exporters. Without them, only logs to standard
//! error and the metrics of the admin port exist.

mod env;
mod exporter;
mod log_rate_limit;
pub mod logs;
pub mod metrics;
mod resource;
mod signal;
mod telemetry;
mod traces;

pub use telemetry::{Telemetry, start};
