//! Policies of namespaces: limits, rates and lifetimes.

pub mod byte_rate;
pub mod events;
pub mod expiry;
pub mod field_text;
pub mod limits;
pub mod namespace_policy;
pub mod rate_limit;
pub mod values;

pub use events::{EventRule, Events, TargetKind};
pub use limits::Limits;
pub use namespace_policy::{NamespacePolicy, PolicyPatch, Switches};
pub use values::{Compression, DefaultConsistency};
