//! The gRPC server: its configuration, its connections, and the services behind them.

mod config;
mod connection;
mod frame_meter;
mod inline_executor;
mod metered_reader;
mod server;
mod services;
mod write_buffer;

pub use config::{GrpcListener, Http2Config, ServerConfig, UnixSocketConfig};
pub use server::ServerHandle;
pub use services::ServerParts;
