//! The tiers themselves: memory on moka, Redis through fred, and the number line of a service that runs with no Redis.

pub mod boot_clock;
pub mod local;
pub mod memory;
pub mod redis;
