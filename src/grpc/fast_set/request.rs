//! Sets of a plain entry: namespace, key, value, content type and time to live.

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{WireType, decode_key};

use crate::grpc::plain_call::{payload, plain_message, text};
use crate::pb;
use crate::pb::set_request::{Content, Expiry};

/// Maximum size of a message: what HTTP/2 carries in one frame. A larger one arrives in several.
pub(super) const MAX_MESSAGE_BYTES: usize = 16 << 10;

/// Texts of a plain Set: namespace, key and content type.
pub(super) const TEXTS: usize = 3;

/// Reads the body of a request. Returns `None` for everything but one message that is not
/// compressed, and has each of the known fields at most once.
pub(in crate::grpc) fn read(body: &Bytes) -> Option<pb::SetRequest> {
    let mut message = plain_message(body, MAX_MESSAGE_BYTES)?;
    let ([mut namespace, mut key, mut content_type], mut value, mut ttl) = ([None; TEXTS], None, None);
    while !message.is_empty() {
        match decode_key(&mut message).ok()? {
            (1, WireType::LengthDelimited) if namespace.is_none() => namespace = Some(text(&mut message)?),
            (2, WireType::LengthDelimited) if key.is_none() => key = Some(text(&mut message)?),
            (3, WireType::LengthDelimited) if value.is_none() => value = Some(payload(&mut message)?),
            (5, WireType::LengthDelimited) if content_type.is_none() => content_type = Some(text(&mut message)?),
            (6, WireType::LengthDelimited) if ttl.is_none() => {
                ttl = Some(prost_types::Duration::decode(payload(&mut message)?).ok()?);
            }
            _ => return None,
        }
    }
    Some(pb::SetRequest {
        namespace: namespace.unwrap_or_default().to_owned(),
        key: key?.to_owned(),
        content: Some(Content::Value(body.slice_ref(value?))),
        content_type: content_type.unwrap_or_default().to_owned(),
        expiry: ttl.map(Expiry::Ttl),
        ..Default::default()
    })
}

/// The bytes of its texts.
pub(super) fn text_bytes(request: &pb::SetRequest) -> usize {
    request.namespace.len() + request.key.len() + request.content_type.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(message: &[u8]) -> Bytes {
        let length = u32::try_from(message.len()).expect("a small message").to_be_bytes();
        [&[0][..], &length, message].concat().into()
    }

    fn value(text: &'static str) -> Option<Content> {
        Some(Content::Value(text.into()))
    }

    fn request() -> pb::SetRequest {
        pb::SetRequest { namespace: "n".into(), key: "user:42".into(), content: value("v"), ..Default::default() }
    }

    #[test]
    fn a_plain_set_is_what_the_generated_message_decodes_to() {
        let ttl = |seconds, nanos| Some(Expiry::Ttl(prost_types::Duration { seconds, nanos }));
        let plain = [
            request(),
            pb::SetRequest { namespace: String::new(), content: value(""), ..request() },
            pb::SetRequest { content_type: "text/plain".into(), expiry: ttl(60, 5), ..request() },
            pb::SetRequest { expiry: ttl(0, 0), ..request() },
            pb::SetRequest { expiry: ttl(-1, -1), ..request() },
        ];
        for request in plain {
            assert_eq!(read(&body(&request.encode_to_vec())), Some(request));
        }
    }

    #[test]
    fn a_set_with_more_than_an_entry_is_not_plain() {
        use pb::set_request::Condition;
        let others = [
            pb::SetRequest { key: String::new(), ..request() },
            pb::SetRequest { content: None, ..request() },
            pb::SetRequest { content: Some(Content::KnownAbsent(pb::KnownAbsent {})), ..request() },
            pb::SetRequest { expiry: Some(Expiry::NoExpiry(pb::NoExpiry {})), ..request() },
            pb::SetRequest { expiry: Some(Expiry::ExpireTime(Default::default())), ..request() },
            pb::SetRequest { expiry: Some(Expiry::Sliding(Default::default())), ..request() },
            pb::SetRequest { condition: Some(Condition::IfAbsent(pb::IfAbsent {})), ..request() },
            pb::SetRequest { condition: Some(Condition::IfVersion(String::new())), ..request() },
            pb::SetRequest { condition: Some(Condition::Lease("1".into())), ..request() },
            pb::SetRequest { tokens: vec!["1.64".into()], ..request() },
            pb::SetRequest { barrier: pb::Barrier::Fleet.into(), ..request() },
            pb::SetRequest { source_version: Some(0), ..request() },
            pb::SetRequest { soft_ttl: Some(Default::default()), ..request() },
            pb::SetRequest { jitter: Some(0.0), ..request() },
            pb::SetRequest { tags: vec!["tag".into()], ..request() },
            pb::SetRequest { request_id: "1".into(), ..request() },
            pb::SetRequest { content: Some(Content::Value(vec![7; MAX_MESSAGE_BYTES].into())), ..request() },
        ];
        for other in others {
            assert_eq!(read(&body(&other.encode_to_vec())), None, "{other:?}");
        }
    }

    #[test]
    fn a_damaged_message_is_not_plain() {
        let message = request().encode_to_vec();
        let whole = body(&message);
        for length in 0..whole.len() {
            assert_eq!(read(&whole.slice(..length)), None, "{length} bytes");
        }
        let compressed: Bytes = [&[1], &whole[1..]].concat().into();
        // A second key or value, an unknown field, text that is not UTF-8, a wrong wire type, a bad duration.
        let suffixes: [&[u8]; 6] =
            [b"\x12\x01k", b"\x1a\x01v", b"\x7a\x00", b"\x2a\x01\xff", b"\x18\x01", b"\x32\x01\x08"];
        let longer = suffixes.map(|suffix| body(&[&message[..], suffix].concat()));
        for other in longer.iter().chain([&compressed]) {
            assert_eq!(read(other), None, "{other:?}");
        }
    }
}
