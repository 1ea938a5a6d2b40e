//! Messages of plain Gets: the key of a namespace.

use prost::encoding::{WireType, decode_key};

use crate::grpc::plain_call::{plain_message, text};

/// Maximum size of a message. A larger one is measured field by field.
pub(super) const MAX_MESSAGE_BYTES: usize = 4 << 10;

/// Texts of a plain Get: namespace and key.
pub(super) const TEXTS: usize = 2;

/// A Get of a key, without options.
#[derive(Debug, PartialEq, Eq)]
pub struct PlainGet<'a> {
    /// Name of the namespace.
    pub namespace: &'a str,
    /// The key.
    pub key: &'a str,
}

// === impl PlainGet ===

impl<'a> PlainGet<'a> {
    /// Reads the body of a request. Returns `None` for everything but one message that is not
    /// compressed, small, and has each of the known fields at most once.
    pub fn read(body: &'a [u8]) -> Option<PlainGet<'a>> {
        let mut message = plain_message(body, MAX_MESSAGE_BYTES)?;
        let [mut namespace, mut key] = [None, None];
        while !message.is_empty() {
            match decode_key(&mut message).ok()? {
                (1, WireType::LengthDelimited) if namespace.is_none() => namespace = Some(text(&mut message)?),
                (2, WireType::LengthDelimited) if key.is_none() => key = Some(text(&mut message)?),
                _ => return None,
            }
        }
        Some(PlainGet { namespace: namespace.unwrap_or_default(), key: key? })
    }

    /// Returns the bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        self.namespace.len() + self.key.len()
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::pb;

    fn body(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).expect("a small message").to_be_bytes();
        [&[0][..], &length, message].concat()
    }

    fn request() -> pb::GetRequest {
        pb::GetRequest { namespace: "n".into(), key: "user:42".into(), ..Default::default() }
    }

    #[test]
    fn a_get_without_options_is_plain() {
        let plain = |request: &pb::GetRequest| PlainGet::read(&body(&request.encode_to_vec())).is_some();
        let encoded = body(&request().encode_to_vec());
        assert_eq!(PlainGet::read(&encoded), Some(PlainGet { namespace: "n", key: "user:42" }));
        assert!(plain(&pb::GetRequest { namespace: String::new(), ..request() }));
        let others = [
            pb::GetRequest { key: String::new(), ..request() },
            // It may not be the default of the namespace.
            pb::GetRequest { consistency: pb::Consistency::Bounded.into(), ..request() },
            pb::GetRequest { max_staleness: Some(Default::default()), ..request() },
            pb::GetRequest { tokens: vec!["1.64".into()], ..request() },
            pb::GetRequest { metadata_only: true, ..request() },
            pb::GetRequest { lease: Some(Default::default()), ..request() },
            pb::GetRequest { stale_if_error: true, ..request() },
            pb::GetRequest { key: "k".repeat(MAX_MESSAGE_BYTES), ..request() },
        ];
        for other in others {
            assert!(!plain(&other), "{other:?}");
        }
    }

    #[test]
    fn what_is_not_exactly_one_message_of_known_fields_is_not_plain() {
        let message = request().encode_to_vec();
        let whole = body(&message);
        for length in 0..whole.len() {
            assert_eq!(PlainGet::read(&whole[..length]), None, "{length} bytes");
        }
        let mut compressed = whole.clone();
        compressed[0] = 1;
        // A second key, an unknown field, text that is not UTF-8, a wrong wire type, a group.
        let suffixes: [&[u8]; 5] = [b"\x12\x01k", b"\x7a\x00", b"\x0a\x01\xff", b"\x18", b"\x13\x14"];
        let longer = suffixes.map(|suffix| body(&[&message[..], suffix].concat()));
        let trailing = [&whole[..], b"\0"].concat();
        for other in longer.iter().chain([&compressed, &trailing]) {
            assert_eq!(PlainGet::read(other), None, "{other:?}");
        }
        assert_eq!(PlainGet::read(&body(b"\x12\x01\xff")), None);
        assert_eq!(PlainGet::read(&body(b"\x10\x01")), None);
    }
}
