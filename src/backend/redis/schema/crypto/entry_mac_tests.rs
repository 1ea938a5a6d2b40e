//! Entries and messages of deployments with keys: opened as they were written, and refused when
//! anything was changed.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use proptest::prelude::*;

use super::*;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::codec::{Announcement, Receiver};
use crate::backend::redis::schema::compression_pool;
use crate::backend::redis::schema::stored_entry::StoredEntry;
use crate::cache::entry::{Content, NewEntry, Tags};
use crate::cache::key::{Key, KeyRef};
use crate::cache::lifetime::Lifetime;
use crate::cache::namespace::{NamespaceRules, Namespaces};
use crate::cache::tier::{Condition, Write};

const NOW: u64 = 1_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);

fn key(namespace: &str, name: &[u8]) -> Key {
    let namespaces = Namespaces::new(NamespaceRules { limit: 4, ..NamespaceRules::default() }, 4);
    KeyRef::new(&namespaces.get("namespace", namespace).expect("room"), name).to_key()
}

fn secret(number: u8) -> SecretKey {
    SecretKey::from_bytes([number; 32])
}

fn protection(macs: &[u8], ciphers: &[u8], mode: ProtectionMode) -> Arc<Protection> {
    protection_of("p", macs, ciphers, mode)
}

fn protection_of(prefix: &str, macs: &[u8], ciphers: &[u8], mode: ProtectionMode) -> Arc<Protection> {
    let config = ProtectionConfig {
        mac_keys: macs.iter().copied().map(secret).collect(),
        encryption_keys: ciphers.iter().copied().map(secret).collect(),
        mode,
        ..ProtectionConfig::default()
    };
    Arc::new(Protection::new(&config, prefix, 0))
}

use ProtectionMode::{Read, Require, Write as Signs};

fn entry(value: &str) -> NewEntry {
    NewEntry {
        content_type: "text/plain".into(),
        tags: Tags::new(vec!["tag".into()]),
        source_version: Some(7),
        ..NewEntry::new(Content::Value(Bytes::copy_from_slice(value.as_bytes())), Lifetime::of(HOUR))
    }
}

async fn written(by: &Arc<Protection>, key: &Key, entry: NewEntry) -> Vec<u8> {
    let write = Write { key: key.clone(), entry, condition: Condition::None, request: None };
    let packed = compression_pool::pack(&write, by, NOW).await.expect("packs");
    let mut bytes = b"T\x01".to_vec();
    for number in [3, 4, NOW] {
        bytes.put_u64(number);
    }
    bytes.extend(codec::entry_header(&write.entry, packed.encoding));
    bytes.extend(packed.bytes);
    bytes
}

async fn read(by: &Arc<Protection>, key: &Key, bytes: &[u8], now: u64) -> Result<StoredEntry, Refusal> {
    let stored = codec::decode_entry(Bytes::copy_from_slice(bytes)).ok_or(Refusal::Damaged)?;
    compression_pool::open(stored, key.as_ref(), by, (1 << 20, Some(now))).await
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

#[tokio::test]
async fn what_one_deployment_writes_it_reads() {
    let key = key("n", b"k");
    for (macs, ciphers) in [(&[1][..], &[][..]), (&[], &[2]), (&[1], &[2]), (&[1], &[1])] {
        let by = protection(macs, ciphers, Require);
        for value in ["", "value", &"large ".repeat(50_000)] {
            let bytes = written(&by, &key, entry(value)).await;
            let read = read(&by, &key, &bytes, NOW).await.expect("opens");
            assert_eq!(read.content, entry(value).content);
            assert_eq!(read.latest_end_micros.is_some(), !macs.is_empty());
            let shows = bytes.windows(5).any(|window| window == b"value");
            assert_eq!(
                shows && value == "value",
                ciphers.is_empty() && value == "value",
                "encrypted values are not shown"
            );
        }
        let absent = NewEntry { content: Content::KnownAbsent, ..entry("") };
        let bytes = written(&by, &key, absent).await;
        assert_eq!(read(&by, &key, &bytes, NOW).await.expect("opens").content, Content::KnownAbsent);
    }
}

#[tokio::test]
async fn without_keys_an_entry_is_written_as_ever_and_a_signed_one_read() {
    let (key, none, signs) = (key("n", b"k"), protection(&[], &[], Require), protection(&[1], &[], Require));
    let plain = written(&none, &key, entry("value")).await;
    assert_eq!(plain, written(&protection(&[1], &[2], Read), &key, entry("value")).await, "the same bytes");
    let signed = written(&signs, &key, entry("value")).await;
    assert_eq!(plain.len() + codec::entry_layout::SEAL_SIZE, signed.len());
    assert_eq!(read(&none, &key, &signed, NOW).await.expect("opens").content, entry("value").content);
    assert_eq!(read(&signs, &key, &plain, NOW).await, Err(Refusal::Unsigned));
    assert!(read(&protection(&[1], &[2], Signs), &key, &plain, NOW).await.is_ok());
    assert_eq!(read(&protection(&[], &[2], Require), &key, &plain, NOW).await, Err(Refusal::Unencrypted));
    let encrypted = written(&protection(&[], &[2], Require), &key, entry("value")).await;
    assert_eq!(read(&none, &key, &encrypted, NOW).await, Err(Refusal::UnknownKey));
}

#[tokio::test]
async fn keys_are_rotated_by_their_order() {
    let key = key("n", b"k");
    for mode in [Signs, Require] {
        let steps = [[&[1][..], &[1]], [&[1, 2], &[1, 2]], [&[2, 1], &[2, 1]], [&[2], &[2]]]
            .map(|[macs, ciphers]| protection(macs, ciphers, mode));
        for pair in steps.windows(2) {
            for (writer, reader) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
                let bytes = written(writer, &key, entry("value")).await;
                assert!(read(reader, &key, &bytes, NOW).await.is_ok());
            }
        }
        let bytes = written(&steps[0], &key, entry("value")).await;
        assert_eq!(read(&steps[3], &key, &bytes, NOW).await, Err(Refusal::UnknownKey));
    }
}

