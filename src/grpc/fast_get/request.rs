//! Requests that can be answered at once: plain headers, a small message, and a key of a namespace.

use http::{HeaderMap, HeaderValue};
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::grpc::request_body::PREFIX_BYTES;
use crate::grpc::request_headers::{REQUEST_ID, echoed_id, header_memory, parse_timeout};

/// Maximum size of a message. A larger one is measured field by field.
pub(super) const MAX_MESSAGE_BYTES: usize = 4 << 10;

/// Texts of a plain Get: namespace and key.
pub(super) const TEXTS: usize = 2;

/// Headers of a request that can be answered at once.
pub(super) struct PlainHeaders {
    /// The request id that the response repeats.
    pub request_id: Option<HeaderValue>,
    /// Memory of the headers.
    pub memory: usize,
}

/// A Get of a key, without options.
#[derive(Debug, PartialEq, Eq)]
pub struct PlainGet<'a> {
    /// Name of the namespace.
    pub namespace: &'a str,
    /// The key.
    pub key: &'a str,
}

// === impl PlainHeaders ===

impl PlainHeaders {
    /// Reads the headers. Returns `None` if one of them asks for more than the plain way.
    pub fn read(headers: &HeaderMap, compresses: bool) -> Option<PlainHeaders> {
        let (mut memory, mut is_grpc, mut has_timeout, mut has_request_id) = (0, false, false, false);
        for (name, value) in headers {
            memory += header_memory(name, value);
            match name.as_str() {
                "content-type" if !is_grpc && is_plain_type(value) => is_grpc = true,
                "content-type" | "grpc-encoding" => return None,
                "grpc-accept-encoding" if compresses => return None,
                // The answer does not depend on a valid timeout: it comes at once.
                "grpc-timeout" if !has_timeout => {
                    value.to_str().ok().and_then(parse_timeout)?;
                    has_timeout = true;
                }
                _ => has_request_id |= name == REQUEST_ID,
            }
        }
        let request_id = if has_request_id { echoed_id(headers) } else { None };
        is_grpc.then_some(PlainHeaders { request_id, memory })
    }
}

fn is_plain_type(value: &HeaderValue) -> bool {
    matches!(value.as_bytes(), b"application/grpc" | b"application/grpc+proto")
}

// === impl PlainGet ===

impl<'a> PlainGet<'a> {
    /// Reads the body of a request. Returns `None` for everything but one message that is not
    /// compressed, small, and has each of the known fields at most once.
    pub fn read(body: &'a [u8]) -> Option<PlainGet<'a>> {
        let (prefix, mut message) = body.split_at_checked(PREFIX_BYTES)?;
        let [0, length @ ..] = <[u8; PREFIX_BYTES]>::try_from(prefix).ok()? else { return None };
        if message.len() > MAX_MESSAGE_BYTES || u32::from_be_bytes(length) as usize != message.len() {
            return None;
        }
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
}

/// Takes a text with its length.
fn text<'a>(message: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(decode_varint(message).ok()?).ok()?;
    let (text, rest) = message.split_at_checked(length)?;
    *message = rest;
    std::str::from_utf8(text).ok()
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

    #[test]
    fn headers_that_change_the_answer_are_not_plain() {
        let plain = |more: &[(&'static str, &'static str)], compresses| {
            let mut headers = HeaderMap::new();
            for (name, value) in more {
                headers.append(*name, HeaderValue::from_static(value));
            }
            PlainHeaders::read(&headers, compresses).is_some()
        };
        let grpc = ("content-type", "application/grpc");
        let accepts = ("grpc-accept-encoding", "gzip");
        assert!(plain(&[grpc], true) && plain(&[("content-type", "application/grpc+proto")], true));
        assert!(plain(&[grpc, ("te", "trailers"), ("grpc-timeout", "5S"), ("x-request-id", "1")], true));
        assert!(plain(&[grpc, accepts], false) && !plain(&[grpc, accepts], true));
        for other in [
            &[][..],
            &[grpc, grpc],
            &[("content-type", "application/grpc; charset=utf-8")],
            &[grpc, ("grpc-encoding", "identity")],
            &[grpc, ("grpc-timeout", "5")],
            &[grpc, ("grpc-timeout", "5S"), ("grpc-timeout", "6S")],
        ] {
            assert_eq!(plain(other, false), other.len() == 3, "{other:?}");
        }
    }
}
