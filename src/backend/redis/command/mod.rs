//! Runs commands: deadlines, limit in flight, spans.

pub mod executor;
pub mod spans;
