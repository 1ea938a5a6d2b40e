//! Sizes of the parts of entries, and what the encoding of a value says.

/// Bytes of an entry before its header: magic, version and time of writing. Scripts write them.
pub const WRITTEN_BY_SCRIPT: usize = 26;
/// Bytes of an entry before its tags.
pub const HEADER: usize = 87;

/// The part of an encoding that names the compression.
pub const COMPRESSION: u8 = 0x0f;
/// The part of an encoding that says that a seal follows the value.
pub const SIGNED: u8 = 0x10;
/// The part of an encoding that says that the value is encrypted.
pub const ENCRYPTED: u8 = 0x20;
/// The part of an encoding that says that a seal of an extended end follows the first one.
pub const EXTENDED: u8 = 0x40;

/// Bytes of the id of a key.
pub const KEY_ID_SIZE: usize = 4;
/// Bytes of a MAC: half of HMAC-SHA256, which leaves 128 bits, as RFC 2104 allows.
pub const MAC_SIZE: usize = 16;
/// Bytes of a seal: id of the key, latest end of life, MAC.
pub const SEAL_SIZE: usize = KEY_ID_SIZE + 8 + MAC_SIZE;
/// Bytes of a nonce of AES-256-GCM.
pub const NONCE_SIZE: usize = 12;
/// Bytes that encryption adds to a value: id of the key, nonce, tag.
pub const ENVELOPE_SIZE: usize = KEY_ID_SIZE + NONCE_SIZE + 16;
/// Most bytes that seals and encryption add to an entry.
pub const MAX_PROTECTION_SIZE: usize = ENVELOPE_SIZE + 2 * SEAL_SIZE;
