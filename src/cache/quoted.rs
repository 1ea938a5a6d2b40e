//! Caller input as errors and log lines show it: short, on one line, and marked if cut.

/// Most bytes of a quotation, without its quotes. Longer input is cut.
pub const MAX_QUOTED_BYTES: usize = 64;

/// Returns `text` in double quotes. Quotes and characters that do not print are escaped. Longer
/// text is cut at a character, and followed by an ellipsis and its whole length.
pub fn quoted(text: &str) -> String {
    quoted_part(text, text.len())
}

/// Returns bytes in double quotes, like `quoted`. Those that are not UTF-8 become replacement
/// characters.
pub fn quoted_bytes(bytes: &[u8]) -> String {
    // More than a quotation holds: escapes only make it longer.
    let part = &bytes[..bytes.len().min(2 * MAX_QUOTED_BYTES)];
    quoted_part(&String::from_utf8_lossy(part), bytes.len())
}

/// Returns a number in at most 24 characters. A plain `f64` can be longer: `1e308` has 309 digits.
pub fn short_number(value: f64) -> String {
    let plain = value == 0.0 || (1e-4..1e16).contains(&value.abs()) || !value.is_finite();
    if plain { value.to_string() } else { format!("{value:e}") }
}

fn quoted_part(text: &str, whole_size: usize) -> String {
    let mut shown = String::with_capacity(MAX_QUOTED_BYTES + 2);
    shown.push('"');
    for character in text.chars() {
        let before = shown.len();
        match character {
            // Escaped by `char`, needlessly within double quotes.
            '\'' => shown.push('\''),
            other => shown.extend(other.escape_debug()),
        }
        if shown.len() > MAX_QUOTED_BYTES + 1 {
            shown.truncate(before);
            return format!("{shown}…\" ({whole_size} bytes)");
        }
    }
    shown.push('"');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_is_quoted_whole_and_on_one_line() {
        assert_eq!(quoted(""), r#""""#);
        assert_eq!(quoted("it's \"é\"\n\0\u{202e}"), r#""it's \"é\"\n\0\u{202e}""#);
        assert_eq!(quoted(&"x".repeat(64)), format!("{:?}", "x".repeat(64)));
        assert_eq!(quoted_bytes(b"a\xffb"), "\"a\u{fffd}b\"");
    }

    #[test]
    fn long_text_is_cut_at_a_character_and_says_so() {
        assert_eq!(quoted(&"x".repeat(65)), format!("\"{}…\" (65 bytes)", "x".repeat(64)));
        // 21 characters of 3 bytes fit.
        assert_eq!(quoted(&"€".repeat(30)), format!("\"{}…\" (90 bytes)", "€".repeat(21)));
        // An escape is shown whole or not at all.
        assert_eq!(quoted(&"\u{1f}".repeat(1_000_000)), format!("\"{}…\" (1000000 bytes)", "\\u{1f}".repeat(10)));
        assert_eq!(quoted_bytes(&[0xff; 5000]), format!("\"{}…\" (5000 bytes)", "\u{fffd}".repeat(21)));
    }

    #[test]
    fn a_number_is_short() {
        for (value, text) in [(0.7, "0.7"), (-0.0, "-0"), (2.0, "2"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
            assert_eq!(short_number(value), text);
        }
        assert_eq!(short_number(f64::MAX), "1.7976931348623157e308");
        assert_eq!(short_number(-5e-324), "-5e-324");
        assert_eq!(short_number(10_000_000.0), "10000000");
    }
}
