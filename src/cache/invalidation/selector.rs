//! Selectors: prefix, tag, pattern or the whole namespace as the target of an invalidation.

use bytes::Bytes;

pub use super::pattern::Pattern;

/// Most segments of a prefix.
pub const MAX_SEGMENTS: usize = 16;

/// A selector of entries in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// All entries.
    Namespace,
    /// Entries below these segments, without a separator at the end.
    Prefix(Bytes),
    /// Entries with this tag.
    Tag(Bytes),
    /// Entries whose key matches.
    Pattern(Bytes),
}

impl Selector {
    /// Returns its bytes, as it was given.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Selector::Namespace => &[],
            Selector::Prefix(bytes) | Selector::Tag(bytes) | Selector::Pattern(bytes) => bytes,
        }
    }

    /// Copies it into memory of its own.
    pub fn compact(&self) -> Selector {
        match self {
            Selector::Namespace => Selector::Namespace,
            Selector::Prefix(bytes) => Selector::Prefix(Bytes::copy_from_slice(bytes)),
            Selector::Tag(bytes) => Selector::Tag(Bytes::copy_from_slice(bytes)),
            Selector::Pattern(bytes) => Selector::Pattern(Bytes::copy_from_slice(bytes)),
        }
    }
}

/// Returns true if `byte` ends a segment of a key.
fn separates(byte: &u8) -> bool {
    matches!(byte, b':' | b'/')
}

/// Returns a prefix without the separator at its end. `None` if it has no segment, or more than
/// [`MAX_SEGMENTS`].
pub fn normalized(prefix: &[u8]) -> Option<&[u8]> {
    let prefix = match prefix.split_last() {
        Some((last, rest)) if separates(last) => rest,
        _ => prefix,
    };
    let segments = 1 + prefix.iter().filter(|byte| separates(byte)).count();
    (!prefix.is_empty() && segments <= MAX_SEGMENTS).then_some(prefix)
}

/// Returns the prefixes that select `key`: the key itself, and each part before a separator. The
/// scripts have the same rule.
pub fn prefixes(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = key.iter().enumerate().filter(|(_, byte)| separates(byte)).map(|(end, _)| end).chain([key.len()]);
    ends.take(MAX_SEGMENTS).filter(|end| *end > 0).map(|end| &key[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str) -> Vec<&str> {
        prefixes(key.as_bytes()).map(|prefix| std::str::from_utf8(prefix).expect("cut at a separator")).collect()
    }

    #[test]
    fn the_prefixes_of_a_key_end_where_its_segments_do() {
        assert_eq!(of("user:42/posts"), ["user", "user:42", "user:42/posts"]);
        assert_eq!(of("user"), ["user"]);
        assert_eq!(of("user:"), ["user", "user:"]);
        assert_eq!(of("/a::b"), ["/a", "/a:", "/a::b"], "nothing is no prefix");
        assert_eq!(of(""), [""; 0]);
        assert_eq!(of("é:ü"), ["é", "é:ü"]);
    }

    #[test]
    fn a_prefix_has_at_most_sixteen_segments() {
        let deep = vec!["s"; 20].join("/");
        assert_eq!(of(&deep).len(), MAX_SEGMENTS);
        assert_eq!(of(&deep).last(), Some(&&*vec!["s"; 16].join("/")));
        assert!(normalized(vec!["s"; 16].join("/").as_bytes()).is_some());
        assert!(normalized(vec!["s"; 17].join("/").as_bytes()).is_none());
    }

    #[test]
    fn one_separator_at_the_end_of_a_prefix_changes_nothing() {
        for (given, compared) in [("user:42", Some("user:42")), ("user:42:", Some("user:42")), ("user/", Some("user"))]
        {
            assert_eq!(normalized(given.as_bytes()), compared.map(str::as_bytes), "{given}");
        }
        assert_eq!(normalized(b"user::"), Some(&b"user:"[..]), "the segment after it is empty");
        assert!([&b""[..], b":", b"/"].iter().all(|empty| normalized(empty).is_none()));
    }

    #[test]
    fn a_key_is_below_a_prefix_exactly_when_it_is_one_of_its_prefixes() {
        let below = |key: &str, prefix: &str| {
            let rest = key.strip_prefix(prefix);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
        };
        let words = ["a", "b", "ab", ":", "/", "a:", "a:b", "a:ab", "a/b", "a::b", "a:b:", "ab:a", ":a", "a:b/a"];
        for (key, prefix) in words.iter().flat_map(|key| words.map(|prefix| (*key, prefix))) {
            let selected = prefixes(key.as_bytes()).any(|candidate| candidate == prefix.as_bytes());
            assert_eq!(selected, below(key, prefix), "{key} below {prefix}");
        }
    }
}
