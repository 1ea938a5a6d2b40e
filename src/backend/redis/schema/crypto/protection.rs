//! The keys of a deployment, and what they are used for.

use std::path::PathBuf;

use aws_lc_rs::hmac;

use super::key_file::SecretKey;
use crate::backend::redis::schema::codec::entry_layout::{KEY_ID_SIZE, MAC_SIZE};
use crate::cache::key::KeyRef;

/// The use of configured keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProtectionMode {
    /// Verifies and decrypts; writes neither MACs nor encrypted values, and requires neither.
    Read,
    /// Writes both, and requires neither.
    Write,
    /// Writes both, and refuses entries and messages without them.
    #[default]
    Require,
}

/// Configuration of MACs and encryption.
#[derive(Clone, Debug, Default)]
pub struct ProtectionConfig {
    /// Keys of MACs: the first one signs, all verify.
    pub mac_keys: Vec<SecretKey>,
    /// Keys of encryption: the first one encrypts, all decrypt.
    pub encryption_keys: Vec<SecretKey>,
    /// The use of the keys.
    pub mode: ProtectionMode,
    /// Key files that every user of the machine may read.
    pub readable_by_others: Vec<PathBuf>,
}

/// The keys of a deployment, ready for use.
pub struct Protection {
    /// The deployment: its prefix and its database. Part of each MAC.
    scope: Box<[u8]>,
    mode: ProtectionMode,
    mac_keys: Box<[NamedKey]>,
    pub(super) encryption_keys: Box<[NamedKey]>,
    /// Key of this process, for its own echoes.
    echo_key: hmac::Key,
}

/// A key derived from a configured one, with its id.
pub(super) struct NamedKey {
    pub id: [u8; KEY_ID_SIZE],
    pub key: hmac::Key,
}

/// A MAC, truncated to half of its size as RFC 2104 allows: 128 bits.
pub(super) type Mac = [u8; MAC_SIZE];

// === impl Protection ===

impl Protection {
    /// Creates the keys of the deployment under `prefix` in `database`.
    pub fn new(config: &ProtectionConfig, prefix: &str, database: u8) -> Protection {
        let derived = |keys: &[SecretKey], purpose: &[u8]| {
            keys.iter().map(|key| NamedKey::derive(key, purpose)).collect::<Box<[_]>>()
        };
        Protection {
            scope: [prefix.as_bytes(), &[0, database]].concat().into(),
            mode: config.mode,
            mac_keys: derived(&config.mac_keys, b"twintier redis mac 1"),
            encryption_keys: derived(&config.encryption_keys, b"twintier redis encryption 1"),
            echo_key: hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()),
        }
    }

    /// Returns true if entries and messages are signed.
    pub fn signs(&self) -> bool {
        self.mode >= ProtectionMode::Write && self.verifies()
    }

    /// Returns true if MACs can be verified.
    pub fn verifies(&self) -> bool {
        !self.mac_keys.is_empty()
    }

    /// Returns true if entries and messages without a MAC are refused.
    pub fn requires_mac(&self) -> bool {
        self.mode == ProtectionMode::Require && self.verifies()
    }

    /// Returns true if values are encrypted.
    pub fn encrypts(&self) -> bool {
        self.mode >= ProtectionMode::Write && !self.encryption_keys.is_empty()
    }

    /// Returns true if values that are not encrypted are refused.
    pub fn requires_encryption(&self) -> bool {
        self.mode == ProtectionMode::Require && !self.encryption_keys.is_empty()
    }

    /// Returns true if entries are written as they are without any key.
    pub fn writes_plainly(&self) -> bool {
        !self.signs() && !self.encrypts()
    }

    /// The key that signs.
    pub(super) fn signing_key(&self) -> Option<&NamedKey> {
        self.mac_keys.first().filter(|_| self.signs())
    }

    /// The keys of this id.
    pub(super) fn mac_keys(&self, id: &[u8]) -> impl Iterator<Item = &NamedKey> {
        self.mac_keys.iter().filter(move |key| key.id == id)
    }

    /// The key of this process, for its own echoes.
    pub(super) fn echo_key(&self) -> &hmac::Key {
        &self.echo_key
    }

    /// The deployment, as MACs include it.
    pub(super) fn scope(&self) -> &[u8] {
        &self.scope
    }

    /// A message authentication code in progress, of one kind of data in this deployment.
    pub(super) fn mac(&self, key: &hmac::Key, kind: &[u8]) -> MacInput {
        let mut input = MacInput(hmac::Context::with_key(key));
        input.part(kind).part(&self.scope);
        input
    }
}

// === impl NamedKey ===

impl NamedKey {
    /// Derives the key for one purpose.
    fn derive(secret: &SecretKey, purpose: &[u8]) -> NamedKey {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        let key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, purpose).as_ref());
        let mut id = [0; KEY_ID_SIZE];
        id.copy_from_slice(&hmac::sign(&key, b"id").as_ref()[..KEY_ID_SIZE]);
        NamedKey { id, key }
    }
}

/// The input of a MAC. Each part has its size before it, so that no two lists of parts are alike.
pub(super) struct MacInput(hmac::Context);

// === impl MacInput ===

impl MacInput {
    /// Adds a part.
    pub fn part(&mut self, bytes: &[u8]) -> &mut MacInput {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a key with its namespace.
    pub fn key(&mut self, key: KeyRef<'_>) -> &mut MacInput {
        self.part(key.namespace.name().as_bytes()).part(key.bytes)
    }

    /// Returns all bytes of the code.
    pub fn whole(self) -> hmac::Tag {
        self.0.sign()
    }

    /// Returns the code.
    pub fn finish(self) -> Mac {
        let mut mac = [0; MAC_SIZE];
        mac.copy_from_slice(&self.0.sign().as_ref()[..MAC_SIZE]);
        mac
    }
}
