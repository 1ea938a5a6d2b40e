//! Encryption of values: AES-256-GCM.
//!
//! Each key of the cache has an encryption key of its own, derived from the configured one with
//! deployment, namespace and key. So random nonces of 96 bits suffice: what counts is the number of
//! writes of one key. Additional data are deployment, namespace, key, compression and size. The
//! version is not among them: Redis gives it after the value was encrypted.
//!
//! An encrypted value is: id of the configured key, nonce, encrypted bytes, tag.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;

use super::protection::{NamedKey, Protection};
use super::refusal::Refusal;
use crate::backend::redis::schema::codec::entry_layout::{ENCRYPTED, ENVELOPE_SIZE, KEY_ID_SIZE, NONCE_SIZE};
use crate::backend::redis::schema::compression::{Packed, is_known};
use crate::backend::redis::schema::stored_entry::StoredEntry;
use crate::cache::entry::Content;
use crate::cache::key::KeyRef;

/// Bytes of an encrypted value before the encrypted bytes.
const BEFORE: usize = KEY_ID_SIZE + NONCE_SIZE;

const VALUE: &[u8] = b"value 1";

/// An error of the library of cryptography.
#[derive(Debug, thiserror::Error)]
#[error("a value could not be encrypted")]
pub struct EncryptionError;

// === impl Protection ===

impl Protection {
    /// Encrypts a packed value of `plain_size` bytes, if values are encrypted.
    pub fn encrypt(&self, key: KeyRef<'_>, packed: Packed, plain_size: usize) -> Result<Packed, EncryptionError> {
        let keys = self.keys();
        let Some(by) = keys.encryption.first().filter(|_| self.encrypts()) else { return Ok(packed) };
        let nonce: [u8; NONCE_SIZE] = rand_bytes()?;
        let cipher = self.cipher(by, key).ok_or(EncryptionError)?;
        let mut bytes = Vec::with_capacity(ENVELOPE_SIZE + packed.bytes.len());
        bytes.extend_from_slice(&by.id);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&packed.bytes);
        let aad = self.additional_data(key, packed.encoding, plain_size);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = cipher.seal_in_place_separate_tag(nonce, aad, &mut bytes[BEFORE..]).map_err(|_| EncryptionError)?;
        bytes.extend_from_slice(tag.as_ref());
        Ok(Packed { encoding: packed.encoding | ENCRYPTED, bytes: bytes.into() })
    }

    /// Decrypts the value of an entry that was read for `key`. A plain value passes, unless
    /// encryption is required.
    pub fn decrypt(&self, key: KeyRef<'_>, mut stored: StoredEntry) -> Result<StoredEntry, Refusal> {
        let Content::Value(value) = &stored.content else { return Ok(stored) };
        if stored.encoding & ENCRYPTED == 0 {
            return if self.requires_encryption() { Err(Refusal::Unencrypted) } else { Ok(stored) };
        }
        let encoding = stored.encoding & !ENCRYPTED;
        let (id, sealed) = value.split_at_checked(KEY_ID_SIZE).ok_or(Refusal::Damaged)?;
        let (nonce, sealed) = sealed.split_at_checked(NONCE_SIZE).ok_or(Refusal::Damaged)?;
        let mut refusal = Refusal::UnknownKey;
        for by in self.keys().encryption.iter().filter(|by| by.id == id) {
            let cipher = self.cipher(by, key).ok_or(Refusal::Damaged)?;
            let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Refusal::Damaged)?;
            let (mut bytes, aad) = (sealed.to_vec(), self.additional_data(key, encoding, stored.plain_size));
            let Ok(opened) = cipher.open_in_place(nonce, aad, &mut bytes).map(|opened| opened.len()) else {
                refusal = Refusal::Forged;
                continue;
            };
            bytes.truncate(opened);
            if !is_known(encoding, bytes.len(), stored.plain_size) {
                return Err(Refusal::Damaged);
            }
            (stored.content, stored.encoding) = (Content::Value(Bytes::from(bytes)), encoding);
            return Ok(stored);
        }
        Err(refusal)
    }

    /// The cipher for values of a key.
    fn cipher(&self, by: &NamedKey, key: KeyRef<'_>) -> Option<LessSafeKey> {
        let mut input = self.mac(&by.key, VALUE);
        input.key(key);
        UnboundKey::new(&AES_256_GCM, input.whole().as_ref()).ok().map(LessSafeKey::new)
    }

    fn additional_data(&self, key: KeyRef<'_>, encoding: u8, plain_size: usize) -> Aad<Vec<u8>> {
        let namespace = key.namespace.name().as_bytes();
        let mut data = Vec::with_capacity(40 + self.scope().len() + namespace.len() + key.bytes.len());
        for part in [self.scope(), namespace, key.bytes] {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part);
        }
        data.push(encoding);
        data.extend_from_slice(&(plain_size as u64).to_be_bytes());
        Aad::from(data)
    }
}

fn rand_bytes<const N: usize>() -> Result<[u8; N], EncryptionError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| EncryptionError)?;
    Ok(bytes)
}
