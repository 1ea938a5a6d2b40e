//! Encodes the answer to a Get straight into the frame of its response.

use bytes::{BufMut, Bytes};

use crate::cache::entry::Content;
use crate::cache::tiered::{GetAnswer, GetOutcome};
use crate::grpc::convert;
use crate::grpc::request_body::PREFIX_BYTES;
use crate::grpc::wire_fields::{
    HitContext, MAX_INFO_BYTES, MAX_TOKEN_BYTES, field_size, put_bytes, put_entry_info, put_head, put_number,
    put_version, written,
};

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
            let found = HitContext { tier: *tier, stale: *stale, at: answer.at };
            written(&mut info_space, |to| put_entry_info(held, found, to))
        }
    };
    // A miss has its reason where the others have a message.
    let last_size = if result == MISS { last.len() } else { size(last) };
    let result_size = size(value) + size(content_type.as_bytes()) + last_size;
    let message = field_size(result_size) + size(token) + 2 * usize::from(answer.degraded);
    let mut frame = Vec::with_capacity(PREFIX_BYTES + message);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message).unwrap_or(u32::MAX));
    put_head(result, result_size, &mut frame);
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

/// Writes the token as [`Token::encode`](crate::cache::token::Token::encode) does.
fn put_token(answer: &GetAnswer, partitions: u16, to: &mut impl BufMut) {
    if answer.position.epoch == 0 {
        return;
    }
    let mut digits = itoa::Buffer::new();
    to.put_slice(b"1.");
    to.put_slice(digits.format(partitions).as_bytes());
    to.put_u8(b'.');
    to.put_slice(digits.format(answer.partition).as_bytes());
    to.put_u8(b'-');
    put_version(answer.position, to);
}

/// Returns the size of a field. An empty one is absent.
fn size(bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { field_size(bytes.len()) }
}

/// Writes a field. An empty one is absent.
fn put(field: u32, bytes: &[u8], to: &mut impl BufMut) {
    if !bytes.is_empty() {
        put_bytes(field, bytes, to);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use prost::Message as _;

    use super::*;
    use crate::cache::clock::Moment;
    use crate::cache::entry::{CachedEntry, CoverageMemo, Details, Entry, NewEntry, Tags};
    use crate::cache::lifetime::Lifetime;
    use crate::cache::namespace::{NamespaceRules, Namespaces};
    use crate::cache::tiered::{Miss, Stale, StaleReason, Tier};
    use crate::cache::token::Token;
    use crate::cache::version::Version;

    const AT: Moment = Moment(10_000_000_001);

    fn held(content: Content, change: impl FnOnce(&mut Entry, &mut Details)) -> Arc<CachedEntry> {
        let rules = NamespaceRules { limit: 1, ..NamespaceRules::default() };
        let namespace = Namespaces::new(rules, 4).get("namespace", "").expect("default");
        let version = Version::new(1_763_000_000_000_000, 42);
        let mut entry = Entry::written(&NewEntry::new(content, Lifetime::default()), version, Duration::ZERO, AT);
        let mut details = (*entry).clone();
        change(&mut entry, &mut details);
        entry.details = details.into();
        let (position, covered) = (entry.version, CoverageMemo::default());
        Arc::new(CachedEntry { entry, position, generation: 1, known_at: AT, namespace, covered })
    }

    fn hit(held: Arc<CachedEntry>, tier: Tier, stale: Option<Stale>) -> GetAnswer {
        let position = held.position;
        GetAnswer::new(GetOutcome::Hit { held, tier, stale }, 63, position, AT)
    }

    fn value(bytes: &[u8]) -> Content {
        Content::Value(Bytes::copy_from_slice(bytes))
    }

    fn answers() -> Vec<GetAnswer> {
        let all_fields = |entry: &mut Entry, details: &mut Details| {
            entry.version = Version::new(u64::MAX, u64::MAX);
            entry.content_type = "text/plain".into();
            entry.written_at = Moment(1);
            entry.expires_at = Moment(u64::MAX - 1);
            details.tags = Tags::new(vec!["tag".into()]);
            details.source_version = Some(u64::MAX);
            details.due_at = AT;
        };
        let plain = |bytes: &[u8]| held(value(bytes), |_, _| {});
        let stale = |reason| Some(Stale { reason, staleness: Duration::new(u64::MAX >> 1, 999_999_999) });
        let mut answers = vec![
            hit(plain(b"v"), Tier::L1, None),
            hit(plain(b""), Tier::L1, None),
            hit(held(value(&[7; 300]), all_fields), Tier::L1, None),
            hit(held(value(&[7; 70_000]), |_, details| details.source_version = Some(0)), Tier::L2, None),
            hit(held(value(b"v"), |entry, _| entry.expires_at = AT), Tier::L1, None),
            hit(held(value(b"v"), |entry, _| entry.version = Version::ZERO), Tier::L1, None),
            hit(held(Content::KnownAbsent, |_, _| {}), Tier::L1, None),
            hit(held(Content::KnownAbsent, all_fields), Tier::L2, stale(StaleReason::Marked)),
            hit(held(value(b"v"), all_fields), Tier::L1, stale(StaleReason::Unproven)),
            hit(plain(b"v"), Tier::L1, stale(StaleReason::Expired)),
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
