//! Replies, and parts of them: status word, numbers, bytes.

use bytes::Bytes;
use fred::prelude::{Error, ErrorKind, FredResult};
use fred::types::Value;

/// The status word of a script's reply.
pub fn status(reply: &[Value]) -> Option<&str> {
    reply.first().and_then(Value::as_bytes).and_then(|bytes| std::str::from_utf8(bytes).ok())
}

/// A number of a script's reply.
pub fn number(reply: &[Value], index: usize) -> Option<i64> {
    reply.get(index).and_then(Value::as_i64)
}

/// The bytes of a reply, without copying them.
pub fn bytes(value: Value) -> Option<Bytes> {
    value.into_bytes()
}

/// Decodes the first reply in `rest`, a part of `replies`, and removes it from `rest`.
///
/// `None` if the bytes are no complete reply of the commands of trips: blob, number, status, error,
/// null, or a list of them.
pub fn decode_reply(replies: &Bytes, rest: &mut &[u8]) -> Option<FredResult<Value>> {
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    let (line, after) = (rest.get(1..end)?, &rest[end + 2..]);
    let kind = rest[0];
    let length = || std::str::from_utf8(line).ok()?.parse::<usize>().ok();
    *rest = after;
    Some(match kind {
        b'$' => {
            let (blob, after) = after.split_at_checked(length()?)?;
            *rest = after.strip_prefix(b"\r\n")?;
            Ok(Value::Bytes(owned(replies, blob)))
        }
        b':' => Ok(Value::Integer(std::str::from_utf8(line).ok()?.parse().ok()?)),
        b'_' => Ok(Value::Null),
        b'+' => Ok(Value::String(std::str::from_utf8(line).ok()?.into())),
        b'-' => Err(Error::new(ErrorKind::Unknown, String::from_utf8_lossy(line).into_owned())),
        b'*' => {
            let values = (0..length()?).map(|_| decode_reply(replies, rest));
            values.collect::<Option<FredResult<Vec<Value>>>>()?.map(Value::Array)
        }
        _ => return None,
    })
}

/// The bytes of a blob, which keep no other blob of `replies` alive.
fn owned(replies: &Bytes, blob: &[u8]) -> Bytes {
    if 2 * blob.len() > replies.len() { replies.slice_ref(blob) } else { Bytes::copy_from_slice(blob) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_decoded_one_after_the_other() {
        let replies = Bytes::from_static(
            b"$3\r\na\r\n\r\n:-2\r\n_\r\n*2\r\n$1\r\nb\r\n_\r\n-MOVED 1 a:2\r\n+OK\r\n$9\r\nshort\r\n",
        );
        let mut rest = &replies[..];
        let mut next = || decode_reply(&replies, &mut rest);
        let bytes = |bytes: &'static str| Value::Bytes(Bytes::from_static(bytes.as_bytes()));
        let expected = [bytes("a\r\n"), Value::Integer(-2), Value::Null, Value::Array(vec![bytes("b"), Value::Null])];
        for value in expected {
            assert_eq!(next().and_then(Result::ok), Some(value));
        }
        let refused = next().and_then(Result::err).map(|error| error.details().to_owned());
        assert_eq!(refused.as_deref(), Some("MOVED 1 a:2"));
        assert_eq!(next().and_then(Result::ok), Some(Value::String("OK".into())));
        assert!(next().is_none(), "it is not complete");
    }
}
