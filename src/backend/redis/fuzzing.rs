//! Targets of fuzzing: bytes that a Redis may hold or send, and names of keys.

use bytes::{BufMut as _, Bytes};

use super::connection::reply_limits::ReplyLimits;
use super::connection::reply_scanner::ReplyScanner;
use super::schema::codec::{
    self, Announcement, HEAD, Receiver, confirmation, decode_entry, decode_head, decode_message, decode_private,
    echo_head, entry_header, life_in_head, named, selector_list, size_in_head, tag_list,
};
use super::schema::compression::Packed;
use super::schema::crypto::{MessageFields, Protection, ProtectionConfig, ProtectionMode, SecretKey};
use super::schema::invalidation_record::Record;
use super::schema::keys::KeySchema;
use crate::cache::entry::{Content, NewEntry, Tags};
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::KeyRef;
use crate::cache::lifetime::Lifetime;
use crate::cache::namespace::{NamespaceRules, Namespaces};
use crate::cache::policy::Compression;
use crate::cache::version::Version;

/// Maximum size of a value and of a reply.
const LIMIT: usize = 1 << 20;
const PARTITIONS: u16 = 16;

/// A stored entry.
pub fn entry(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let head = bytes.slice(..bytes.len().min(HEAD));
    let (size, life) = (size_in_head(&head), life_in_head(&head));
    let tagged = decode_head(&head);
    let Some(stored) = decode_entry(bytes.clone()) else { return };
    assert!(size.is_some_and(|size| size >= bytes.len()), "the head says the largest size");
    assert!(life.is_some(), "the head says the end of life");
    if let Some((version, written_micros, tags)) = tagged {
        assert_eq!((version, written_micros, &tags), (stored.version, stored.written_micros, &stored.tags));
    }
    let plain_size = stored.plain_size;
    if let Some(plain) = stored.unpack(LIMIT) {
        assert!(!plain.is_packed() && plain.content.len() <= LIMIT.max(bytes.len()));
        assert!(plain.content == Content::KnownAbsent || plain.content.len() == plain_size);
    }
}

fn stored(entry: &NewEntry, compression: Compression) -> Vec<u8> {
    let value = match &entry.content {
        Content::Value(value) => Packed::pack(value.clone(), compression),
        Content::KnownAbsent => Packed::plain(Bytes::new()),
    };
    let mut bytes = b"T\x01".to_vec();
    for number in [1_700_000_000_000_000, 42, 1_700_000_000_000_000] {
        bytes.put_u64(number);
    }
    bytes.extend(entry_header(entry, value.encoding));
    bytes.extend(value.bytes);
    bytes
}

/// Seeds of `entry`.
pub fn entry_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let value = |text: &[u8]| {
        NewEntry::new(Content::Value(Bytes::copy_from_slice(text)), Lifetime::of(std::time::Duration::from_secs(60)))
    };
    let tags = Tags::new(vec![Bytes::from_static(b"a"), Bytes::from_static(b"user:42")]);
    let long = b"0123456789".repeat(20);
    vec![
        ("plain", stored(&NewEntry { content_type: "text/plain".into(), ..value(b"hello") }, Compression::None)),
        ("tagged", stored(&NewEntry { tags, source_version: Some(7), ..value(b"{}") }, Compression::None)),
        ("absent", stored(&NewEntry { content: Content::KnownAbsent, ..value(b"") }, Compression::None)),
        ("zstd", stored(&value(&long), Compression::Zstd)),
        ("lz4", stored(&value(&long), Compression::Lz4)),
    ]
}

/// The keys of a deployment with MACs, or of one without.
fn protection(signs: bool) -> Protection {
    let mac_keys = signs.then(|| SecretKey::from_bytes([7; 32])).into_iter().collect();
    let config = ProtectionConfig { mac_keys, mode: ProtectionMode::Require, ..ProtectionConfig::default() };
    Protection::new(&config, "p", 0)
}

/// A message of the bus, of a partition or of a replica.
pub fn message(bytes: &[u8]) {
    let owned = Bytes::copy_from_slice(bytes);
    for signs in [false, true] {
        let protection = protection(signs);
        let receiver = Receiver { replica: 1, protection: &protection, now_micros: Some(1) };
        let message = decode_message(&owned, receiver);
        let private = decode_private(bytes, receiver);
        assert!(message.is_err() || private.is_err(), "a message is of one kind");
        let is_signed = bytes.first() == Some(&2);
        assert!(!signs || is_signed || (message.is_err() && private.is_err()), "all messages are signed");
    }
}

