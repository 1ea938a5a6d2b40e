//! Commands: deadlines, limits in flight, spans.

pub mod executor;
pub mod spans;
