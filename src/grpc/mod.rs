//! The contract over HTTP/2: parse, call the core, translate. Knows the core's public types, never a tier.

mod admin;
mod batch_get;
mod body;
mod convert;
mod decoded;
mod guard;
pub mod health;
mod methods;
mod reflection;
mod serve;
mod service;
mod spans;
mod stats;
mod status;
pub mod timing;
mod watch;

pub use admin::AdminApi;
pub use serve::{ServerConfig, Serving};
pub use service::{CacheApi, KeyLogging};
pub use spans::Tracing;
pub use stats::Reports;
