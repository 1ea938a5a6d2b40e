//! Patterns of keys: `*` matches any characters or none, `?` one, `\` takes the next as it is.
//!
//! A pattern is an automaton whose states are bits: state n has matched the first n parts. A byte
//! of the key moves all of them at once, a word of 64 at a time, so that no key and no pattern
//! makes matching slow: bytes of the key times one word per 64 parts.

use std::fmt;

/// A parsed pattern.
#[derive(Clone)]
pub struct Pattern {
    /// For each byte, the number of its row in `accepting`.
    rows: Box<[u16; 256]>,
    /// For each row, the states that advance with such a byte.
    accepting: Vec<Bits>,
    /// The states that stay with any byte: after a '*'.
    staying: Bits,
    /// The states that stay within a character: after a '?'.
    finishing: Bits,
    /// Number of parts, which is the state that has matched all.
    parts: usize,
}

type Bits = Box<[u64]>;

/// Error of a text that is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAPattern {
    /// It is empty.
    #[error("must not be empty")]
    Empty,
    /// A '\\' is its last character.
    #[error("must not end with a '\\' that takes nothing as it is")]
    Unfinished,
}

/// Rows of bytes that the pattern does not name: first bytes of a character, and continuation
/// bytes.
const BEGINS: u16 = 0;
const CONTINUES: u16 = 1;

// === impl Pattern ===

impl Pattern {
    /// Parses a pattern.
    pub fn new(text: &[u8]) -> Result<Pattern, NotAPattern> {
        let mut parts = Vec::new();
        let mut stars = vec![false];
        let mut rest = text.iter();
        while let Some(byte) = rest.next() {
            match byte {
                b'*' => {
                    *stars.last_mut().expect("never empty") = true;
                    continue;
                }
                b'?' => parts.push(None),
                b'\\' => parts.push(Some(*rest.next().ok_or(NotAPattern::Unfinished)?)),
                byte => parts.push(Some(*byte)),
            }
            stars.push(false);
        }
        if text.is_empty() {
            return Err(NotAPattern::Empty);
        }
        Ok(Pattern::of(&parts, &stars))
    }

    fn of(parts: &[Option<u8>], stars: &[bool]) -> Pattern {
        let words = stars.len().div_ceil(64);
        let bits = |numbers: &mut dyn Iterator<Item = usize>| {
            let mut bits = vec![0u64; words].into_boxed_slice();
            numbers.for_each(|number| bits[number / 64] |= 1 << (number % 64));
            bits
        };
        let accepting = |byte: Option<u8>, any: bool| {
            let accepts = |part: &Option<u8>| part.map_or(any, |part| Some(part) == byte);
            bits(&mut parts.iter().enumerate().filter(|(_, part)| accepts(part)).map(|(number, _)| number))
        };
        let mut rows = Box::new([BEGINS; 256]);
        let mut table = vec![accepting(None, true), accepting(None, false)];
        for byte in 0..=255u8 {
            if parts.contains(&Some(byte)) {
                rows[usize::from(byte)] = table.len() as u16;
                table.push(accepting(Some(byte), !continues_character(byte)));
            } else if continues_character(byte) {
                rows[usize::from(byte)] = CONTINUES;
            }
        }
        let staying = bits(&mut stars.iter().enumerate().filter(|(_, star)| **star).map(|(number, _)| number));
        let after = parts.iter().enumerate().filter(|(_, part)| part.is_none()).map(|(number, _)| number + 1);
        let finishing = bits(&mut { after });
        Pattern { rows, accepting: table, staying, finishing, parts: parts.len() }
    }

    /// Returns true if it matches every key.
    pub fn is_everything(&self) -> bool {
        self.parts == 0
    }

