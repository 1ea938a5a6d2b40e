//! Commands: deadlines, limits in flight, spans.

pub mod executor;
pub mod large_values;
pub mod spans;
