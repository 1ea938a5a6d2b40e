//! The sections of the configuration, one file each.

pub mod admin;
pub mod cache;
pub mod coherence;
pub mod events;
pub mod l1;
pub mod limits;
pub mod log;
pub mod redis;
pub mod redis_protection;
pub mod server;
pub mod warm_start;
