//! L1: the memory of this replica, bounded in bytes.

mod l1;
mod owners;
mod shard;
mod shares;
mod weight;

pub use l1::{Eviction, L1Config, LARGEST_SHARE, MemoryL1};
pub use weight::OVERHEAD;
