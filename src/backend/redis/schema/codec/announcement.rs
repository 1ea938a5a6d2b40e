//! Encoding of what a replica gives a script for the message that announces its step: the head, and
//! the names of keys.

use std::sync::Arc;

use bytes::BufMut as _;

use super::message::{KEYS, SELECTED, SIGNED_FORMAT, WIRE_FORMAT};
use crate::backend::redis::schema::crypto::{MessageFields, NamedKey, Protection};

/// The message of a step, apart from what its script puts in.
pub struct Announcement<'a> {
    fields: MessageFields<'a>,
    protection: &'a Protection,
    /// The key that signs all of it. A reload may put another one in force meanwhile.
    signer: Option<Arc<NamedKey>>,
}

// === impl Announcement ===

impl<'a> Announcement<'a> {
    /// Creates the message of these fields.
    pub fn new(fields: MessageFields<'a>, protection: &'a Protection) -> Announcement<'a> {
        Announcement { fields, protection, signer: protection.signing_key() }
    }

    /// The head of a message that names keys: everything before its position.
    pub fn head(&self) -> Vec<u8> {
        self.head_of(KEYS)
    }

    /// The head of a message of these encoded selectors.
    pub fn head_of_selectors(&self, selectors: &[u8]) -> Vec<u8> {
        let mut head = self.head_of(SELECTED);
        if let Some(by) = &self.signer {
            head.put_slice(&self.protection.sign_selectors(by, &self.fields, selectors));
        }
        head
    }

    /// Encodes a key, as the script puts it in, before its tags.
    pub fn key(&self, key: &[u8]) -> Vec<u8> {
        let mut name = Vec::with_capacity(20 + key.len());
        self.add_key(key, &mut name);
        name
    }

    /// Adds a key to `message`, before its tags.
    pub fn add_key(&self, key: &[u8], message: &mut Vec<u8>) {
        message.put_u16(key.len() as u16);
        message.put_slice(key);
        if let Some(by) = &self.signer {
            message.put_slice(&self.protection.sign_key(by, &self.fields, key));
        }
    }

    /// The message after its position and time, up to its keys.
    pub fn effect(&self) -> Vec<u8> {
        let mut message = vec![self.fields.effect, self.fields.namespace.len() as u8];
        message.put_slice(self.fields.namespace);
        message
    }

    fn head_of(&self, kind: u8) -> Vec<u8> {
        let mut head = Vec::with_capacity(48);
        head.put_u8(if self.signer.is_some() { SIGNED_FORMAT } else { WIRE_FORMAT });
        head.put_u8(kind);
        head.put_u16(self.fields.partition);
        head.put_u64(self.fields.origin);
        head.put_u64(self.fields.ticket);
        if let Some(by) = &self.signer {
            head.put_slice(by.id());
            head.put_u64(self.fields.void_after);
        }
        head
    }
}
