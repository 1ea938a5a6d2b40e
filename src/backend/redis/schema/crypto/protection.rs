//! The keys of a deployment, and what they are used for.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use super::key_file::SecretKey;
use super::refusal::Refusal;
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
    /// KeyRing of MACs: the first one signs, all verify.
    pub mac_keys: Vec<SecretKey>,
    /// KeyRing of encryption: the first one encrypts, all decrypt.
    pub encryption_keys: Vec<SecretKey>,
    /// The use of the keys.
    pub mode: ProtectionMode,
    /// The files of all keys.
    pub files: Vec<PathBuf>,
    /// Key files that every user of the machine may read.
    pub readable_by_others: Vec<PathBuf>,
}

/// The keys of a deployment, ready for use.
pub struct Protection {
    /// The deployment: its prefix and its database. Part of each MAC.
    scope: Box<[u8]>,
    mode: ProtectionMode,
    verifies: bool,
    decrypts: bool,
    /// The keys in force. A reload replaces them by others, never by none.
    keys: ArcSwap<KeyRing>,
    /// Key of this process, for its own echoes.
    echo_key: hmac::Key,
}

/// KeyRing that are in force at the same time.
pub(super) struct KeyRing {
    pub mac: Box<[Arc<NamedKey>]>,
    pub encryption: Box<[Arc<NamedKey>]>,
}

/// A key derived from a configured one, with its id.
pub struct NamedKey {
    pub(super) id: [u8; KEY_ID_SIZE],
    pub(super) key: hmac::Key,
}

/// A MAC, truncated to half of its size as RFC 2104 allows: 128 bits.
pub(super) type Mac = [u8; MAC_SIZE];

// === impl Protection ===

impl Protection {
    /// Creates the keys of the deployment under `prefix` in `database`.
    pub fn new(config: &ProtectionConfig, prefix: &str, database: u8) -> Protection {
        Protection {
            scope: [prefix.as_bytes(), &[0, database]].concat().into(),
            mode: config.mode,
            verifies: !config.mac_keys.is_empty(),
            decrypts: !config.encryption_keys.is_empty(),
            keys: ArcSwap::from_pointee(KeyRing::derive(config)),
            echo_key: hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()),
        }
    }

    /// Replaces the keys by those of another configuration, whose first ones sign and encrypt from
    /// now on.
    ///
    /// KeyRing of a kind neither begin nor cease to be there: that needs a restart.
    pub fn replace_keys(&self, config: &ProtectionConfig) {
        let KeyRing { mut mac, mut encryption } = KeyRing::derive(config);
        let before = self.keys.load();
        if mac.is_empty() == self.verifies {
            mac = before.mac.clone();
        }
        if encryption.is_empty() == self.decrypts {
            encryption = before.encryption.clone();
        }
        self.keys.store(Arc::new(KeyRing { mac, encryption }));
    }

    /// Returns true if entries and messages are signed.
    pub fn signs(&self) -> bool {
        self.mode >= ProtectionMode::Write && self.verifies()
    }

    /// Returns true if MACs can be verified.
    pub fn verifies(&self) -> bool {
        self.verifies
    }

    /// Returns true if entries and messages without a MAC are refused.
    pub fn requires_mac(&self) -> bool {
        self.mode == ProtectionMode::Require && self.verifies()
    }

    /// Returns true if values are encrypted.
    pub fn encrypts(&self) -> bool {
        self.mode >= ProtectionMode::Write && self.decrypts
    }

    /// Returns true if values that are not encrypted are refused.
    pub fn requires_encryption(&self) -> bool {
        self.mode == ProtectionMode::Require && self.decrypts
    }

    /// Returns true if entries are written as they are without any key.
    pub fn writes_plainly(&self) -> bool {
        !self.signs() && !self.encrypts()
    }

    /// The key that signs; `None` if nothing is signed.
    pub fn signing_key(&self) -> Option<Arc<NamedKey>> {
        if self.signs() { self.keys().mac.first().cloned() } else { None }
    }

    /// The keys in force.
    pub(super) fn keys(&self) -> arc_swap::Guard<Arc<KeyRing>> {
        self.keys.load()
    }

    /// Verifies a MAC of the key with this id, by the `expected` one.
    pub(super) fn verify_mac(&self, id: &[u8], mac: &[u8], expected: impl Fn(&NamedKey) -> Mac) -> Result<(), Refusal> {
        let keys = self.keys();
        let mut known = keys.mac.iter().filter(|key| key.id == id).peekable();
        if known.peek().is_none() {
            return Err(Refusal::UnknownKey);
        }
        let fits = |by: &Arc<NamedKey>| verify_slices_are_equal(&expected(by), mac).is_ok();
        if known.any(fits) { Ok(()) } else { Err(Refusal::Forged) }
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

// === impl KeyRing ===

impl KeyRing {
    fn derive(config: &ProtectionConfig) -> KeyRing {
        let derived = |keys: &[SecretKey], purpose: &[u8]| {
            keys.iter().map(|key| Arc::new(NamedKey::derive(key, purpose))).collect::<Box<[_]>>()
        };
        KeyRing {
            mac: derived(&config.mac_keys, b"twintier redis mac 1"),
            encryption: derived(&config.encryption_keys, b"twintier redis encryption 1"),
        }
    }
}

// === impl NamedKey ===

impl NamedKey {
    /// The id, as messages and entries name it.
    pub fn id(&self) -> &[u8; KEY_ID_SIZE] {
        &self.id
    }

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
