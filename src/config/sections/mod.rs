//! The sections of the configuration, one file each.

pub mod admin;
pub mod auth;
pub mod cache;
pub mod coherence;
pub mod events;
mod grants;
pub mod identities;
pub mod l1;
pub mod limits;
pub mod log;
mod optional_path;
pub mod redis;
pub mod redis_protection;
pub mod server;
pub mod tls;
pub mod warm_start;
