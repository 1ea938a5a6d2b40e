//! Limits of a request. Whatever exceeds one is refused with the field, the size sent and the limit.

use super::namespace_policy::NamespacePolicy;
use crate::cache::error::Violation;
use crate::cache::invalidation::selector;
use crate::cache::invalidation::selector::{MAX_SEGMENTS, Pattern};
use crate::cache::quoted::{quoted, quoted_bytes};

/// Longest namespace name, bytes.
pub const MAX_NAMESPACE_BYTES: usize = 64;
/// Longest content type, bytes.
pub const MAX_CONTENT_TYPE_BYTES: usize = 255;
/// Longest identity of a request, bytes.
pub const MAX_REQUEST_ID_BYTES: usize = 64;
/// Longest token, bytes: room for a position in each of the most partitions a deployment may have.
pub const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// Configurable limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest key, bytes.
    pub key_size: usize,
    /// Largest value, bytes.
    pub value_size: usize,
    /// Most keys in one request.
    pub keys: usize,
    /// Most tokens in one request.
    pub tokens: usize,
    /// Most namespaces a replica keeps account of.
    pub namespaces: usize,
    /// Most tags of an entry, and in one Invalidate.
    pub tags: usize,
    /// Longest tag, bytes; at most 255.
    pub tag_size: usize,
    /// Longest pattern, bytes.
    pub pattern_size: usize,
    /// Prefixes and tags of a namespace whose invalidations are remembered one by one at least.
    pub tombstones: usize,
    /// Bytes of the prefixes and tags of all namespaces whose invalidations are remembered one by one.
    pub tombstone_bytes: usize,
    /// Most memory that the structure of a request takes once it is decoded, bytes.
    pub decoded_size: usize,
    /// Most watches of a replica at once.
    pub watches: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            key_size: 1024,
            value_size: 1024 * 1024,
            keys: 1000,
            tokens: 16,
            namespaces: 256,
            tags: 16,
            tag_size: 128,
            pattern_size: 256,
            tombstones: 10_000,
            tombstone_bytes: 64 << 20,
            decoded_size: 16 << 20,
            watches: 256,
        }
    }
}

impl Limits {
    /// A key must be 1 to `key_size` bytes.
    pub fn key(&self, field: &str, key: &[u8]) -> Result<(), Violation> {
        match key.len() {
            0 => Err(Violation::new(field, "must not be empty")),
            len if len > self.key_size => Err(Violation::too_large(field, len, self.key_size, "bytes")),
            _ => Ok(()),
        }
    }

    /// There may be at most `tags` tags.
    pub fn tags(&self, field: &str, tags: usize) -> Result<(), Violation> {
        match tags > self.tags {
            true => Err(Violation::too_large(field, tags, self.tags, "tags")),
            false => Ok(()),
        }
    }

    /// A prefix must have 1 to 16 segments, and be at most as long as a key.
    pub fn prefix<'a>(&self, field: &str, prefix: &'a [u8]) -> Result<&'a [u8], Violation> {
        // One separator at the end does not count.
        if prefix.len() > self.key_size + 1 {
            return Err(Violation::too_large(field, prefix.len(), self.key_size, "bytes"));
        }
        let segments =
            || format!("must have 1 to {MAX_SEGMENTS} segments, separated by ':' or '/'; was {}", quoted_bytes(prefix));
        selector::normalized(prefix).ok_or_else(|| Violation::new(field, segments()))
    }

    /// A pattern must be 1 to `pattern_size` bytes, and end no '\\' with nothing.
    pub fn pattern(&self, field: &str, pattern: &[u8]) -> Result<Pattern, Violation> {
        if pattern.len() > self.pattern_size {
            return Err(Violation::too_large(field, pattern.len(), self.pattern_size, "bytes"));
        }
        Pattern::new(pattern).map_err(|rule| Violation::new(field, format!("{rule}; was {}", quoted_bytes(pattern))))
    }

    /// A value may be empty, and at most `value_size` bytes, or as many as its namespace allows.
    pub fn value(&self, field: &str, value: &[u8], policy: &NamespacePolicy) -> Result<(), Violation> {
        let limit = policy.max_value_size.min(self.value_size as u64) as usize;
        match value.len() > limit {
            true => Err(Violation::too_large(field, value.len(), limit, "bytes")),
            false => Ok(()),
        }
    }

    /// A tag must be 1 to `tag_size` bytes.
    pub fn tag(&self, field: &str, tag: &[u8]) -> Result<(), Violation> {
        match tag.len() {
            0 => Err(Violation::new(field, "must not be empty")),
            len if len > self.tag_size => Err(Violation::too_large(field, len, self.tag_size, "bytes")),
            _ => Ok(()),
        }
    }
}

/// A namespace is 1 to 64 characters of `[a-z0-9._-]`, beginning and ending with a letter or digit.
pub fn namespace(field: &str, name: &str) -> Result<(), Violation> {
    if name.len() > MAX_NAMESPACE_BYTES {
        return Err(Violation::too_large(field, name.len(), MAX_NAMESPACE_BYTES, "bytes"));
    }
    let alphanumeric = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let allowed = |c: &u8| alphanumeric(c) || matches!(c, b'.' | b'_' | b'-');
    let bytes = name.as_bytes();
    let ends = bytes.first().is_some_and(alphanumeric) && bytes.last().is_some_and(alphanumeric);
    match ends && bytes.iter().all(allowed) {
        true => Ok(()),
        false => Err(Violation::new(
            field,
            format!("must be of [a-z0-9._-], beginning and ending with a letter or digit; was {}", quoted(name)),
        )),
    }
}

/// A content type is at most 255 bytes of printable ASCII.
pub fn content_type(field: &str, value: &str) -> Result<(), Violation> {
    if value.len() > MAX_CONTENT_TYPE_BYTES {
        return Err(Violation::too_large(field, value.len(), MAX_CONTENT_TYPE_BYTES, "bytes"));
    }
    match value.bytes().all(|c| (b' '..=b'~').contains(&c)) {
        true => Ok(()),
        false => Err(Violation::new(field, format!("must be printable ASCII; was {}", quoted(value)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_lower_case_words() {
        for good in ["a", "default", "user.profiles", "a-b_c.9"] {
            assert_eq!(namespace("namespace", good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a b", "a:b", "a{b}", "é", &"a".repeat(65)] {
            assert!(namespace("namespace", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_violation_names_what_was_sent_and_the_limit() {
        let limits = Limits { key_size: 3, ..Limits::default() };
        let violation = limits.key("key", b"long").expect_err("too long");
        assert_eq!(violation.field, "key");
        assert_eq!(violation.description, "must be at most 3 bytes; was 4 bytes");
    }
}
