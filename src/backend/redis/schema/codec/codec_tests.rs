//! Round trips, and garbage.

use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use proptest::prelude::*;

use super::entry_layout::HEADER;
use super::message::{FAILED, RELEASED};
use super::*;
use crate::backend::redis::schema::compression::Packed;
use crate::backend::redis::schema::crypto::{MessageFields, Protection, ProtectionConfig, Refusal};
use crate::cache::entry::{Content, NewEntry, Tags};
use crate::cache::invalidation::selector::Selector;
use crate::cache::lifetime::Lifetime;
use crate::cache::policy::Compression;
use crate::cache::tier::bus::{Change, ChangedKey, Covers, Echo, Effect};
use crate::cache::version::Version;

fn stored(version: Version, written: u64, entry: &NewEntry) -> Bytes {
    packed(version, written, entry, Compression::None)
}

fn packed(version: Version, written: u64, entry: &NewEntry, compression: Compression) -> Bytes {
    let value = match &entry.content {
        Content::Value(value) => Packed::pack(value.clone(), compression),
        Content::KnownAbsent => Packed::plain(Bytes::new()),
    };
    let mut bytes = b"T\x01".to_vec();
    bytes.put_u64(version.epoch);
    bytes.put_u64(version.sequence);
    bytes.put_u64(written);
    bytes.extend(entry_header(entry, value.encoding));
    bytes.extend(value.bytes);
    bytes.into()
}

/// A deployment without keys.
fn plain() -> Protection {
    Protection::new(&ProtectionConfig::default(), "p", 0)
}

fn receiver(replica: u64, protection: &Protection) -> Receiver<'_> {
    Receiver { replica, protection, now_micros: None }
}

fn fields(partition: u16, origin: u64, ticket: u64) -> MessageFields<'static> {
    MessageFields { partition, origin, ticket, void_after: 0, effect: REMOVED, namespace: b"n" }
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(|value| Content::Value(value.into())),
        Just(Content::KnownAbsent)
    ]
}

