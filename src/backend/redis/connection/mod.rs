//! Connections to the primaries: opened, supervised, and replaced when they break.

pub mod clock;
pub mod command_metrics;
pub mod context;
pub mod direct_trips;
pub mod foreign_messages;
pub mod fred_client;
pub mod health;
pub mod large_values;
pub mod primary;
pub mod read_only;
pub mod redis_connection;
pub mod redis_error;
pub mod reply_limits;
pub mod reply_scanner;
pub mod server_life;
pub mod shard;
pub mod supervisor;
pub mod tls;
pub mod transport;
