//! Authentication of entries and messages, and encryption of values.
//!
//! Keys never leave the process. Redis holds an id of each key, MACs and encrypted values.

mod entry_mac;
#[cfg(test)]
mod entry_mac_tests;
mod key_file;
mod message_mac;
mod protection;
mod refusal;
mod value_encryption;

pub use key_file::{KeyFileError, SecretKey};
pub use message_mac::{KeyId, MessageFields};
pub use protection::{NamedKey, Protection, ProtectionConfig, ProtectionMode};
pub use refusal::{Refusal, Refusals, RefusedKind};
pub use value_encryption::EncryptionError;
