//! What is allowed and how long it lives: data and pure functions, no state.

pub mod expiry;
pub mod limits;

pub use expiry::NamespacePolicy;
pub use limits::Limits;
