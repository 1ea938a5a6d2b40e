//! Methods of the reader, one per kind of setting: each call declares path, default, limits and
//! meaning.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;

use super::reader::{Declaration, Fallback, Reader};
use super::setting::{REDACTED, SettingKind};
use crate::units::{Ratio, format_duration, format_size, parse_duration, parse_share, parse_size};

/// Longest path of a unix socket: `sun_path` of Linux, less the byte that ends it.
const MAX_SOCKET_PATH_BYTES: usize = 107;

impl Reader {
    /// A duration within limits.
    pub fn duration(
        &mut self,
        path: &str,
        default: impl Into<Fallback<Duration>>,
        limits: RangeInclusive<Duration>,
        doc: &'static str,
    ) -> Duration {
        let expects = range(&limits, |limit| format_duration(*limit));
        let parse = |text: &str| within(parse_duration(text).map_err(rule)?, &limits, &expects);
        self.read(declare(path, SettingKind::Duration, &expects, doc), default.into(), parse, |value| {
            Some(format_duration(*value))
        })
    }

    /// A size in bytes within limits.
    pub fn size(
        &mut self,
        path: &str,
        default: impl Into<Fallback<u64>>,
        limits: RangeInclusive<u64>,
        doc: &'static str,
    ) -> u64 {
        let expects = range(&limits, |limit| format_size(*limit));
        let parse = |text: &str| within(parse_size(text).map_err(rule)?, &limits, &expects);
        self.read(declare(path, SettingKind::Size, &expects, doc), default.into(), parse, |value| {
            Some(format_size(*value))
        })
    }

    /// A share of a whole.
    pub fn share(&mut self, path: &str, default: Ratio, doc: &'static str) -> Ratio {
        let parse = |text: &str| parse_share(text).map_err(rule);
        self.read(declare(path, SettingKind::Share, "from 0 to 1", doc), default.into(), parse, |value| {
            Some(value.to_string())
        })
    }

    /// A whole number within limits.
    pub fn count<T>(
        &mut self,
        path: &str,
        default: impl Into<Fallback<T>>,
        limits: RangeInclusive<T>,
        doc: &'static str,
    ) -> T
    where
        T: FromStr + PartialOrd + Display,
    {
        let expects = format!("a whole number {}", range(&limits, T::to_string));
        let parse = |text: &str| within(text.parse().map_err(|_| format!("must be {expects}"))?, &limits, &expects);
        self.read(declare(path, SettingKind::Count, &expects, doc), default.into(), parse, |value| {
            Some(value.to_string())
        })
    }

    /// A number within limits, not necessarily whole.
    pub fn number(
        &mut self,
        path: &str,
        default: impl Into<Fallback<f64>>,
        limits: RangeInclusive<f64>,
        doc: &'static str,
    ) -> f64 {
        let expects = format!("a number {}", range(&limits, f64::to_string));
        let parse = |text: &str| within(text.parse().map_err(|_| format!("must be {expects}"))?, &limits, &expects);
        self.read(declare(path, SettingKind::Number, &expects, doc), default.into(), parse, |value| {
            Some(value.to_string())
        })
    }

    /// True or false.
    pub fn boolean(&mut self, path: &str, default: impl Into<Fallback<bool>>, doc: &'static str) -> bool {
        let parse = |text: &str| text.parse().map_err(|_| "must be true or false".to_owned());
        self.read(declare(path, SettingKind::Boolean, "true or false", doc), default.into(), parse, |value| {
            Some(value.to_string())
        })
    }

