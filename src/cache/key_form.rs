//! Form of keys where people read them: in the log and on the dashboard.

use super::key::KeyRef;

/// Form of keys in the log and on the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// Hash that tells keys apart and does not reveal them.
    Hashed,
    /// Plain text.
    Clear,
}

impl KeyForm {
    /// Formats a key.
    pub fn format(self, key: KeyRef<'_>) -> String {
        match self {
            KeyForm::Hashed => format!("#{:016x}", key.digest()),
            KeyForm::Clear => key.bytes.escape_ascii().to_string(),
        }
    }
}
