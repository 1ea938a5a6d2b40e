//! One JSON line that describes an entry: parsed into a Set.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::args::parse_duration;
use super::units;
use crate::pb;
use crate::pb::set_request::{Condition, Content, Expiry};

/// Most characters of a value that an error repeats.
const MAX_SHOWN: usize = 64;

/// Fields of a line that are not read yet.
pub(super) struct Fields(Map<String, Value>);

/// Parses one line. Errors are text for people.
pub(super) fn parse(line: &str) -> Result<pb::SetRequest, String> {
    Fields::parse(line)?.into_set()
}

fn content(fields: &mut Fields) -> Result<Content, String> {
    let value = fields.text("value")?.map(|value| Content::Value(value.into()));
    let decode = |value: &Value| STANDARD.decode(value.as_str()?).ok();
    let bytes = fields.take("value_base64", "base64", decode)?.map(|bytes| Content::Value(bytes.into()));
    let absent = fields.flag("absent")?.then_some(Content::KnownAbsent(pb::KnownAbsent {}));
    one_of([value, bytes, absent], "value, value_base64 and absent")?.ok_or("has no value".to_owned())
}

fn expiry(fields: &mut Fields) -> Result<Option<Expiry>, String> {
    let ttl = fields.duration("ttl")?.map(Expiry::Ttl);
    let time = |value: &Value| value.as_str()?.parse().ok().map(Expiry::ExpireTime);
    let expire_at = fields.take("expire_at", "a time, such as 2030-01-01T00:00:00Z", time)?;
    let no_expiry = fields.flag("no_expiry")?.then_some(Expiry::NoExpiry(pb::NoExpiry {}));
    one_of([ttl, expire_at, no_expiry, sliding(fields)?], "ttl, expire_at, no_expiry and sliding")
}

fn sliding(fields: &mut Fields) -> Result<Option<Expiry>, String> {
    let Some(mut fields) = fields.object("sliding")? else { return Ok(None) };
    let in_sliding = |error: String| format!("sliding.{error}");
    let idle = fields.duration("idle").map_err(in_sliding)?;
    let max_ttl = fields.duration("max_ttl").map_err(in_sliding)?;
    match fields.0.keys().next() {
        Some(unknown) => Err(format!("sliding has an unknown field {unknown:?}")),
        None if idle.is_none() => Err("sliding has no idle".to_owned()),
        None => Ok(Some(Expiry::Sliding(pb::Sliding { idle, max_ttl }))),
    }
}

fn condition(fields: &mut Fields) -> Result<Option<Condition>, String> {
    let if_absent = fields.flag("if_absent")?.then_some(Condition::IfAbsent(pb::IfAbsent {}));
    let if_present = fields.flag("if_present")?.then_some(Condition::IfPresent(pb::IfPresent {}));
    let if_version = fields.text("if_version")?.map(Condition::IfVersion);
    one_of([if_absent, if_present, if_version], "if_absent, if_present and if_version")
}

fn one_of<T, const N: usize>(given: [Option<T>; N], names: &str) -> Result<Option<T>, String> {
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (_, Some(_)) => Err(format!("has more than one of {names}")),
        (one, None) => Ok(one),
    }
}

// === impl Fields ===

impl Fields {
    pub fn parse(line: &str) -> Result<Fields, String> {
        match serde_json::from_str(line).map_err(|error| format!("is not JSON: {error}"))? {
            Value::Object(fields) => Ok(Fields(fields)),
            _ => Err("is not a JSON object".to_owned()),
        }
    }

    /// Reads the Set. No other field may be left.
    pub fn into_set(mut self) -> Result<pb::SetRequest, String> {
        let fields = &mut self;
        let request = pb::SetRequest {
            key: fields.text("key")?.ok_or("has no key")?,
            content: Some(content(fields)?),
            content_type: fields.text("content_type")?.unwrap_or_default(),
            expiry: expiry(fields)?,
            condition: condition(fields)?,
            soft_ttl: fields.duration("soft_ttl")?,
            jitter: fields.take("jitter", "a number", Value::as_f64)?,
            tags: fields.texts("tags")?,
            source_version: fields.take("source_version", "a whole number", Value::as_u64)?,
            request_id: fields.text("request_id")?.unwrap_or_default(),
            ..Default::default()
        };
        match self.0.keys().next() {
            Some(unknown) => Err(format!("has an unknown field {unknown:?}")),
            None => Ok(request),
        }
    }

