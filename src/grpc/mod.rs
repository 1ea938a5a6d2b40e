//! The contract over HTTP/2: parse, call the core, translate. Knows the core's public types, never a tier.

mod admin;
mod batch_get;
mod body;
mod compressed;
mod convert;
mod decoded;
mod guard;
mod header_size;
pub mod health;
mod log_level;
mod methods;
mod not_grpc;
mod reflection;
mod serve;
mod service;
mod slow;
mod spans;
mod stats;
mod status;
pub mod timing;
mod watch;

pub use admin::AdminApi;
pub use log_level::{LogLevel, PutInForce, ReadFilter};
pub use serve::{ServerConfig, Serving};
pub use service::{CacheApi, KeyLogging};
pub use spans::Tracing;
pub use stats::Reports;
