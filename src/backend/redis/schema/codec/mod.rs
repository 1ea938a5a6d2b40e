//! Encoding of entries in Redis and of messages on the bus.
//!
//! Decoding is total: `None`, never a panic.
//!
//! Entry: `T`, format 1, epoch u64, sequence u64, written (Redis's clock, us) u64, time to live
//! (ms, 0 no end; after a Touch of an earlier build, from the Touch on) u64, stale window (ms) u64, soft time to live (ms, 0 none) u64, time to which
//! reads may extend it (us, 0 none) u64, time when it was marked stale (us, 0 not) u64, version
//! of its source u64, cost (ms) u32, flags u8 (1 known absent, 2 the source has a version),
//! encoding u8 (0 plain, 1 Zstandard, 2 LZ4; plus 16 if a seal follows the value, 32 if the value is
//! encrypted, 64 if the seal of an extended end follows the other one), plain size u32, size of the tags u16, size of the
//! content type u8, the tags each with its size u8, content type, value. An encrypted value: id of
//! the key 4 bytes, nonce 12 bytes, encrypted bytes, tag 16 bytes. A seal: id of the key 4 bytes,
//! latest end of life (Redis's clock, us, 0 no end) u64, MAC 16 bytes.
//!
//! Message: format 1, kind u8, partition u16, origin u64, ticket u64 (0: no barrier), epoch u64,
//! sequence u64, published (us) u64, effect u8, namespace with its size u8, then each key with its
//! size u16 and its tags with theirs u16, or each selector: kind u8, size u16, bytes. Echo: format
//! 1, kind u8, nonce u64, then partition u16, epoch u64 and sequence u64 of each. Confirmation:
//! format 1, kind u8, ticket u64, partition u16, replica u64. All numbers big-endian.
//!
//! Signed messages have format 2: after the ticket, id of the key 4 bytes, time after which it is void
//! (Redis's clock, us) u64, and of selectors the MAC 16 bytes; a MAC of 16 bytes after each key. A
//! confirmation ends with id of the key and MAC; an echo has 16 bytes of proof after its nonce.

mod announcement;
mod byte_reader;
#[cfg(test)]
mod codec_tests;
mod entry;
pub mod entry_layout;
#[cfg(test)]
mod format_1_tests;
mod message;
mod versions;

pub use announcement::Announcement;
pub use byte_reader::ByteReader;
pub use entry::{
    ENTRY_MAGIC, HEAD, HeadLife, LEASE_SIZE, decode_entry, decode_head, decode_lease, entry_header, life_in_head,
    max_entry_size, size_in_head, stored_size, tag_list,
};
pub use message::{
    FAILED, MARKED, Private, Published, RELEASED, REMOVED, Receiver, SET, SHORTENED, confirmation, decode_message,
    decode_private, echo_head, named, partition_numbers, registered_replica, replica_field, selector_list,
};
pub use versions::{decode_version, decode_versions, version_and_time, version_bytes};
