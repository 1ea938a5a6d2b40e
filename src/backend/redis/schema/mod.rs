//! Everything that has a form in Redis: names, bytes of entries and messages, scripts, replies.

pub mod barrier;
pub mod codec;
pub mod compression;
pub mod compression_pool;
pub mod crypto;
pub mod damaged_keys;
pub mod invalidation_record;
pub mod keys;
pub mod log_interval;
pub mod partition_counter;
pub mod reclaim_queue;
pub mod reply;
pub mod scripts;
pub mod stored_entry;