proptest! {
    #[test]
    fn an_entry_reads_back_as_it_was_written(
        epoch in 0u64..1 << 53, sequence in 0u64..1 << 53, written in any::<u64>(), ttl in 1u64..u64::MAX / 2,
        content in content(), content_type in "[ -~]{0,255}", window in any::<u32>().prop_map(u64::from),
        tags in proptest::collection::btree_set("[a-z]{1,20}", 0..5), source_version in any::<Option<u64>>(),
    ) {
        let lifetime = Lifetime { stale_window: Duration::from_millis(window), ..Lifetime::of(Duration::from_millis(ttl)) };
        let tags = Tags::new(tags.into_iter().map(Bytes::from).collect());
        let entry = NewEntry { content, content_type: content_type.into(), tags, source_version, lifetime };
        let version = Version::new(epoch, sequence);
        let bytes = stored(version, written, &entry);
        let head = bytes.slice(..bytes.len().min(HEAD));
        prop_assert_eq!(decode_head(&head), Some((version, written, entry.tags.clone())));
        prop_assert_eq!(decode_head(&bytes.slice(..HEADER - 1)), None);
        let read = decode_entry(bytes).expect("decodes");
        prop_assert_eq!(read.version, version);
        prop_assert_eq!(read.written_micros, written);
        prop_assert_eq!(read.ttl_millis, ttl);
        prop_assert_eq!(read.content, entry.content);
        prop_assert_eq!(read.content_type, entry.content_type);
        prop_assert_eq!((read.window_millis, read.tags, read.source_version), (window, entry.tags, source_version));
    }

    #[test]
    fn a_value_unpacks_as_it_was(seed in proptest::collection::vec(any::<u8>(), 0..50), times in 0usize..200) {
        let value = Bytes::from(seed.repeat(times));
        let entry = NewEntry::new(Content::Value(value.clone()), Lifetime::of(Duration::from_secs(1)));
        for compression in [Compression::None, Compression::Zstd, Compression::Lz4] {
            let bytes = packed(Version::new(1, 2), 3, &entry, compression);
            prop_assert!(bytes.len() <= 87 + value.len(), "it never grows");
            let read = decode_entry(bytes).expect("decodes");
            prop_assert_eq!(read.is_packed(), read.plain_size > 0 && read.content.len() < value.len());
            prop_assert_eq!(read.clone().unpack(value.len()).expect("unpacks").content, entry.content.clone());
            prop_assert!(!read.is_packed() || read.unpack(value.len() - 1).is_none(), "over the limit");
        }
    }

    #[test]
    fn what_was_tampered_with_unpacks_to_its_size_or_not_at_all(at in 87usize..200, flip in 1u8.., lz4: bool) {
        let entry = NewEntry::new(Content::Value(vec![7; 100_000].into()), Lifetime::of(Duration::from_secs(1)));
        let compression = if lz4 { Compression::Lz4 } else { Compression::Zstd };
        let mut bytes = packed(Version::new(1, 2), 3, &entry, compression).to_vec();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        let read = decode_entry(bytes.into()).and_then(|stored| stored.unpack(1 << 20));
        prop_assert!(read.is_none_or(|read| read.content.len() == read.plain_size && read.plain_size <= 1 << 20));
    }

    #[test]
    fn a_message_reads_back_as_it_was_published(
        keys in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..50), "[a-z]{0,9}"), 0..5),
        partition in any::<u16>(), origin in any::<u64>(), ticket in any::<u64>(), sequence in 0u64..1 << 53,
    ) {
        let selectors = [Selector::Namespace, Selector::Prefix("a:b".into()), Selector::Tag("t".into()), Selector::Pattern("*".into())];
        let protection = plain();
        let announcement = Announcement::new(fields(partition, origin, ticket), &protection);
        let mut bytes = if keys.is_empty() { announcement.head_of_selectors(b"") } else { announcement.head() };
        for number in [7, sequence, 99] {
            bytes.put_u64(number);
        }
        bytes.put_u8(2);
        bytes.extend(named("some.name"));
        let tags = |tag: &str| Tags::new(Some(Bytes::copy_from_slice(tag.as_bytes())).filter(|tag| !tag.is_empty()).into_iter().collect());
        for (key, tag) in &keys {
            bytes.extend(announcement.key(key));
            let list = tag_list(&tags(tag));
            bytes.put_u16(list.len() as u16);
            bytes.extend(list);
        }
        if keys.is_empty() {
            bytes.extend(selector_list(&selectors));
        }
        let decoded = decode_message(&bytes.into(), receiver(origin, &protection));
        let Ok(Published::Change { message, micros, origin: by, ticket: under }) = decoded else {
            panic!("a change");
        };
        prop_assert_eq!((micros, by, under.unwrap_or(0)), (99, origin, ticket));
        prop_assert_eq!((message.partition, message.version), (partition, Version::new(7, sequence)));
        prop_assert!(message.own);
        let covers = if keys.is_empty() {
            Covers::Selected(selectors.to_vec())
        } else {
            Covers::Keys(keys.into_iter().map(|(key, tag)| ChangedKey { key: key.into(), tags: tags(&tag) }).collect())
        };
        prop_assert_eq!(message.change, Change { namespace: "some.name".into(), effect: Effect::Removed, covers });
    }

    #[test]
    fn a_lease_given_back_reads_back(key in proptest::collection::vec(any::<u8>(), 1..50), failed in any::<bool>()) {
        let protection = plain();
        let announcement = Announcement::new(fields(1, 2, 0), &protection);
        let mut bytes = announcement.head();
        bytes.put_bytes(0, 24);
        bytes.put_u8(if failed { FAILED } else { RELEASED });
        bytes.extend(named("n"));
        bytes.extend(announcement.key(&key));
        bytes.put_u16(0);
        let released = Published::Released { namespace: "n".into(), key: key.into(), failed };
        prop_assert_eq!(decode_message(&bytes.into(), receiver(2, &protection)), Ok(released));
    }

    #[test]
    fn garbage_is_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        let protection = plain();
        let by = receiver(1, &protection);
        let _ = (decode_message(&bytes, by), decode_private(&bytes, by));
        let _ = (decode_entry(bytes.clone()), decode_version(&bytes));
    }

    #[test]
    fn a_truncated_entry_is_refused(cut in 0usize..87) {
        let entry = NewEntry::new(Content::KnownAbsent, Lifetime::of(Duration::from_secs(1)));
        let whole = stored(Version::new(1, 2), 3, &entry);
        prop_assert_eq!(whole.len(), 87);
        prop_assert_eq!(decode_entry(whole.slice(..cut)), None);
    }
}

