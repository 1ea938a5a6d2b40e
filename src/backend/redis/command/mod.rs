//! Runs commands: deadlines, limit in flight, errors, spans.

pub mod batcher;
pub mod command_error;
pub mod executor;
pub mod in_flight;
pub mod spans;