    pub fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        self.take(name, "text", |value| value.as_str().map(str::to_owned))
    }

    fn texts(&mut self, name: &str) -> Result<Vec<String>, String> {
        let texts = |value: &Value| value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect();
        self.take(name, "a list of texts", texts).map(Option::unwrap_or_default)
    }

    fn flag(&mut self, name: &str) -> Result<bool, String> {
        self.take(name, "true or false", Value::as_bool).map(Option::unwrap_or_default)
    }

    fn duration(&mut self, name: &str) -> Result<Option<prost_types::Duration>, String> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let wrong = |rule| format!("{name} {rule}; was {}", shown(&text.as_str().into()));
        parse_duration(&text).map(|duration| Some(units::to_wire(duration))).map_err(wrong)
    }

    fn object(&mut self, name: &str) -> Result<Option<Fields>, String> {
        self.take(name, "an object", |value| value.as_object().map(|fields| Fields(fields.clone())))
    }

    /// Takes a field, which has to be `rule`.
    fn take<T>(&mut self, name: &str, rule: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>, String> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        read(&value).map(Some).ok_or_else(|| format!("{name} must be {rule}; was {}", shown(&value)))
    }
}

/// Formats a value for an error.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_set() {
        let line = r#"{"key":"k","value":"v","ttl":"5m","if_absent":true,"tags":["a","b"],"source_version":7}"#;
        let request = parse(line).expect("valid");
        assert_eq!((request.key.as_str(), request.tags.len(), request.source_version), ("k", 2, Some(7)));
        assert_eq!(request.content, Some(Content::Value("v".into())));
        assert_eq!(request.expiry, Some(Expiry::Ttl(prost_types::Duration { seconds: 300, nanos: 0 })));
        assert_eq!(request.condition, Some(Condition::IfAbsent(pb::IfAbsent {})));
        let bytes = parse(r#"{"key":"k","value_base64":"/wA="}"#).expect("valid").content;
        assert_eq!(bytes, Some(Content::Value(b"\xff\x00"[..].into())));
        let absent = parse(r#"{"key":"k","absent":true,"expire_at":"2030-01-01T00:00:00Z"}"#).expect("valid");
        assert_eq!(absent.content, Some(Content::KnownAbsent(pb::KnownAbsent {})));
    }

    #[test]
    fn the_error_of_a_line_is_reported() {
        for (line, says) in [
            ("", "is not JSON"),
            ("[]", "is not a JSON object"),
            (r#"{"value":"v"}"#, "has no key"),
            (r#"{"key":"k"}"#, "has no value"),
            (r#"{"key":"k","value":1}"#, "value must be text; was 1"),
            (r#"{"key":"k","value":"v","absent":true}"#, "more than one of value"),
            (r#"{"key":"k","value":"v","ttl":"5"}"#, r#"; was "5""#),
            (r#"{"key":"k","value":"v","ttl":"5m","sliding":{"idle":"1m"}}"#, "more than one of ttl"),
            (r#"{"key":"k","value":"v","sliding":{"max_ttl":"1m"}}"#, "sliding has no idle"),
            (r#"{"key":"k","value":"v","sliding":{"idle":"x"}}"#, "sliding.idle must be a duration"),
            (r#"{"key":"k","value_base64":"?"}"#, r#"value_base64 must be base64; was "?""#),
            (r#"{"key":"k","value":"v","tags":"a"}"#, r#"tags must be a list of texts; was "a""#),
            (r#"{"key":"k","value":"v","tll":"5m"}"#, r#"unknown field "tll""#),
        ] {
            let refusal = parse(line).expect_err(line);
            assert!(refusal.contains(says), "{line}: {refusal}");
        }
    }
}