/// Seeds of `message`.
pub fn message_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let position = |mut bytes: Vec<u8>| {
        [7, 42, 1_700_000_000_000_000].into_iter().for_each(|number| bytes.put_u64(number));
        bytes
    };
    let tags = tag_list(&Tags::new(vec![Bytes::from_static(b"tag")]));
    let write = |signs| {
        let protection = protection(signs);
        let (void_after, namespace) = (u64::MAX, &b"n"[..]);
        let fields = MessageFields { partition: 3, origin: 1, ticket: 0, void_after, effect: codec::SET, namespace };
        let announcement = Announcement::new(fields, &protection);
        let mut write = [position(announcement.head()), announcement.effect(), announcement.key(b"user:42")].concat();
        write.put_u16(tags.len() as u16);
        write.extend(&tags);
        write
    };
    let plain = protection(false);
    let fields =
        MessageFields { partition: 3, origin: 2, ticket: 9, void_after: 0, effect: codec::REMOVED, namespace: b"n" };
    let selectors =
        selector_list(&[Selector::Namespace, Selector::Prefix("a:".into()), Selector::Pattern("*b?".into())]);
    let head = Announcement::new(fields, &plain).head_of_selectors(&selectors);
    let selected = [position(head), vec![codec::REMOVED], named("n"), selectors].concat();
    let mut echo = echo_head(99, &plain);
    echo.put_u16(3);
    [7, 42].into_iter().for_each(|number| echo.put_u64(number));
    vec![
        ("write", write(false)),
        ("signed-write", write(true)),
        ("selected", selected),
        ("echo", echo),
        ("confirmation", confirmation(9, 3, 2, 1, &plain)),
    ]
}

/// The record of invalidations in a counter, after a byte with the length of a key, and the key.
pub fn record(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let Some((key, bytes)) = rest.split_at_checked(usize::from(*length)) else { return };
    let Some(record) = Record::read(Some(&Bytes::copy_from_slice(bytes))) else { return };
    for version in [Version::new(0, 0), Version::new(7, 42), Version::new(u64::MAX, u64::MAX)] {
        let covers = record.covers(key, version, 1);
        assert!(!covers.gone || !covers.needs_lookup, "what is gone needs no lookup");
        let _ = record.cause(key, version, 1);
    }
}

/// Seeds of `record`.
pub fn record_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut quiet = b"\x01k".to_vec();
    quiet.extend([0; 152]);
    let mut whole = b"\x01k".to_vec();
    (0..19).for_each(|number: u64| whole.put_u64(number));
    vec![("quiet", quiet), ("whole", whole), ("empty", b"\x01k".to_vec())]
}

/// A stream of replies, scanned whole and byte by byte.
pub fn reply(bytes: &[u8]) {
    let scanner = || ReplyScanner::new(ReplyLimits { reply: LIMIT, value: LIMIT / 2 });
    let mut slow = scanner();
    let slowly = bytes.iter().try_fold(0, |replies, byte| Ok(replies + slow.scan(&[*byte])?));
    assert_eq!(scanner().scan(bytes), slowly, "the pace does not matter");
}

/// Seeds of `reply`.
pub fn reply_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let seed = |name, text: &str| (name, text.as_bytes().to_vec());
    vec![
        seed("read", "*4\r\n$1\r\n7\r\n$2\r\n42\r\n$1\r\n1\r\n$-1\r\n$5\r\nhello\r\n_\r\n"),
        seed("pushed", ">3\r\n$7\r\nmessage\r\n$3\r\na:b\r\n$4\r\nbody\r\n+OK\r\n"),
        seed(
            "types",
            "#t\r\n,1.5\r\n(12345678901234567890\r\n!3\r\nERR\r\n=7\r\ntxt:abc\r\n%1\r\n+a\r\n:1\r\n~1\r\n+b\r\n",
        ),
        seed("attributes", "|1\r\n+ttl\r\n:3\r\n*2\r\n*1\r\n:1\r\n-ERR no\r\n"),
    ]
}

/// Two namespaces and two keys, separated by line ends.
pub fn key(bytes: &[u8]) {
    let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let (names, keys) = ([next(), next()], [next(), next()]);
    let namespaces = Namespaces::new(NamespaceRules { limit: 2, ..NamespaceRules::default() }, PARTITIONS);
    let namespace = |name: &[u8]| namespaces.get("namespace", std::str::from_utf8(name).ok()?).ok();
    let [Some(one), Some(other)] = names.map(namespace) else { return };
    let schema = KeySchema::new("a:b", PARTITIONS, false);
    let [one, other] = [KeyRef::new(&one, keys[0]), KeyRef::new(&other, keys[1])];
    let same = one.namespace.name() == other.namespace.name() && one.bytes == other.bytes;
    let names = |key| [schema.entry(key), schema.lease(key), schema.source(key)];
    for (kind, name) in names(one).iter().enumerate() {
        for (other_kind, other_name) in names(other).iter().enumerate() {
            assert_eq!(name == other_name, same && kind == other_kind, "of two keys or kinds, two names");
        }
    }
    for key in [one, other] {
        let name = schema.entry(key);
        assert_eq!(schema.key_in(&name, key.namespace.name()), Some(key.bytes));
        assert_eq!(schema.namespace_in(&name), Some(key.namespace.name()));
        assert_eq!(schema.partition_in(&name), Some(key.partition(PARTITIONS)));
    }
    let name = schema.entry(one);
    let foreign = schema.key_in(&name, other.namespace.name());
    assert_eq!(foreign.is_some(), one.namespace.name() == other.namespace.name(), "a key is of one namespace");
}

/// Seeds of `key`.
pub fn key_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let seed = |name, text: &str| (name, text.as_bytes().to_vec());
    vec![
        seed("same", "n\nn\nuser:42\nuser:42"),
        seed("prefix", "a\na.b\nb:k\nk"),
        seed("names", "n\nm\na:b:{7}:v:m:k\nk"),
        seed("braces", "cart\ncart-2\n}:v:cart-2:k\n{1}"),
        seed("globs", "n\nn\n*?[a]\\\n\0"),
    ]
}
