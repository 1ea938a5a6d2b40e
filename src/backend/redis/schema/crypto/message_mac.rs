//! MACs of messages on the bus.
//!
//! A message is put together by a script. So a MAC covers what its replica knows before: deployment,
//! partition, origin, ticket, effect, namespace and a time after which the message is void; and each
//! key by itself, or all selectors. It does not cover position, time of publishing and tags: a
//! repeated message is out of line, as any other that is not next.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::BufMut as _;

use super::protection::{Mac, NamedKey, Protection};
use super::refusal::Refusal;
use crate::backend::redis::schema::codec::entry_layout::{KEY_ID_SIZE, MAC_SIZE};

/// Time from signing after which a message is void.
const VALID_FOR: Duration = Duration::from_secs(300);

const CHANGED_KEY: &[u8] = b"message key 1";
const SELECTORS: &[u8] = b"message selectors 1";
const CONFIRMATION: &[u8] = b"confirmation 1";
const ECHO: &[u8] = b"echo 1";

/// Fields of a message that are covered beside its keys or selectors.
#[derive(Clone, Copy)]
pub struct MessageFields<'a> {
    /// The partition.
    pub partition: u16,
    /// The replica that publishes it.
    pub origin: u64,
    /// Its barrier.
    pub ticket: u64,
    /// Time of Redis's clock after which it is void, microseconds.
    pub void_after: u64,
    /// Effect, as messages number it.
    pub effect: u8,
    /// Name of the namespace.
    pub namespace: &'a [u8],
}

/// The signature that a message names: id of the key.
pub type KeyId = [u8; KEY_ID_SIZE];

// === impl Protection ===

impl Protection {
    /// The time after which a message is void that is signed at `now_micros` of Redis's clock.
    pub fn void_after(now_micros: u64) -> u64 {
        now_micros.saturating_add(VALID_FOR.as_micros() as u64)
    }

    /// Signs one key of a message.
    pub fn sign_key(&self, by: &NamedKey, fields: &MessageFields<'_>, key: &[u8]) -> [u8; MAC_SIZE] {
        self.message_mac(by, CHANGED_KEY, fields, key)
    }

    /// Signs the encoded selectors of a message.
    pub fn sign_selectors(&self, by: &NamedKey, fields: &MessageFields<'_>, selectors: &[u8]) -> [u8; MAC_SIZE] {
        self.message_mac(by, SELECTORS, fields, selectors)
    }

    /// Verifies one key of a message. Passes if there are no keys to verify with.
    pub fn verify_key(&self, id: KeyId, fields: &MessageFields<'_>, key: &[u8], mac: &[u8]) -> Result<(), Refusal> {
        self.verify_message(id, mac, |by| self.message_mac(by, CHANGED_KEY, fields, key))
    }

    /// Verifies the encoded selectors of a message. Passes if there are no keys to verify with.
    pub fn verify_selectors(
        &self,
        id: KeyId,
        fields: &MessageFields<'_>,
        selectors: &[u8],
        mac: &[u8],
    ) -> Result<(), Refusal> {
        self.verify_message(id, mac, |by| self.message_mac(by, SELECTORS, fields, selectors))
    }

    /// Adds a signature to the confirmation of `replica` to `origin`, if messages are signed.
    pub fn seal_confirmation(&self, origin: u64, confirmation: &mut Vec<u8>) {
        if let Some(by) = self.signing_key() {
            let mac = self.confirmation_mac(&by, origin, confirmation);
            confirmation.put_slice(&by.id);
            confirmation.put_slice(&mac);
        }
    }

    /// Verifies a confirmation to `origin`, and its signature.
    pub fn verify_confirmation(&self, origin: u64, confirmation: &[u8], seal: &[u8]) -> Result<(), Refusal> {
        let (id, mac) = seal.split_at_checked(KEY_ID_SIZE).ok_or(Refusal::Damaged)?;
        let id = id.try_into().map_err(|_| Refusal::Damaged)?;
        self.verify_message(id, mac, |by| self.confirmation_mac(by, origin, confirmation))
    }

    /// The proof that an echo answers an audit of this process, by a key that no other process has.
    pub fn echo_proof(&self, nonce: u64) -> Mac {
        let mut input = self.mac(self.echo_key(), ECHO);
        input.part(&nonce.to_be_bytes());
        input.finish()
    }

    /// Returns true if `proof` is that of an echo of this process.
    pub fn is_echo_proof(&self, nonce: u64, proof: &[u8]) -> bool {
        verify_slices_are_equal(&self.echo_proof(nonce), proof).is_ok()
    }

    fn verify_message(&self, id: KeyId, mac: &[u8], expected: impl Fn(&NamedKey) -> Mac) -> Result<(), Refusal> {
        if !self.verifies() {
            return Ok(());
        }
        if mac.len() != MAC_SIZE {
            return Err(Refusal::Damaged);
        }
        self.verify_mac(&id, mac, expected)
    }

    fn message_mac(&self, by: &NamedKey, kind: &[u8], fields: &MessageFields<'_>, covered: &[u8]) -> Mac {
        let MessageFields { partition, origin, ticket, void_after, effect, namespace } = *fields;
        let mut head = Vec::with_capacity(27);
        head.put_u16(partition);
        head.put_u64(origin);
        head.put_u64(ticket);
        head.put_u64(void_after);
        head.put_u8(effect);
        let mut input = self.mac(&by.key, kind);
        input.part(&head).part(namespace).part(covered);
        input.finish()
    }

    fn confirmation_mac(&self, by: &NamedKey, origin: u64, confirmation: &[u8]) -> Mac {
        let mut input = self.mac(&by.key, CONFIRMATION);
        input.part(&origin.to_be_bytes()).part(confirmation);
        input.finish()
    }
}
