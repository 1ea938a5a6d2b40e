//! The gRPC server: its configuration, its connections, and the services behind them.

mod config;
mod connection;
mod inline_executor;
mod server;
mod services;
mod write_buffer;

pub use config::{GrpcListener, Http2Config, ServerConfig, UnixSocketConfig};
pub use server::ServerHandle;
pub use services::ServerParts;
