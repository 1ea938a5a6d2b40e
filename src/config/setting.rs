//! Description of one setting, for `config show` and the reference.

use std::fmt;
use std::path::PathBuf;

/// One setting, with the value in force and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Path, such as `l1.size`.
    pub path: String,
    /// Kind of value.
    pub kind: SettingKind,
    /// Valid values, as text: `from 1MiB to 1TiB`.
    pub expects: String,
    /// The value in force; `None` if there is none. Secrets are `<redacted>`.
    pub value: Option<String>,
    /// The value if nothing sets it; `None` if it is then absent.
    pub default: Option<String>,
    /// Origin of the value.
    pub origin: Origin,
    /// Environment variables that set it, the winning one first.
    pub variables: Vec<String>,
    /// Meaning of the setting.
    pub doc: &'static str,
}

/// Kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// A time with its unit: `250ms`.
    Duration,
    /// Bytes: `64MiB`.
    Size,
    /// A whole number.
    Count,
    /// A number: `2.5`.
    Number,
    /// A share: `0.001`.
    Share,
    /// `true` or `false`.
    Boolean,
    /// One of several words.
    Choice,
    /// Text.
    Text,
    /// Text that is never shown.
    Secret,
    /// A URL, whose user and password are never shown.
    Url,
    /// An address and port to listen on.
    Address,
    /// Path of a file.
    Path,
    /// A list, in a flag or variable as JSON.
    List,
    /// A list of hashes. A secret in place of one is never shown.
    Hashes,
}

/// Origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The default, because nothing sets it.
    Default,
    /// The value of another setting, because nothing sets it.
    Inherited(&'static str),
    /// A configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

/// Text in place of a secret.
pub const REDACTED: &str = "<redacted>";

// === impl Kind ===

impl SettingKind {
    /// True if a raw value may hold a secret.
    pub fn is_secret(self) -> bool {
        matches!(self, SettingKind::Secret | SettingKind::Url | SettingKind::Hashes)
    }

    /// True if the value is a list.
    pub fn is_list(self) -> bool {
        matches!(self, SettingKind::List | SettingKind::Hashes)
    }

    /// True if a file has to give the value as text, because a number or boolean would lose
    /// characters (`007`).
    pub fn is_text(self) -> bool {
        matches!(
            self,
            SettingKind::Choice
                | SettingKind::Text
                | SettingKind::Secret
                | SettingKind::Url
                | SettingKind::Address
                | SettingKind::Path
        )
    }
}

impl fmt::Display for SettingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SettingKind::Duration => "duration",
            SettingKind::Size => "size",
            SettingKind::Count => "count",
            SettingKind::Number => "number",
            SettingKind::Share => "share",
            SettingKind::Boolean => "boolean",
            SettingKind::Choice => "choice",
            SettingKind::Text => "text",
            SettingKind::Secret => "secret",
            SettingKind::Url => "url",
            SettingKind::Address => "address",
            SettingKind::Path => "path",
            SettingKind::List | SettingKind::Hashes => "list",
        })
    }
}

// === impl Origin ===

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Inherited(path) => write!(f, "as {path}"),
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}