#[tokio::test]
async fn an_entry_counts_under_its_own_name_only() {
    for (macs, ciphers) in [(&[1][..], &[][..]), (&[], &[2])] {
        let by = protection(macs, ciphers, Require);
        let bytes = written(&by, &key("n", b"k"), entry("value")).await;
        for other in [key("n", b"l"), key("m", b"k"), key("n", b""), key("nk", b"")] {
            assert_eq!(read(&by, &other, &bytes, NOW).await, Err(Refusal::Forged));
        }
        let elsewhere = protection_of("q", macs, ciphers, Require);
        assert_eq!(read(&elsewhere, &key("n", b"k"), &bytes, NOW).await, Err(Refusal::Forged));
    }
}

#[tokio::test]
async fn an_entry_ends_when_its_writer_or_a_touch_says() {
    let (key, by) = (key("n", b"k"), protection(&[1], &[], Require));
    let bytes = written(&by, &key, entry("value")).await;
    let end = Protection::latest_end(NOW, Some(HOUR));
    assert_eq!(read(&by, &key, &bytes, end).await.expect("opens").latest_end_micros, Some(end));
    assert_eq!(read(&by, &key, &bytes, end + 1).await, Err(Refusal::Expired));
    let extended = |end| {
        let mut bytes = bytes.clone();
        bytes[79] |= codec::entry_layout::EXTENDED;
        bytes.extend(by.extension(key.as_ref(), end));
        bytes
    };
    assert!(read(&by, &key, &extended(end + 10), end + 10).await.is_ok());
    assert_eq!(read(&by, &key, &extended(end + 10), end + 11).await, Err(Refusal::Expired));
    assert_eq!(read(&by, &key, &extended(0), u64::MAX).await.expect("no end").latest_end_micros, None);
    let mut forged = extended(end + 10);
    let at = forged.len() - 1;
    forged[at] ^= 1;
    assert_eq!(read(&by, &key, &forged, NOW).await, Err(Refusal::Forged));
}

/// Bytes of an entry that scripts write: magic, version, time; time to live; sliding end and mark;
/// cost.
fn is_written_by_script(at: usize) -> bool {
    (2..34).contains(&at) || (50..66).contains(&at) || (74..78).contains(&at)
}

proptest! {
    #[test]
    fn no_byte_of_a_signed_entry_can_be_changed(at in 0usize..200, flip in 1u8.., encrypts: bool) {
        let (key, by) = (key("n", b"k"), protection(&[1], if encrypts { &[2] } else { &[] }, Require));
        let mut bytes = block_on(written(&by, &key, entry("value")));
        let at = at % bytes.len();
        bytes[at] ^= flip;
        let read = block_on(read(&by, &key, &bytes, NOW));
        prop_assert!(read.is_err() || is_written_by_script(at), "byte {at}");
    }

    #[test]
    fn no_signed_entry_can_be_cut_or_extended(cut in 0usize..300, more in proptest::collection::vec(any::<u8>(), 0..60)) {
        let (key, by) = (key("n", b"k"), protection(&[1], &[2], Require));
        let whole = block_on(written(&by, &key, entry("value")));
        let mut bytes = whole[..cut.min(whole.len())].to_vec();
        bytes.extend(more);
        let read = block_on(read(&by, &key, &bytes, NOW));
        prop_assert!(read.is_err() || bytes == whole);
    }

    #[test]
    fn no_byte_of_a_signed_message_can_be_changed(at in 0usize..200, flip in 1u8.., selected: bool) {
        let by = protection(&[1], &[], Require);
        let (mut bytes, tags_at) = message(&by, selected);
        let at = at % bytes.len();
        bytes[at] ^= flip;
        let decoded = codec::decode_message(&bytes.into(), receiver(&by));
        // Position, time of publishing and tags are put in by a script.
        let head = if selected { 48 } else { 32 };
        prop_assert!(decoded.is_err() || (head..head + 24).contains(&at) || at >= tags_at, "byte {at}");
    }
}

