//! L2 in Redis: reads, writes, invalidations, and the values that replicas share.

mod entries;
mod failover;
mod fleet_barrier;
mod inspect;
mod invalidation_lookup;
mod leases;
pub mod pattern_reclaim;
mod plain_write;
mod read;
mod read_many;
mod read_reply;
mod read_trip;
pub mod redis_l2;
mod scan;
pub mod shared_store;
mod status;
mod step;
mod write;
mod write_trips;
