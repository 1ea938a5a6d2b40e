//! The tiers: L1 in memory, L2 on Redis through fred, and an L2 without Redis.

pub mod boot_clock;
pub mod local;
pub mod memory;
pub mod redis;