fn receiver(protection: &Protection) -> Receiver<'_> {
    Receiver { replica: 9, protection, now_micros: Some(NOW) }
}

/// A signed message, and where its tags begin.
fn message(by: &Protection, selected: bool) -> (Vec<u8>, usize) {
    let void_after = Protection::void_after(NOW);
    let fields = MessageFields { partition: 3, origin: 9, ticket: 5, void_after, effect: codec::SET, namespace: b"n" };
    let announcement = Announcement::new(fields, by);
    let selectors = [2, 0, 3, b't', b'a', b'g'];
    let mut bytes = if selected { announcement.head_of_selectors(&selectors) } else { announcement.head() };
    for number in [7, 8, NOW] {
        bytes.put_u64(number);
    }
    bytes.extend(announcement.effect());
    bytes.extend(if selected { selectors.to_vec() } else { announcement.key(b"key") });
    let tags_at = bytes.len();
    if !selected {
        bytes.extend(b"\0\x02\x01t");
    }
    (bytes, tags_at)
}

#[test]
fn a_signed_message_is_verified_by_those_that_have_the_key() {
    for selected in [false, true] {
        let (bytes, _) = message(&protection(&[1], &[], Require), selected);
        let bytes = Bytes::from(bytes);
        let decode = |by: &Protection, now| {
            codec::decode_message(&bytes, Receiver { now_micros: now, ..receiver(by) }).map(|_| ())
        };
        for by in [protection(&[], &[], Require), protection(&[2, 1], &[], Require)] {
            assert_eq!(decode(&by, Some(NOW)), Ok(()));
        }
        assert_eq!(decode(&protection(&[2], &[], Require), Some(NOW)), Err(Refusal::UnknownKey));
        assert_eq!(decode(&protection_of("q", &[1], &[], Require), Some(NOW)), Err(Refusal::Forged));
        let late = Protection::void_after(NOW) + 1;
        assert_eq!(decode(&protection(&[1], &[], Require), Some(late)), Err(Refusal::Expired));
        assert_eq!(decode(&protection(&[1], &[], Require), None), Ok(()));
    }
}

#[test]
fn an_unsigned_message_passes_until_signatures_are_required() {
    let (bytes, _) = message(&protection(&[], &[], Require), false);
    let bytes = Bytes::from(bytes);
    for (by, expected) in [
        (protection(&[1], &[], Read), Ok(())),
        (protection(&[1], &[], Signs), Ok(())),
        (protection(&[1], &[], Require), Err(Refusal::Unsigned)),
    ] {
        assert_eq!(codec::decode_message(&bytes, receiver(&by)).map(|_| ()), expected);
    }
}

#[test]
fn echoes_and_confirmations_are_of_those_that_they_claim() {
    let (by, other) = (protection(&[1], &[], Require), protection(&[1], &[], Require));
    let echo = codec::echo_head(7, &by);
    assert!(codec::decode_private(&echo, receiver(&by)).is_ok());
    assert_eq!(codec::decode_private(&echo, receiver(&other)), Err(Refusal::Forged), "of another process");
    let unsigned = codec::echo_head(7, &protection(&[], &[], Require));
    assert_eq!(codec::decode_private(&unsigned, receiver(&by)), Err(Refusal::Unsigned));
    let confirmation = codec::confirmation(1, 2, 3, 9, &other);
    assert!(codec::decode_private(&confirmation, receiver(&by)).is_ok());
    for at in 0..confirmation.len() {
        let mut forged = confirmation.clone();
        forged[at] ^= 1;
        assert!(codec::decode_private(&forged, receiver(&by)).is_err(), "byte {at}");
    }
    let to_another = codec::confirmation(1, 2, 3, 8, &other);
    assert_eq!(codec::decode_private(&to_another, receiver(&by)), Err(Refusal::Forged));
}
