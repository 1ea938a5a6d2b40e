//! Encodes the answer to a Get straight into the frame of its response.

use bytes::{BufMut, Bytes};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::cache::clock::Moment;
use crate::cache::entry::{CachedEntry, Content};
use crate::cache::tiered::{GetAnswer, GetOutcome, Stale, Tier};
use crate::cache::version::Version;
use crate::grpc::convert;
use crate::grpc::request_body::PREFIX_BYTES;

/// Bytes of an `EntryInfo` without tags: a version, three durations, and five small fields.
const MAX_INFO_BYTES: usize = 160;
/// Bytes of a token of one position. A version is shorter.
const MAX_TOKEN_BYTES: usize = 64;

/// Encodes a `GetResponse` with the prefix of a message that is not compressed.
///
/// `answer` has no lease, and the request had neither tokens nor `metadata_only`.
pub(super) fn encode(answer: &GetAnswer, partitions: u16) -> Bytes {
    let (mut info_space, mut token_space) = ([0; MAX_INFO_BYTES], [0; MAX_TOKEN_BYTES]);
    let token = written(&mut token_space, |to| put_token(answer, partitions, to));
    let (mut result, mut value, mut content_type) = (MISS, &[][..], "");
    let last = match &answer.outcome {
        GetOutcome::Miss(why) => written(&mut info_space, |to| put_number(1, convert::miss_reason(*why) as u64, to)),
        GetOutcome::Hit { held, tier, stale } => {
            result = NEGATIVE_HIT;
            if let Content::Value(bytes) = &held.entry.content {
                (result, value, content_type) = (HIT, bytes, &held.entry.content_type);
            }
            written(&mut info_space, |to| put_info(held, *tier, *stale, answer.at, to))
        }
    };
    // A miss has its reason where the others have a message.
    let last_size = if result == MISS { last.len() } else { sized(last) };
    let size = sized(value) + sized(content_type.as_bytes()) + last_size;
    let message = 1 + encoded_len_varint(size as u64) + size + sized(token) + 2 * usize::from(answer.degraded);
    let mut frame = Vec::with_capacity(PREFIX_BYTES + message);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message).unwrap_or(u32::MAX));
    encode_key(result, WireType::LengthDelimited, &mut frame);
    encode_varint(size as u64, &mut frame);
    put(1, value, &mut frame);
    put(2, content_type.as_bytes(), &mut frame);
    match result {
        HIT => put(3, last, &mut frame),
        NEGATIVE_HIT => put(1, last, &mut frame),
        _ => frame.put_slice(last),
    }
    put(TOKEN, token, &mut frame);
    if answer.degraded {
        put_number(DEGRADED, 1, &mut frame);
    }
    frame.into()
}

/// Numbers of the fields of `GetResponse`.
const HIT: u32 = 1;
const NEGATIVE_HIT: u32 = 2;
const MISS: u32 = 3;
const TOKEN: u32 = 8;
const DEGRADED: u32 = 9;

/// Writes an `EntryInfo` without tags.
fn put_info(held: &CachedEntry, tier: Tier, stale: Option<Stale>, at: Moment, to: &mut &mut [u8]) {
    let (entry, mut space) = (&held.entry, [0; MAX_TOKEN_BYTES]);
    put(1, written(&mut space, |to| put_version(entry.version, to)), to);
    put_duration(2, at.since(entry.written_at), to);
    if entry.expires_at != Moment::FOREVER {
        put_duration(3, entry.expires_at.since(at), to);
    }
    put_number(4, convert::tier_of(tier) as u64, to);
    if let Some(Stale { reason, staleness }) = stale {
        let stale = written(&mut space, |to| {
            put_number(1, convert::stale_reason(reason) as u64, to);
            put_duration(2, staleness, to);
        });
        put(5, stale, to);
    }
    if at >= entry.due_at {
        put_number(6, 1, to);
    }
    if let Some(source_version) = entry.source_version {
        put_number(7, source_version, to);
    }
}

/// Writes the token as [`Token::encode`](crate::cache::token::Token::encode) does.
fn put_token(answer: &GetAnswer, partitions: u16, to: &mut &mut [u8]) {
    if answer.position.epoch == 0 {
        return;
    }
    to.put_slice(b"1.");
    put_decimal(partitions.into(), to);
    to.put_u8(b'.');
    put_decimal(answer.partition.into(), to);
    to.put_u8(b'-');
    put_version(answer.position, to);
}

/// Returns the part of `space` that `write` fills.
fn written(space: &mut [u8], write: impl FnOnce(&mut &mut [u8])) -> &[u8] {
    let (capacity, mut rest) = (space.len(), &mut *space);
    write(&mut rest);
    let unused = rest.len();
    &space[..capacity - unused]
}

/// Returns the size of a field with a number below 16. An empty one is absent.
fn sized(bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { 1 + encoded_len_varint(bytes.len() as u64) + bytes.len() }
}

fn put(field: u32, bytes: &[u8], to: &mut impl BufMut) {
    if !bytes.is_empty() {
        encode_key(field, WireType::LengthDelimited, to);
        encode_varint(bytes.len() as u64, to);
        to.put_slice(bytes);
    }
}

