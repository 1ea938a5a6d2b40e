//! The core: what a Get, a Set and an Invalidate mean. Knows no transport, no Redis, no memory library.

pub mod board;
pub mod clock;
pub mod coherence;
pub mod entry;
pub mod error;
pub mod health;
pub mod hot_keys;
pub mod inspect;
pub mod key;
pub mod keyspace;
pub mod lease;
pub mod load;
pub mod log_fields;
pub mod namespace;
pub mod observed;
pub mod place;
pub mod policies;
pub mod policy;
pub mod quoted;
pub mod remembered;
pub mod repair;
pub mod selector;
pub mod self_audit;
pub mod single_flight;
pub mod spans;
pub mod stats;
#[cfg(test)]
mod testing;
mod throttle;
pub mod tier;
pub mod tiered;
pub mod tombstones;
pub mod warm_start;
