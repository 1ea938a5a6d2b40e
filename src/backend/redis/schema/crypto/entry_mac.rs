//! MACs of entries.
//!
//! A MAC covers all that the writer of an entry knows: deployment, namespace, key, stale window,
//! soft time to live, version of the source, flags, encoding, size, tags, content type and value,
//! and the latest end of its life. It does not cover what scripts put in: version, time of writing,
//! time to live, sliding end, mark and cost.
//!
//! A signed entry ends with a seal: id of the key, latest end of its life (microseconds of Redis's
//! clock, 0 no end), MAC. If a Touch extended it, a seal of the extended end follows, which covers
//! deployment, namespace, key and end.

use std::time::Duration;

use bytes::BufMut as _;

use super::protection::{Mac, MacInput, NamedKey, Protection};
use super::refusal::Refusal;
use crate::backend::redis::schema::codec::entry_layout::{EXTENDED, HEADER, KEY_ID_SIZE, SEAL_SIZE, WRITTEN_BY_SCRIPT};
use crate::backend::redis::schema::stored_entry::StoredEntry;
use crate::cache::key::KeyRef;

/// Time for which an entry may live longer than its writer says: until a write has reached Redis,
/// and for clocks that are set.
const SLACK: Duration = Duration::from_secs(300);

const ENTRY: &[u8] = b"entry 1";
const EXTENSION: &[u8] = b"entry end 1";

/// Parts of a header that are covered, as ranges: all but what scripts write.
const COVERED: [std::ops::Range<usize>; 2] = [8..24, 40..48];
/// First byte of the rest of a header, which is covered: flags, encoding, sizes.
const COVERED_FROM: usize = 52;
/// The encoding in a header.
const ENCODING: usize = 53;

/// A seal.
struct Seal<'a> {
    key_id: &'a [u8],
    end_micros: u64,
    mac: &'a [u8],
}

// === impl Protection ===

impl Protection {
    /// The latest end of a life of `lifetime` that begins at `now` of Redis's clock, microseconds.
    pub fn latest_end(now_micros: u64, lifetime: Option<Duration>) -> u64 {
        let end = |lifetime: Duration| now_micros.saturating_add((lifetime + SLACK).as_micros() as u64);
        lifetime.map_or(0, end)
    }

    /// Adds the seal of an entry to its value, if entries are signed. `header` is the final one.
    pub fn seal_entry(&self, key: KeyRef<'_>, header: &[u8], value: &mut Vec<u8>, end_micros: u64) {
        if let Some(by) = self.signing_key() {
            let mac = self.entry_mac(&by, key, [header, value], end_micros);
            put_seal(value, &by, end_micros, mac);
        }
    }

    /// Returns the seal that extends the end of a signed entry; empty if entries are not signed.
    pub fn extension(&self, key: KeyRef<'_>, end_micros: u64) -> Vec<u8> {
        let mut seal = Vec::new();
        if let Some(by) = self.signing_key() {
            put_seal(&mut seal, &by, end_micros, self.extension_mac(&by, key, end_micros));
        }
        seal
    }

    /// Verifies an entry that was read for `key`, at the earliest `now_micros` that Redis's clock may
    /// show, if that is known. An entry of which nothing can be verified passes, unless a MAC is
    /// required.
    pub fn verify_entry(
        &self,
        key: KeyRef<'_>,
        mut stored: StoredEntry,
        now_micros: Option<u64>,
    ) -> Result<StoredEntry, Refusal> {
        let Some(signed) = stored.signed.take() else {
            return if self.requires_mac() { Err(Refusal::Unsigned) } else { Ok(stored) };
        };
        if !self.verifies() {
            return Ok(stored);
        }
        let (mut bytes, mut extension) = (&signed.bytes[..], None);
        if signed.is_extended {
            let (rest, seal) = split_seal(bytes).ok_or(Refusal::Damaged)?;
            (bytes, extension) = (rest, Some(seal));
        }
        let (bytes, seal) = split_seal(bytes).ok_or(Refusal::Damaged)?;
        let parts = bytes.split_at_checked(signed.header_size).ok_or(Refusal::Damaged)?;
        self.verify_mac(seal.key_id, seal.mac, |by| self.entry_mac(by, key, parts.into(), seal.end_micros))?;
        let mut end = seal.end_micros;
        if let Some(seal) = extension {
            self.verify_mac(seal.key_id, seal.mac, |by| self.extension_mac(by, key, seal.end_micros))?;
            end = if end == 0 || seal.end_micros == 0 { 0 } else { end.max(seal.end_micros) };
        }
        if end > 0 {
            let kept_until = end.saturating_add(stored.window_millis.saturating_mul(1000));
            if now_micros.is_some_and(|now| now > kept_until) {
                return Err(Refusal::Expired);
            }
            stored.latest_end_micros = Some(end);
        }
        Ok(stored)
    }

    /// The MAC of an entry of this header and value.
    fn entry_mac(&self, by: &NamedKey, key: KeyRef<'_>, [header, value]: [&[u8]; 2], end_micros: u64) -> Mac {
        let mut input = self.mac(&by.key, ENTRY);
        input.key(key).part(&end_micros.to_be_bytes());
        add_header(&mut input, header);
        input.part(value);
        input.finish()
    }

    fn extension_mac(&self, by: &NamedKey, key: KeyRef<'_>, end_micros: u64) -> Mac {
        let mut input = self.mac(&by.key, EXTENSION);
        input.key(key).part(&end_micros.to_be_bytes());
        input.finish()
    }
}

/// Adds what is covered of a header.
fn add_header(input: &mut MacInput, header: &[u8]) {
    for range in COVERED {
        input.part(header.get(range).unwrap_or_default());
    }
    let encoding = header.get(ENCODING).copied().unwrap_or_default() & !EXTENDED;
    input.part(&[encoding]).part(header.get(COVERED_FROM..ENCODING).unwrap_or_default());
    input.part(header.get(ENCODING + 1..).unwrap_or_default());
}

fn put_seal(bytes: &mut Vec<u8>, by: &NamedKey, end_micros: u64, mac: Mac) {
    bytes.reserve(SEAL_SIZE);
    bytes.put_slice(&by.id);
    bytes.put_u64(end_micros);
    bytes.put_slice(&mac);
}

/// Splits the seal from the end of `bytes`.
fn split_seal(bytes: &[u8]) -> Option<(&[u8], Seal<'_>)> {
    let (rest, seal) = bytes.split_at_checked(bytes.len().checked_sub(SEAL_SIZE)?)?;
    let (key_id, seal) = seal.split_at(KEY_ID_SIZE);
    let (end, mac) = seal.split_at(8);
    Some((rest, Seal { key_id, end_micros: u64::from_be_bytes(end.try_into().ok()?), mac }))
}

// The ranges are of a header after version and time of writing.
const _: () = assert!(HEADER == WRITTEN_BY_SCRIPT + 61);
