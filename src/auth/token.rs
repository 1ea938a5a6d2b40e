//! Tokens: 32 random bytes, of which the service knows only the SHA-256 hash.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::SecretString;

/// Bytes of a new token.
const TOKEN_BYTES: usize = 32;
/// Beginning of a hash in settings.
const SCHEME: &str = "sha256:";
/// Beginning of each new token, so that scanners for leaked secrets find it.
const PREFIX: &str = "twt_";

/// The SHA-256 hash of a token. It is not secret: a token has 256 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash(pub(super) [u8; 32]);

/// A new token, with its hash.
pub struct NewToken {
    /// The token.
    pub token: SecretString,
    /// Its hash.
    pub hash: TokenHash,
}

// === impl TokenHash ===

impl TokenHash {
    /// Form of a hash in settings, for errors.
    pub const FORM: &str = "sha256: and 64 hexadecimal digits";

    /// Hashes a token.
    pub fn of(token: &[u8]) -> TokenHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token).as_ref());
        TokenHash(hash)
    }

    /// Parses a hash. `None` if it has another form: the text may be a token, and is never shown.
    pub fn parse(text: &str) -> Option<TokenHash> {
        let digits = text.strip_prefix(SCHEME)?.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(TokenHash(hash))
    }

    /// Compares in constant time.
    pub fn matches(&self, other: &TokenHash) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl NewToken ===

impl NewToken {
    /// Creates a token. `None` if the system has no random bytes.
    pub fn create() -> Option<NewToken> {
        let mut bytes = [0; TOKEN_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        let token = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
        let hash = TokenHash::of(token.as_bytes());
        Some(NewToken { token: token.into(), hash })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_hash_is_that_of_sha256() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(TokenHash::of(b"").to_string(), empty);
        let parsed = TokenHash::parse(empty).expect("a hash");
        assert!(parsed.matches(&TokenHash::of(b"")) && !parsed.matches(&TokenHash::of(b"a")));
        assert_eq!(TokenHash::parse(&empty.to_uppercase().replace("SHA", "sha")), Some(parsed));
        for wrong in ["", "sha256:", &empty[7..], &empty[..70], &format!("{empty}0"), &empty.replace("b0", "+0")] {
            assert_eq!(TokenHash::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn new_tokens_differ_and_have_no_dots() {
        let (one, other) = (NewToken::create().expect("random bytes"), NewToken::create().expect("random bytes"));
        let [one_text, other_text] = [&one, &other].map(|new| new.token.expose_secret().to_owned());
        assert_ne!(one_text, other_text);
        assert!(one_text.len() > 43 && !one_text.contains('.'), "three parts would be a JWT");
        assert!(one.hash.matches(&TokenHash::of(one_text.as_bytes())));
        assert!(!format!("{:?}", one.token).contains(&one_text));
    }
}
