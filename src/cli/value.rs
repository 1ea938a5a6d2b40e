//! Output of a value: exact bytes for programs, safe text for terminals, lossless in JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::cli::units;

/// Formats a value for a terminal: the text with a newline at the end, or a placeholder for bytes
/// that would disturb the terminal.
pub(super) fn for_terminal(value: &[u8], content_type: &str) -> String {
    match std::str::from_utf8(value) {
        Ok("") => String::new(),
        Ok(text) if text.ends_with('\n') && is_plain(text) => text.to_owned(),
        Ok(text) if is_plain(text) => format!("{text}\n"),
        _ => {
            let content_type = if content_type.is_empty() { "unknown" } else { content_type };
            format!("<{} of binary, content type {content_type}; use --raw>\n", units::bytes(value.len()))
        }
    }
}

/// Puts bytes into a JSON document: as `<name>` when they are UTF-8, otherwise as `<name>_base64`.
pub(super) fn into_json(name: &str, bytes: &[u8], document: &mut Map<String, Value>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => document.insert(name.to_owned(), text.into()),
        Err(_) => document.insert(format!("{name}_base64"), STANDARD.encode(bytes).into()),
    };
}

fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_as_it_is_and_ends_its_line() {
        assert_eq!(for_terminal("a\tö\nb".as_bytes(), ""), "a\tö\nb\n");
        assert_eq!(for_terminal(b"line\n", "text/plain"), "line\n");
        assert_eq!(for_terminal(b"", ""), "");
    }

    #[test]
    fn what_would_disturb_a_terminal_is_described() {
        assert_eq!(for_terminal(b"\x1b[2J", "text/plain"), "<4 bytes of binary, content type text/plain; use --raw>\n");
        assert_eq!(for_terminal(b"\xff", ""), "<1 byte of binary, content type unknown; use --raw>\n");
        assert!(for_terminal("\u{9b}2J".as_bytes(), "").starts_with("<4 bytes"));
    }

    #[test]
    fn json_carries_every_value() {
        let mut document = Map::new();
        into_json("value", "\u{0}ö".as_bytes(), &mut document);
        into_json("value", b"\xff\x00", &mut document);
        assert_eq!(Value::Object(document).to_string(), r#"{"value":"\u0000ö","value_base64":"/wA="}"#);
    }
}
