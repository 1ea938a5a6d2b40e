//! What is allowed and how long it lives: data and pure functions, no state.

pub mod events;
pub mod expiry;
pub mod limits;
pub mod namespace;

pub use events::{EventRule, Events, TargetKind};
pub use limits::Limits;
pub use namespace::{Compression, DefaultConsistency, NamespacePolicy, PolicyPatch, Switches};