    /// One of several words.
    pub fn choice<T>(
        &mut self,
        path: &str,
        default: impl Into<Fallback<T>>,
        words: &[(&str, T)],
        doc: &'static str,
    ) -> T
    where
        T: Copy + PartialEq,
    {
        let expects = format!("one of {}", words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", "));
        let find = |text: &str| words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        let parse = |text: &str| find(text).ok_or_else(|| format!("must be {expects}"));
        let show = |value: &T| words.iter().find(|(_, known)| known == value).map(|(word, _)| (*word).to_owned());
        self.read(declare(path, SettingKind::Choice, &expects, doc), default.into(), parse, show)
    }

    /// Text of a certain form.
    pub fn text(
        &mut self,
        path: &str,
        default: &str,
        expects: &str,
        valid: fn(&str) -> bool,
        doc: &'static str,
    ) -> String {
        let parse = |text: &str| valid(text).then(|| text.to_owned()).ok_or_else(|| format!("must be {expects}"));
        self.read(declare(path, SettingKind::Text, expects, doc), default.to_owned().into(), parse, |value| {
            Some(value.clone())
        })
    }

    /// Optional text.
    pub fn optional_text(&mut self, path: &str, doc: &'static str) -> Option<String> {
        let parse = |text: &str| filled(text).map(|text| Some(text.to_owned()));
        self.read(declare(path, SettingKind::Text, "text", doc), None.into(), parse, Clone::clone)
    }

    /// Optional secret.
    pub fn secret(&mut self, path: &str, doc: &'static str) -> Option<SecretString> {
        let parse = |text: &str| filled(text).map(|text| Some(text.into()));
        self.read(declare(path, SettingKind::Secret, "text", doc), None.into(), parse, |value| {
            value.as_ref().map(|_| REDACTED.into())
        })
    }

    /// Optional URL. `Display` of the type must show no secret.
    pub fn url<T: Display>(
        &mut self,
        path: &str,
        expects: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
        doc: &'static str,
    ) -> Option<T> {
        let show = |value: &Option<T>| value.as_ref().map(T::to_string);
        self.read(declare(path, SettingKind::Url, expects, doc), None.into(), |text| parse(text).map(Some), show)
    }

    /// An address and port to listen on.
    pub fn address(&mut self, path: &str, default: SocketAddr, doc: &'static str) -> SocketAddr {
        let expects = "an IP address and port, such as 127.0.0.1:50051 or [::]:50051";
        let parse = |text: &str| text.parse().map_err(|_| format!("must be {expects}"));
        self.read(declare(path, SettingKind::Address, expects, doc), default.into(), parse, |value| {
            Some(value.to_string())
        })
    }

    /// Optional address and port to listen on.
    pub fn optional_address(&mut self, path: &str, doc: &'static str) -> Option<SocketAddr> {
        let expects = "an IP address and port, such as 127.0.0.1:50051 or [::]:50051";
        let parse = |text: &str| text.parse().map(Some).map_err(|_| format!("must be {expects}"));
        let show = |value: &Option<SocketAddr>| value.as_ref().map(SocketAddr::to_string);
        self.read(declare(path, SettingKind::Address, expects, doc), None.into(), parse, show)
    }

    /// Optional list.
    pub fn list(&mut self, path: &str, doc: &'static str) -> Vec<serde_json::Value> {
        let parse = |text: &str| serde_json::from_str(text).map_err(|_| "must be a list; as text, in JSON".to_owned());
        let show = |list: &Vec<serde_json::Value>| (!list.is_empty()).then(|| serde_json::json!(list).to_string());
        self.read(declare(path, SettingKind::List, "a list", doc), Vec::new().into(), parse, show)
    }

    /// Optional list of texts.
    pub fn texts(&mut self, path: &str, expects: &str, doc: &'static str) -> Vec<String> {
        let parse =
            |text: &str| serde_json::from_str(text).map_err(|_| "must be a list of texts; as text, in JSON".to_owned());
        let show = |list: &Vec<String>| (!list.is_empty()).then(|| serde_json::json!(list).to_string());
        self.read(declare(path, SettingKind::List, expects, doc), Vec::new().into(), parse, show)
    }

    /// Optional path of a file.
    pub fn path(&mut self, path: &str, doc: &'static str) -> Option<PathBuf> {
        let parse = |text: &str| filled(text).map(|text| Some(PathBuf::from(text)));
        let show = |value: &Option<PathBuf>| value.as_ref().map(|path| path.display().to_string());
        self.read(declare(path, SettingKind::Path, "path of a file", doc), None.into(), parse, show)
    }

    /// Optional path of a file; empty text is none.
    pub fn file(&mut self, path: &str, doc: &'static str) -> Option<PathBuf> {
        let parse = |text: &str| Ok((!text.is_empty()).then(|| PathBuf::from(text)));
        let show = |value: &Option<PathBuf>| value.as_ref().map(|path| path.display().to_string());
        self.read(declare(path, SettingKind::Path, "path of a file", doc), None.into(), parse, show)
    }

    /// Optional path of a unix socket, short enough for the system.
    pub fn socket(&mut self, path: &str, doc: &'static str) -> Option<PathBuf> {
        let expects = format!("path of a socket, 1 to {MAX_SOCKET_PATH_BYTES} bytes");
        let fits = |text: &str| (1..=MAX_SOCKET_PATH_BYTES).contains(&text.len()) && !text.contains(char::is_control);
        let parse = |text: &str| fits(text).then(|| Some(text.into())).ok_or_else(|| format!("must be the {expects}"));
        let show = |value: &Option<PathBuf>| value.as_ref().map(|path| path.display().to_string());
        self.read(declare(path, SettingKind::Path, &expects, doc), None.into(), parse, show)
    }

    /// Permissions of a file, as octal text.
    pub fn file_mode(&mut self, path: &str, default: u32, doc: &'static str) -> u32 {
        let expects = "permissions in octal, from 0000 to 0777";
        let is_octal =
            |text: &str| (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let parse = |text: &str| {
            let mode = is_octal(text).then(|| u32::from_str_radix(text, 8).ok()).flatten();
            mode.filter(|mode| *mode <= 0o777).ok_or_else(|| format!("must be {expects}"))
        };
        self.read(declare(path, SettingKind::Text, expects, doc), default.into(), parse, |mode| {
            Some(format!("{mode:04o}"))
        })
    }
}

fn declare<'a>(path: &'a str, kind: SettingKind, expects: &str, doc: &'static str) -> Declaration<'a> {
    Declaration { path, kind, expects: expects.to_owned(), doc }
}

fn rule(error: impl Display) -> String {
    error.to_string()
}

fn range<T>(limits: &RangeInclusive<T>, show: impl Fn(&T) -> String) -> String {
    format!("from {} to {}", show(limits.start()), show(limits.end()))
}

fn within<T: PartialOrd>(value: T, limits: &RangeInclusive<T>, expects: &str) -> Result<T, String> {
    if limits.contains(&value) { Ok(value) } else { Err(format!("must be {expects}")) }
}

fn filled(text: &str) -> Result<&str, String> {
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(text) }
}
