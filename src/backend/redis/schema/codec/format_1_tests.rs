//! Bytes of format 1, as earlier builds write and read them.
//!
//! Replicas of both builds meet in a rolling update. A change here is another format and needs
//! another number, so that an older build treats it as foreign.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::backend::redis::schema::crypto::{MessageFields, Protection, ProtectionConfig, Refusal};
use crate::cache::entry::{Content, NewEntry, Tags};
use crate::cache::invalidation::selector::Selector;
use crate::cache::lifetime::Lifetime;
use crate::cache::tier::bus::{Change, ChangedKey, Covers, Echo, Effect, Message};
use crate::cache::version::Version;

fn plain() -> Protection {
    Protection::new(&ProtectionConfig::default(), "p", 0)
}

fn receiver(protection: &Protection) -> Receiver<'_> {
    Receiver { replica: 1, protection, now_micros: None }
}

fn number(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Version 7-9, written at 5, ttl 60 s, stale window 1 s, soft ttl 500 ms, neither extended nor
/// marked, of version 3 of its source.
fn entry() -> Bytes {
    let times = [7, 9, 5, 60_000, 1000, 500, 0, 0, 3].map(number).concat();
    let head = [b"T\x01", &times[..], b"\0\0\0\0", b"\x02", b"\0", b"\0\0\0\x05", b"\0\x02", b"\x0a"].concat();
    [&head[..], b"\x01a", b"text/plain", b"hello"].concat().into()
}

/// At position 7-9, published at 5, by the replica 170.
fn message(kind: u8, effect: u8, rest: &[u8]) -> Bytes {
    let numbers = [170, 0, 7, 9, 5].map(number).concat();
    [&[1, kind, 0, 3], &numbers[..], &[effect], b"\x01n", rest].concat().into()
}

fn change(effect: Effect, covers: Covers) -> Result<Published, Refusal> {
    let change = Change { namespace: "n".into(), effect, covers };
    let message = Message { partition: 3, version: Version::new(7, 9), change, own: false };
    Ok(Published::Change { message, micros: 5, origin: 170, ticket: None })
}

#[test]
fn an_entry_is_read() {
    let read = decode_entry(entry()).expect("an entry");
    assert_eq!((read.version, read.written_micros, read.ttl_millis), (Version::new(7, 9), 5, 60_000));
    assert_eq!((read.window_millis, read.soft_millis, read.slide_micros, read.marked_micros), (1000, 500, 0, 0));
    assert_eq!((read.source_version, read.cost_millis, read.encoding, read.plain_size), (Some(3), 0, 0, 5));
    assert_eq!(read.content, Content::Value("hello".into()));
    assert_eq!((&*read.content_type, read.tags), ("text/plain", Tags::new(vec!["a".into()])));
}

#[test]
fn an_entry_is_written() {
    let (soft_ttl, stale_window) = (Some(Duration::from_millis(500)), Duration::from_secs(1));
    let lifetime = Lifetime { soft_ttl, stale_window, ..Lifetime::of(Duration::from_secs(60)) };
    let written = NewEntry {
        content: Content::Value("hello".into()),
        content_type: "text/plain".into(),
        tags: Tags::new(vec!["a".into()]),
        source_version: Some(3),
        lifetime,
    };
    // The script puts magic, version and time before it, and the value after it.
    let header = entry_header(&written, 0);
    assert_eq!(header, entry()[26..entry().len() - 5]);
}

#[test]
fn a_change_of_keys_is_read() {
    let key = ChangedKey { key: "k".into(), tags: Tags::new(vec!["a".into()]) };
    let read = decode_message(&message(1, 1, b"\0\x01k\0\x02\x01a"), receiver(&plain()));
    assert_eq!(read, change(Effect::Set, Covers::Keys(vec![key])));
}

#[test]
fn a_change_of_what_is_selected_is_read() {
    let selected = Covers::Selected(vec![Selector::Prefix("a:b".into()), Selector::Namespace]);
    let read = decode_message(&message(2, 3, b"\x01\0\x03a:b\0\0\0"), receiver(&plain()));
    assert_eq!(read, change(Effect::Marked, selected));
}

#[test]
fn messages_are_written() {
    let fields = MessageFields { partition: 3, origin: 170, ticket: 0, void_after: 1, effect: SET, namespace: b"n" };
    let protection = plain();
    let announcement = Announcement::new(fields, &protection);
    assert_eq!(announcement.head(), message(1, 1, b"")[..20]);
    assert_eq!(announcement.head_of_selectors(b"x"), message(2, 1, b"")[..20]);
    assert_eq!((named("n"), announcement.key(b"k")), (b"\x01n".to_vec(), b"\0\x01k".to_vec()));
    assert_eq!(announcement.effect(), message(1, 1, b"")[44..]);
    assert_eq!(tag_list(&Tags::new(vec!["a".into()])), b"\x01a");
    let selectors =
        [Selector::Namespace, Selector::Prefix("p".into()), Selector::Tag("t".into()), Selector::Pattern("*".into())];
    assert_eq!(selector_list(&selectors), b"\0\0\0\x01\0\x01p\x02\0\x01t\x03\0\x01*");
}

#[test]
fn an_echo_and_a_confirmation_are_read_and_written() {
    let echo = [&[1, 3][..], &number(42), &[0, 3], &number(7), &number(9)].concat();
    let positions = vec![(3, Version::new(7, 9))];
    let protection = plain();
    assert_eq!(decode_private(&echo, receiver(&protection)), Ok(Private::Echo(42, Echo { positions })));
    assert_eq!(echo_head(42, &protection), echo[..10]);
    assert_eq!(confirmation(1, 2, 3, 4, &protection), [&[1, 4][..], &number(1), &[0, 2], &number(3)].concat());
}

#[test]
fn a_lease_is_read() {
    let lease = [&[1; 16][..], &number(7), &number(9), &number(5)].concat();
    assert_eq!(decode_lease(&lease), Some((Version::new(7, 9), 5)));
}