    /// Returns true if it matches all of `key`.
    pub fn matches(&self, key: &[u8]) -> bool {
        let mut states = vec![0u64; self.staying.len()];
        states[0] = 1;
        for byte in key {
            let accepting = &self.accepting[usize::from(self.rows[usize::from(*byte)])];
            let mut carried = 0;
            for (word, state) in states.iter_mut().enumerate() {
                let moving = *state & accepting[word];
                let stays = self.staying[word] | if continues_character(*byte) { self.finishing[word] } else { 0 };
                *state = (moving << 1) | carried | (*state & stays);
                carried = moving >> 63;
            }
        }
        states[self.parts / 64] & (1 << (self.parts % 64)) != 0
    }
}

/// Returns true if `byte` continues a character of UTF-8.
fn continues_character(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pattern").field("parts", &self.parts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, key: &str) -> bool {
        Pattern::new(pattern.as_bytes()).expect("a pattern").matches(key.as_bytes())
    }

    /// The definition as a reference implementation.
    fn naive(pattern: &[char], key: &[char]) -> bool {
        match (pattern, key) {
            (['*', rest @ ..], _) => naive(rest, key) || (!key.is_empty() && naive(pattern, &key[1..])),
            (['?', rest @ ..], [_, left @ ..]) => naive(rest, left),
            (['\\', one, rest @ ..], [first, left @ ..]) => one == first && naive(rest, left),
            ([one, rest @ ..], [first, left @ ..]) if *one != '?' && *one != '\\' => one == first && naive(rest, left),
            ([], []) => true,
            _ => false,
        }
    }

    #[test]
    fn stars_and_question_marks_stand_for_characters() {
        for (pattern, key, expected) in [
            ("user:*:posts", "user:42:posts", true),
            ("user:*:posts", "user::posts", true),
            ("user:*:posts", "user:42:posts:1", false),
            ("*", "", true),
            ("**", "anything", true),
            ("?", "é", true),
            ("?", "日", true),
            ("?", "éé", false),
            ("a?", "a", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("\\?\\\\", "?\\", true),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "ac", false),
        ] {
            assert_eq!(matches(pattern, key), expected, "{pattern} and {key}");
        }
    }

    #[test]
    fn a_text_that_is_no_pattern_is_refused() {
        assert_eq!(Pattern::new(b"").err(), Some(NotAPattern::Empty));
        assert_eq!(Pattern::new(b"a\\").err(), Some(NotAPattern::Unfinished));
        assert!(Pattern::new(b"a\\\\").is_ok());
        assert!(Pattern::new(b"***").is_ok_and(|pattern| pattern.is_everything()));
        assert!(Pattern::new(b"*?").is_ok_and(|pattern| !pattern.is_everything()));
    }

    #[test]
    fn no_key_and_no_pattern_makes_matching_slow() {
        let key = "a".repeat(8192);
        let hard =
            [format!("{}b", "a*".repeat(127)), format!("*{}b", "a".repeat(254)), format!("{}b", "*?".repeat(127))];
        let (done, end) = mpsc::channel();
        std::thread::spawn(move || {
            for pattern in hard {
                let pattern = Pattern::new(pattern.as_bytes()).expect("a pattern");
                done.send(pattern.matches(key.as_bytes())).expect("awaited");
            }
        });
        // A backtracking matcher would not end.
        for _ in 0..3 {
            assert_eq!(end.recv_timeout(Duration::from_secs(60)), Ok(false));
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_definition(
            pattern in proptest::collection::vec(prop_oneof!["a", "b", "é", "\\*", "\\?", r"\\a", r"\\\*"], 1..12),
            key in "[ab\\*é日]{0,12}",
        ) {
            let pattern = pattern.concat();
            let (chars, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), key.chars().collect());
            prop_assert_eq!(matches(&pattern, &key), naive(&chars, &text), "{} and {}", pattern, key);
        }

        #[test]
        fn a_long_pattern_matches_the_key_it_was_made_from(key in "[ab:]{100,300}", stars in proptest::collection::vec(0usize..100, 0..8)) {
            let mut pattern: Vec<char> = key.chars().collect();
            stars.iter().for_each(|at| pattern[*at] = if at % 2 == 0 { '*' } else { '?' });
            let pattern: String = pattern.into_iter().collect();
            prop_assert!(matches(&pattern, &key));
        }
    }
}
