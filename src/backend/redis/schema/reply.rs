//! Parts of replies: status word, numbers, bytes.

use bytes::Bytes;
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
