//! Namespaces: each with its policy, counters, quotas and invalidation log, and the registry of
//! those that exist.

#[allow(clippy::module_inception)]
mod namespace;
mod registry;

pub use namespace::{DEFAULT, InFlightPlace, Namespace};
pub use registry::{NamespaceRules, Namespaces};
