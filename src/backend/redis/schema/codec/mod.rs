//! Encoding of entries in Redis and of messages on the bus.
//!
//! Decoding is total: `None`, never a panic.
//!
//! Entry: `T`, format 1, epoch u64, sequence u64, written (Redis's clock, us) u64, time to live
//! (ms, 0 no end; after a Touch of an earlier build, from the Touch on) u64, stale window (ms) u64, soft time to live (ms, 0 none) u64, time to which
//! reads may extend it (us, 0 none) u64, time when it was marked stale (us, 0 not) u64, version
//! of its source u64, cost (ms) u32, flags u8 (1 known absent, 2 the source has a version),
//! encoding u8 (0 plain, 1 Zstandard, 2 LZ4), plain size u32, size of the tags u16, size of the
//! content type u8, the tags each with its size u8, content type, value.
//!
//! Message: format 1, kind u8, partition u16, origin u64, ticket u64 (0: no barrier), epoch u64,
//! sequence u64, published (us) u64, effect u8, namespace with its size u8, then each key with its
//! size u16 and its tags with theirs u16, or each selector: kind u8, size u16, bytes. Echo: format
//! 1, kind u8, nonce u64, then partition u16, epoch u64 and sequence u64 of each. Confirmation:
//! format 1, kind u8, ticket u64, partition u16, replica u64. All numbers big-endian.

mod byte_reader;
#[cfg(test)]
mod codec_tests;
mod entry;
#[cfg(test)]
mod format_1_tests;
mod message;
mod versions;

pub use byte_reader::ByteReader;
pub use entry::{
    ENTRY_MAGIC, HEAD, HeadLife, LEASE_SIZE, decode_entry, decode_head, decode_lease, entry_header, life_in_head,
    max_entry_size, size_in_head, stored_size, tag_list,
};
pub use message::{
    Private, Published, confirmation, decode_message, decode_private, echo_head, key_name, message_head, named,
    partition_numbers, registered_replica, replica_field, selector_list, set_effect,
};
pub use versions::{decode_version, decode_versions, version_and_time, version_bytes};
