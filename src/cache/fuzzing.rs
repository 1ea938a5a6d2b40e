//! Targets of fuzzing in the core: patterns and tokens.

use crate::cache::invalidation::pattern::Pattern;
use crate::cache::token::Token;
use crate::cache::version::Version;

/// Partitions of the tokens.
const PARTITIONS: u16 = 64;

/// A pattern, and after a line end a key.
pub fn pattern(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (text, key) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let Ok(pattern) = Pattern::new(text) else { return };
    let matches = pattern.matches(key);
    assert!(matches || !pattern.is_everything(), "everything matches");
    let is_literal = !text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'\\'));
    assert!(!is_literal || matches == (text == key), "a text matches itself only");
}

/// Seeds of `pattern`.
pub fn pattern_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let seed = |name, text: &str| (name, text.as_bytes().to_vec());
    vec![
        seed("prefix", "user:*\nuser:42"),
        seed("middle", "a*b?c\naxxbyc"),
        seed("escaped", "a\\*b\\\\\na*b\\"),
        seed("everything", "***\n"),
        seed("text", "user:42\nuser:42"),
        seed("letters", "é?日\néü日"),
    ]
}

/// The text of a token.
pub fn token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(token) = Token::decode(text, PARTITIONS) else { return };
    let again = Token::decode(&token.encode(PARTITIONS), PARTITIONS).expect("its own text");
    for partition in 0..PARTITIONS {
        assert_eq!(again.position(partition), token.position(partition));
    }
    assert!(token.partitions().all(|partition| partition < PARTITIONS));
}

/// Seeds of `token`.
pub fn token_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut token = Token::at(7, Version::new(1_700_000_000_000_000, 42));
    let one = token.encode(PARTITIONS).into_bytes();
    token.add(63, Version::new(9, 1));
    vec![("one", one), ("two", token.encode(PARTITIONS).into_bytes()), ("empty", Vec::new())]
}
