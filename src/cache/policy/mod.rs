//! What is allowed and how long it lives: data and pure functions, no state.

pub mod events;
pub mod expiry;
pub mod field_text;
pub mod limits;
pub mod namespace_policy;
pub mod rate_limit;

pub use events::{EventRule, Events, TargetKind};
pub use limits::Limits;
pub use namespace_policy::{Compression, DefaultConsistency, NamespacePolicy, PolicyPatch, Switches};
