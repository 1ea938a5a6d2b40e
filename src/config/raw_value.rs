//! Raw value of a source, before a setting parses it.

use super::setting::{Origin, REDACTED, SettingKind};

/// Raw value.
pub struct RawValue {
    /// The value as text.
    pub text: String,
    /// Syntax of the value.
    pub shape: ValueShape,
    /// Origin of the value.
    pub origin: Origin,
}

/// Syntax of a raw value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueShape {
    /// Text, or the value of a flag or variable.
    Text,
    /// A number or boolean of a file.
    Bare,
    /// A list, as JSON.
    List,
    /// A section without entries.
    Section,
    /// Null in YAML, or an empty variable.
    Nothing,
}

// === impl RawValue ===

impl RawValue {
    /// Parses the value with `parse`, if its syntax fits the kind.
    pub fn parse<T>(&self, kind: SettingKind, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
        match self.shape {
            ValueShape::List if kind.is_list() => parse(&self.text),
            ValueShape::Section | ValueShape::Bare if kind.is_list() => Err("must be a list".into()),
            ValueShape::List | ValueShape::Section => Err(format!("must be a single {kind}")),
            ValueShape::Bare if kind.is_text() => Err("must be text: put it in quotes".into()),
            _ if kind == SettingKind::Secret => parse(&self.text),
            _ => parse(self.text.trim()),
        }
    }

    /// Formats the value for a problem.
    pub fn shown(&self, kind: SettingKind) -> Option<String> {
        const LONGEST: usize = 80;
        Some(match self.shape {
            ValueShape::Text if kind == SettingKind::Url => format!("{:?}", url_without_secrets(self.text.trim())),
            _ if kind.is_secret() => REDACTED.into(),
            ValueShape::List => "a list".into(),
            ValueShape::Section => "a section".into(),
            ValueShape::Bare => self.text.clone(),
            ValueShape::Text | ValueShape::Nothing => match self.text.char_indices().nth(LONGEST) {
                Some((end, _)) => format!("{:?}...", &self.text[..end]),
                None => format!("{:?}", self.text),
            },
        })
    }
}

/// Redacts user and password of a URL, and drops its query. Redacts all of it if a password could
/// be elsewhere.
fn url_without_secrets(url: &str) -> String {
    let (url, query) = url.split_once('?').map_or((url, ""), |(url, _)| (url, "?..."));
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, _)| url.split_at(scheme.len() + 3));
    let (user, host) = rest.rsplit_once('@').map_or(("", rest), |(_, host)| ("<redacted>@", host));
    let is_scheme = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.:/".contains(&byte));
    if is_scheme && is_host_list(host) { format!("{scheme}{user}{host}{query}") } else { REDACTED.into() }
}

/// True if a text has only hosts and ports: a colon before anything but a port could begin a
/// password.
fn is_host_list(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:/,[]".contains(&byte));
    let mut behind_colons = text.split(':').skip(1);
    is_plain
        && behind_colons.all(|part| {
            part.starts_with(['/', '['])
                || part.starts_with(|c: char| c.is_ascii_digit())
                    && part
                        .split(['/', ','])
                        .next()
                        .is_some_and(|port| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_could_be_a_password() {
        for (url, shown) in [
            ("rediss//cache:6379", "rediss//cache:6379"),
            ("cache.example.com:6379", "cache.example.com:6379"),
            ("http://cache:6379/0", "http://cache:6379/0"),
            ("redis:/cache", "redis:/cache"),
            ("redis-sentinel://a:1,b:2?service=main", "redis-sentinel://a:1,b:2?..."),
            ("redis//user:hunter2@cache:6379", "<redacted>@cache:6379"),
            ("http://user:hunter2@cache:6379", "http://<redacted>@cache:6379"),
            ("http://user:hunt@er2@cache", "http://<redacted>@cache"),
            ("redis://:hunter2", REDACTED),
            ("user:hunter2", REDACTED),
            ("redis://cache:6379#hunter2", REDACTED),
            ("redis://cache:123456", REDACTED),
        ] {
            assert_eq!(url_without_secrets(url), shown, "{url}");
        }
    }
}
