//! What people see of a running service from outside its RPCs: logs, traces and metrics. OpenTelemetry's variables say where they go; nothing leaves the
//! process unless one of them asks for it.

mod env;
mod exporter;
mod log_rate_limit;
pub mod logs;
pub mod metrics;
mod resource;
mod telemetry;
mod traces;

pub use telemetry::{Telemetry, start};
