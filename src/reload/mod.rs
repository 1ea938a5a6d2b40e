//! Reload of the configuration without a restart: what changed, what takes effect, and when.
//!
//! A configuration is read and checked whole, as at the start. Each part that can change prepares
//! its next state; only if all succeed do they take effect.

mod auth;
mod changes;
mod namespaces;
mod part;
mod redis_keys;
mod reloader;
mod server_tls;
mod watched_files;

pub use namespaces::part as namespaces_part;
pub use part::{Commit, Part};
pub use redis_keys::part as redis_keys_part;
pub use reloader::{Reload, Reloader};
pub use server_tls::{ServerTls, problems as tls_problems, start as start_tls};
