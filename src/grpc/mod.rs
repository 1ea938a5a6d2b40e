//! The contract over HTTP/2: parse, call the core, translate. Knows the core's public types, never a tier.

mod convert;
mod guard;
pub mod health;
mod serve;
mod service;
mod stats;
mod status;

pub use guard::Load;
pub use health::HealthState;
pub use serve::{ServerConfig, Serving};
pub use service::{CacheApi, KeyLogging};
pub use stats::{Observed, Replica};
