//! The gRPC edge: parses requests, calls the core and translates the result.
//!
//! Uses the core's public types, never a tier.

mod access;
mod admin;
mod batch_get;
mod convert;
mod decoded_size;
mod decompression;
mod export;
mod fast_get;
mod fast_set;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod get;
mod header_size;
pub mod health;
mod log_level;
mod method_names;
mod middleware;
mod not_grpc;
mod plain_call;
mod prepared_items;
mod ready_slot;
mod reflection;
mod request_body;
mod request_headers;
pub mod rpc_metrics;
mod rpc_span;
mod server;
mod service;
mod slices;
mod slow_requests;
mod stats;
mod status;
mod tracked_body;
mod watch;
mod wire_fields;
mod wire_records;
mod write_progress;

pub use admin::AdminApi;
pub use log_level::{LogLevel, PutInForce, ReadFilter};
pub use not_grpc::Hint;
pub use rpc_span::Tracing;
pub use server::{GrpcListener, Http2Config, ServerConfig, ServerHandle, ServerParts, UnixSocketConfig};
pub use service::CacheApi;
pub use stats::StatsReporter;