fn put_number(field: u32, number: u64, to: &mut impl BufMut) {
    encode_key(field, WireType::Varint, to);
    encode_varint(number, to);
}

/// Writes a `google.protobuf.Duration`, which is present also if it is zero.
fn put_duration(field: u32, duration: std::time::Duration, to: &mut impl BufMut) {
    let numbers = [duration.as_secs(), duration.subsec_nanos().into()];
    let size = |number: &u64| if *number == 0 { 0 } else { 1 + encoded_len_varint(*number) };
    encode_key(field, WireType::LengthDelimited, to);
    encode_varint(numbers.iter().map(size).sum::<usize>() as u64, to);
    for (number, field) in numbers.into_iter().zip(1..).filter(|(number, _)| *number != 0) {
        put_number(field, number, to);
    }
}

fn put_version(version: Version, to: &mut impl BufMut) {
    put_decimal(version.epoch, to);
    to.put_u8(b'-');
    put_decimal(version.sequence, to);
}

fn put_decimal(number: u64, to: &mut impl BufMut) {
    to.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use prost::Message as _;

    use super::*;
    use crate::cache::entry::{CoverageMemo, Entry, Tags};
    use crate::cache::namespace::{NamespaceRules, Namespaces};
    use crate::cache::tiered::{Miss, StaleReason};
    use crate::cache::token::Token;

    const AT: Moment = Moment(10_000_000_001);

    fn held(content: Content, entry: impl FnOnce(&mut Entry)) -> Arc<CachedEntry> {
        let rules = NamespaceRules { limit: 1, ..NamespaceRules::default() };
        let namespace = Namespaces::new(rules, 4).get("namespace", "").expect("default");
        let mut plain = Entry {
            version: Version::new(1_763_000_000_000_000, 42),
            content,
            content_type: "".into(),
            tags: Tags::default(),
            source_version: None,
            cost: Duration::ZERO,
            written_at: AT,
            due_at: Moment::FOREVER,
            expires_at: Moment::FOREVER,
            kept_until: Moment::FOREVER,
            stale_window: Duration::ZERO,
            sliding: None,
            marked_at: None,
        };
        entry(&mut plain);
        let (position, covered) = (plain.version, CoverageMemo::default());
        Arc::new(CachedEntry { entry: plain, position, generation: 1, known_at: AT, namespace, covered })
    }

    fn hit(held: Arc<CachedEntry>, tier: Tier, stale: Option<Stale>) -> GetAnswer {
        let position = held.position;
        GetAnswer::new(GetOutcome::Hit { held, tier, stale }, 63, position, AT)
    }

    fn value(bytes: &[u8]) -> Content {
        Content::Value(Bytes::copy_from_slice(bytes))
    }

    fn answers() -> Vec<GetAnswer> {
        let all_fields = |entry: &mut Entry| {
            entry.version = Version::new(u64::MAX, u64::MAX);
            entry.content_type = "text/plain".into();
            entry.tags = Tags::new(vec!["tag".into()]);
            entry.source_version = Some(u64::MAX);
            entry.written_at = Moment(1);
            entry.due_at = AT;
            entry.expires_at = Moment(u64::MAX - 1);
        };
        let stale = |reason| Some(Stale { reason, staleness: Duration::new(u64::MAX >> 1, 999_999_999) });
        let mut answers = vec![
            hit(held(value(b"v"), |_| {}), Tier::L1, None),
            hit(held(value(b""), |_| {}), Tier::L1, None),
            hit(held(value(&[7; 300]), all_fields), Tier::L1, None),
            hit(held(value(&[7; 70_000]), |entry| entry.source_version = Some(0)), Tier::L2, None),
            hit(held(value(b"v"), |entry| entry.expires_at = AT), Tier::L1, None),
            hit(held(value(b"v"), |entry| entry.version = Version::ZERO), Tier::L1, None),
            hit(held(Content::KnownAbsent, |_| {}), Tier::L1, None),
            hit(held(Content::KnownAbsent, all_fields), Tier::L2, stale(StaleReason::Marked)),
            hit(held(value(b"v"), all_fields), Tier::L1, stale(StaleReason::Unproven)),
            hit(held(value(b"v"), |_| {}), Tier::L1, stale(StaleReason::Expired)),
        ];
        for why in [Miss::Absent, Miss::Unavailable, Miss::TokenNotReached, Miss::Disabled, Miss::Leased] {
            answers.push(GetAnswer::new(GetOutcome::Miss(why), 0, Version::new(1, 2), AT));
        }
        let degraded = answers.clone().into_iter().map(|answer| GetAnswer { degraded: true, ..answer });
        answers.iter().cloned().chain(degraded).collect()
    }

    #[test]
    fn a_frame_is_what_the_generated_message_encodes_to() {
        for (index, answer) in answers().into_iter().enumerate() {
            let message = convert::get_response(answer.clone(), Token::default(), 64, false).encode_to_vec();
            let length = u32::try_from(message.len()).expect("a small message").to_be_bytes();
            assert_eq!(encode(&answer, 64), [&[0][..], &length, &message].concat(), "answer {index}");
        }
    }
}
