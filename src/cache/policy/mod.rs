//! What is allowed and how long it lives: data and pure functions, no state.

pub mod events;
pub mod expiry;
pub mod limits;

pub use events::{EventRule, Events, TargetKind};
pub use expiry::NamespacePolicy;
pub use limits::Limits;