#[test]
fn a_foreign_value_of_any_kind_is_refused() {
    for foreign in [&b""[..], b"hello", b"T\x02aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", b"{\"json\":true}"] {
        assert_eq!(decode_entry(Bytes::copy_from_slice(foreign)), None);
    }
}

#[test]
fn an_echo_reads_back() {
    let protection = plain();
    let mut bytes = echo_head(42, &protection);
    for (partition, epoch, sequence) in [(3, 1, 10), (9, 2, 20)] {
        bytes.put_u16(partition);
        bytes.put_u64(epoch);
        bytes.put_u64(sequence);
    }
    let positions = vec![(3, Version::new(1, 10)), (9, Version::new(2, 20))];
    let by = receiver(1, &protection);
    assert_eq!(decode_private(&bytes, by), Ok(Private::Echo(42, Echo { positions })));
    bytes.pop();
    assert_eq!(decode_private(&bytes, by), Err(Refusal::Damaged));
}

#[test]
fn a_confirmation_reads_back() {
    let confirmation = Private::Confirmation { ticket: 1, partition: 2, replica: 3 };
    let protection = plain();
    let bytes = super::confirmation(1, 2, 3, 4, &protection);
    assert_eq!(decode_private(&bytes, receiver(4, &protection)), Ok(confirmation));
    assert_eq!(registered_replica(&replica_field(7)), Some(7));
}

#[test]
fn a_value_is_read_without_copying_it() {
    let value = Bytes::from(vec![7; 100]);
    let entry = NewEntry::new(Content::Value(value), Lifetime::of(Duration::from_secs(1)));
    let whole = stored(Version::new(1, 2), 3, &entry);
    let Content::Value(read) = decode_entry(whole.clone()).expect("decodes").content else { panic!("a value") };
    assert_eq!(read.as_ptr(), whole[whole.len() - 100..].as_ptr());
}

#[test]
fn a_bomb_is_not_unpacked() {
    let bomb = vec![0; 64 << 20];
    let entry = NewEntry::new(Content::Value(vec![0; 1000].into()), Lifetime::of(Duration::from_secs(1)));
    let packs = [(1, zstd::bulk::compress(&bomb, 1).expect("packs")), (2, lz4_flex::block::compress(&bomb))];
    for (encoding, value) in packs {
        // It says that it is small.
        let mut bytes = packed(Version::new(1, 2), 3, &entry, Compression::Zstd)[..87].to_vec();
        bytes[79] = encoding;
        bytes[80..84].copy_from_slice(&(value.len() as u32 + 1).to_be_bytes());
        bytes.extend(&value);
        let stored = decode_entry(bytes.into()).expect("decodes");
        assert_eq!(stored.unpack(1 << 30), None);
    }
}

#[test]
fn an_encoding_that_is_not_known_is_not_read() {
    let entry = NewEntry::new(Content::Value(vec![0; 1000].into()), Lifetime::of(Duration::from_secs(1)));
    let mut bytes = packed(Version::new(1, 2), 3, &entry, Compression::Lz4).to_vec();
    for encoding in [3, 0x12 | 0x80, 0x42, 0x8, 0x12, 0x22] {
        bytes[79] = encoding;
        assert_eq!(decode_entry(Bytes::copy_from_slice(&bytes)), None, "{encoding}");
    }
}
