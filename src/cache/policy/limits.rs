//! Limits of a request. A violation names the field, the size sent and the limit.

use super::namespace_policy::NamespacePolicy;
use crate::cache::error::Violation;
use crate::cache::invalidation::selector;
use crate::cache::invalidation::selector::{MAX_SEGMENTS, Pattern};
use crate::cache::quoted::{quoted, quoted_bytes};

/// Most bytes of a namespace name.
pub const MAX_NAMESPACE_BYTES: usize = 64;
/// Most bytes of a content type.
pub const MAX_CONTENT_TYPE_BYTES: usize = 255;
/// Most bytes of a request id.
pub const MAX_REQUEST_ID_BYTES: usize = 64;
/// Most bytes of a token: room for a position in each of the most partitions a deployment may have.
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
    /// Most namespaces that a replica registers.
    pub namespaces: usize,
    /// Most tags of an entry, and in one Invalidate.
    pub tags: usize,
    /// Longest tag, bytes; at most 255.
    pub tag_size: usize,
    /// Longest pattern, bytes.
    pub pattern_size: usize,
    /// Prefixes and tags whose invalidations a namespace keeps one by one, at least.
    pub tombstones: usize,
    /// Most bytes of prefixes and tags in the invalidation logs of all namespaces.
    pub tombstone_bytes: usize,
    /// Most memory of the structure of a decoded request, bytes.
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
            decoded_size: 32 << 20,
            watches: 256,
        }
    }
}

impl Limits {
    /// Checks a key: 1 to `key_size` bytes.
    pub fn key(&self, field: &str, key: &[u8]) -> Result<(), Violation> {
        match key.len() {
            0 => Err(Violation::new(field, "must not be empty")),
            len if len > self.key_size => Err(Violation::too_large(field, len, self.key_size, "bytes")),
            _ => Ok(()),
        }
    }

    /// Checks the number of tags: at most `tags`.
    pub fn tags(&self, field: &str, tags: usize) -> Result<(), Violation> {
        if tags > self.tags { Err(Violation::too_large(field, tags, self.tags, "tags")) } else { Ok(()) }
    }

    /// Checks a prefix: 1 to 16 segments, and at most as long as a key.
    pub fn prefix<'a>(&self, field: &str, prefix: &'a [u8]) -> Result<&'a [u8], Violation> {
        // One separator at the end does not count.
        if prefix.len() > self.key_size + 1 {
            return Err(Violation::too_large(field, prefix.len(), self.key_size, "bytes"));
        }
        let segments =
            || format!("must have 1 to {MAX_SEGMENTS} segments, separated by ':' or '/'; was {}", quoted_bytes(prefix));
        selector::normalized(prefix).ok_or_else(|| Violation::new(field, segments()))
    }

    /// Checks a pattern: 1 to `pattern_size` bytes, and no '\\' at the end.
    pub fn pattern(&self, field: &str, pattern: &[u8]) -> Result<Pattern, Violation> {
        if pattern.len() > self.pattern_size {
            return Err(Violation::too_large(field, pattern.len(), self.pattern_size, "bytes"));
        }
        Pattern::new(pattern).map_err(|rule| Violation::new(field, format!("{rule}; was {}", quoted_bytes(pattern))))
    }

    /// Checks a value: at most `value_size` bytes, and at most what its namespace allows. It may be
    /// empty.
    pub fn value(&self, field: &str, value: &[u8], policy: &NamespacePolicy) -> Result<(), Violation> {
        let limit = policy.max_value_size.min(self.value_size as u64) as usize;
        if value.len() > limit { Err(Violation::too_large(field, value.len(), limit, "bytes")) } else { Ok(()) }
    }

    /// Checks a tag: 1 to `tag_size` bytes.
    pub fn tag(&self, field: &str, tag: &[u8]) -> Result<(), Violation> {
        match tag.len() {
            0 => Err(Violation::new(field, "must not be empty")),
            len if len > self.tag_size => Err(Violation::too_large(field, len, self.tag_size, "bytes")),
            _ => Ok(()),
        }
    }
}

/// Checks a namespace name: 1 to 64 characters of `[a-z0-9._-]`, beginning and ending with a letter
/// or digit.
pub fn namespace(field: &str, name: &str) -> Result<(), Violation> {
    if name.len() > MAX_NAMESPACE_BYTES {
        return Err(Violation::too_large(field, name.len(), MAX_NAMESPACE_BYTES, "bytes"));
    }
    let alphanumeric = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let allowed = |c: &u8| alphanumeric(c) || matches!(c, b'.' | b'_' | b'-');
    let bytes = name.as_bytes();
    let ends = bytes.first().is_some_and(alphanumeric) && bytes.last().is_some_and(alphanumeric);
    if ends && bytes.iter().all(allowed) {
        return Ok(());
    }
    Err(Violation::new(
        field,
        format!("must be of [a-z0-9._-], beginning and ending with a letter or digit; was {}", quoted(name)),
    ))
}

/// Checks a content type: at most 255 bytes of printable ASCII.
pub fn content_type(field: &str, value: &str) -> Result<(), Violation> {
    if value.len() > MAX_CONTENT_TYPE_BYTES {
        return Err(Violation::too_large(field, value.len(), MAX_CONTENT_TYPE_BYTES, "bytes"));
    }
    if value.bytes().all(|c| (b' '..=b'~').contains(&c)) {
        return Ok(());
    }
    Err(Violation::new(field, format!("must be printable ASCII; was {}", quoted(value))))
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
