//! The core: Get, Set and Invalidate. It imports no transport, no Redis and no memory library.

pub mod admission;
pub mod caller;
pub mod clock;
pub mod coherence;
pub mod entry;
pub mod error;
pub mod expiring_map;
pub mod fleet;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod invalidation;
pub mod key;
pub mod key_form;
pub mod lease;
pub mod lifetime;
pub mod log_fields;
pub mod namespace;
pub mod policy;
pub mod quoted;
pub mod single_flight;
pub mod spans;
pub mod stats;
#[cfg(test)]
mod testing;
pub mod tier;
pub mod tiered;
pub mod token;
pub mod version;
