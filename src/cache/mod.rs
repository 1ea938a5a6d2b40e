//! The core: what a Get, a Set and an Invalidate mean. Knows no transport, no Redis, no memory library.

pub mod error;
pub mod policy;
