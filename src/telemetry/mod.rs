//! What people see of a running service from outside its RPCs: logs and metrics.

pub mod logs;
pub mod metrics;
pub mod otel;
