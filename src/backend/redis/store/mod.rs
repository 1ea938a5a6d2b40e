//! L2 in Redis: reads, writes, invalidations, and the values that replicas share.

pub mod fleet_barrier;
pub mod inspect;
pub mod invalidation_lookup;
pub mod pattern_reclaim;
pub mod read;
pub mod read_many;
pub mod redis_l2;
pub mod shared_store;
pub mod write;
