//! Files of secret keys: 32 bytes each, raw or as text.

use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretBox};

/// Bytes of a key.
pub const KEY_SIZE: usize = 32;
/// Most bytes that are read of a file.
const MAX_FILE_BYTES: u64 = 1024;

/// A secret key. `Debug` does not show it.
#[derive(Clone)]
pub struct SecretKey(Arc<SecretBox<[u8; KEY_SIZE]>>);

/// A file that is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("must be a readable file: {0}")]
    Unreadable(#[from] io::Error),
    /// The content is no key.
    #[error("must hold a key of 32 bytes: raw, as 64 hex digits, or in base64; it holds {0}")]
    NoKey(String),
}

// === impl SecretKey ===

impl SecretKey {
    /// Reads a file.
    pub fn read_file(path: &Path) -> Result<SecretKey, KeyFileError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES as usize + 1));
        File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        SecretKey::parse(&bytes)
    }

    /// Returns true if the permissions of a file let every user of the machine read it.
    pub fn is_readable_by_others(path: &Path) -> bool {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
    }

    /// Creates a key from its bytes.
    pub fn from_bytes(bytes: [u8; KEY_SIZE]) -> SecretKey {
        SecretKey(Arc::new(SecretBox::new(Box::new(bytes))))
    }

    /// Parses the content of a file.
    pub fn parse(bytes: &[u8]) -> Result<SecretKey, KeyFileError> {
        let is_hex = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
        if bytes.len() == KEY_SIZE && !is_hex(bytes) {
            return Self::of(bytes).ok_or_else(|| no_key(bytes));
        }
        let text = bytes.trim_ascii();
        let decoded = match text.len() {
            64 if is_hex(text) => from_hex(text),
            43 | 44 => [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
                .iter()
                .find_map(|engine| engine.decode(text).ok())
                .map(Zeroizing::new),
            _ => None,
        };
        decoded.and_then(|decoded| Self::of(&decoded)).ok_or_else(|| no_key(bytes))
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8; KEY_SIZE] {
        self.0.expose_secret()
    }

    fn of(bytes: &[u8]) -> Option<SecretKey> {
        bytes.try_into().ok().map(SecretKey::from_bytes)
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &SecretKey) -> bool {
        verify_slices_are_equal(self.expose(), other.expose()).is_ok()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(<redacted>)")
    }
}

/// Describes content that is no key without showing it.
fn no_key(bytes: &[u8]) -> KeyFileError {
    let size = bytes.len();
    KeyFileError::NoKey(match size {
        0 => "nothing".to_owned(),
        _ if size as u64 > MAX_FILE_BYTES => format!("more than {MAX_FILE_BYTES} bytes"),
        _ if bytes.trim_ascii().iter().all(u8::is_ascii_hexdigit) => {
            format!("{} hex digits", bytes.trim_ascii().len())
        }
        _ => format!("{size} bytes"),
    })
}

fn from_hex(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let byte = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    text.chunks_exact(2).map(byte).collect::<Option<Vec<u8>>>().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; KEY_SIZE] = *b"0123456789abcdefghijklmnopqrs\xff\n ";

    #[test]
    fn a_key_is_read_in_every_form() {
        let hex: String = KEY.iter().map(|byte| format!("{byte:02X}")).collect();
        let forms = [
            KEY.to_vec(),
            hex.clone().into_bytes(),
            format!("{}\n", hex.to_lowercase()).into_bytes(),
            STANDARD.encode(KEY).into_bytes(),
            format!("{}\r\n", STANDARD_NO_PAD.encode(KEY)).into_bytes(),
            URL_SAFE.encode(KEY).into_bytes(),
            URL_SAFE_NO_PAD.encode(KEY).into_bytes(),
        ];
        for form in forms {
            assert_eq!(SecretKey::parse(&form).expect("a key"), SecretKey::from_bytes(KEY), "{form:?}");
        }
    }

    #[test]
    fn anything_else_is_refused_without_showing_it() {
        let cases: [(&[u8], &str); 7] = [
            (b"", "nothing"),
            (b"short", "5 bytes"),
            (b"0123456789abcdef0123456789abcdef", "32 hex digits"),
            (b"0123456789abcdef0123456789abcdef\n", "32 hex digits"),
            (&[7; 33], "33 bytes"),
            (&[b'z'; 64], "64 bytes"),
            (&[b'z'; 2000], "more than 1024 bytes"),
        ];
        for (bytes, found) in cases {
            let error = SecretKey::parse(bytes).expect_err("no key").to_string();
            assert!(error.ends_with(&format!("it holds {found}")), "{error}");
        }
        assert_eq!(format!("{:?}", SecretKey::from_bytes(KEY)), "SecretKey(<redacted>)");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = SecretKey::read_file(Path::new("/nonexistent/key")).expect_err("missing").to_string();
        assert!(error.starts_with("must be a readable file: No such file"), "{error}");
    }
}
