//! One line of a batch file, a JSON object: parsed into a Set.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::cli::args::parse_duration;
use crate::cli::units;
use crate::pb;
use crate::pb::set_request::{Condition, Content, Expiry};

/// Parses one line. Errors are text for people.
pub(super) fn parse(line: &str) -> Result<pb::SetRequest, String> {
    let Value::Object(fields) = serde_json::from_str(line).map_err(|error| format!("is not JSON: {error}"))? else {
        return Err("is not a JSON object".to_owned());
    };
    let mut fields = Fields(fields);
    let request = pb::SetRequest {
        key: fields.text("key")?.ok_or("has no key")?,
        content: Some(content(&mut fields)?),
        content_type: fields.text("content_type")?.unwrap_or_default(),
        expiry: expiry(&mut fields)?,
        condition: condition(&mut fields)?,
        soft_ttl: fields.duration("soft_ttl")?,
        tags: fields.texts("tags")?,
        source_version: fields.number("source_version")?,
        request_id: fields.text("request_id")?.unwrap_or_default(),
        ..Default::default()
    };
    match fields.0.keys().next() {
        Some(unknown) => Err(format!("has an unknown field {unknown:?}")),
        None => Ok(request),
    }
}

fn content(fields: &mut Fields) -> Result<Content, String> {
    let value = fields.text("value")?.map(|value| Content::Value(value.into()));
    let decode = |text: String| STANDARD.decode(text).map_err(|error| format!("value_base64: {error}"));
    let bytes = fields.text("value_base64")?.map(decode).transpose()?.map(|bytes| Content::Value(bytes.into()));
    let absent = fields.flag("absent")?.then_some(Content::KnownAbsent(pb::KnownAbsent {}));
    one_of([value, bytes, absent], "value, value_base64 and absent")?.ok_or("has no value".to_owned())
}

fn expiry(fields: &mut Fields) -> Result<Option<Expiry>, String> {
    let ttl = fields.duration("ttl")?.map(Expiry::Ttl);
    let time = |text: String| text.parse().map(Expiry::ExpireTime).map_err(|_| "expire_at is no time".to_owned());
    let expire_at = fields.text("expire_at")?.map(time).transpose()?;
    let no_expiry = fields.flag("no_expiry")?.then_some(Expiry::NoExpiry(pb::NoExpiry {}));
    one_of([ttl, expire_at, no_expiry], "ttl, expire_at and no_expiry")
}

fn condition(fields: &mut Fields) -> Result<Option<Condition>, String> {
    let if_absent = fields.flag("if_absent")?.then_some(Condition::IfAbsent(pb::IfAbsent {}));
    let if_present = fields.flag("if_present")?.then_some(Condition::IfPresent(pb::IfPresent {}));
    let if_version = fields.text("if_version")?.map(Condition::IfVersion);
    one_of([if_absent, if_present, if_version], "if_absent, if_present and if_version")
}

fn one_of<T>(given: [Option<T>; 3], names: &str) -> Result<Option<T>, String> {
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (_, Some(_)) => Err(format!("has more than one of {names}")),
        (one, None) => Ok(one),
    }
}

/// Fields of a line that are not read yet.
struct Fields(Map<String, Value>);

impl Fields {
    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{name} is no text")),
        }
    }

    fn texts(&mut self, name: &str) -> Result<Vec<String>, String> {
        let Some(value) = self.0.remove(name) else { return Ok(Vec::new()) };
        let texts = value.as_array().map(|list| list.iter().map(|text| text.as_str().map(str::to_owned)).collect());
        texts.flatten().ok_or(format!("{name} is no list of texts"))
    }

    fn flag(&mut self, name: &str) -> Result<bool, String> {
        match self.0.remove(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(format!("{name} is neither true nor false")),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<u64>, String> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        value.as_u64().map(Some).ok_or(format!("{name} is no whole number"))
    }

    fn duration(&mut self, name: &str) -> Result<Option<prost_types::Duration>, String> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        parse_duration(&text).map(|duration| Some(units::to_wire(duration))).map_err(|error| format!("{name}: {error}"))
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
            (r#"{"key":"k","value":1}"#, "value is no text"),
            (r#"{"key":"k","value":"v","absent":true}"#, "more than one of value"),
            (r#"{"key":"k","value":"v","ttl":"5"}"#, "ttl: "),
            (r#"{"key":"k","value":"v","tags":"a"}"#, "tags is no list"),
            (r#"{"key":"k","value":"v","tll":"5m"}"#, r#"unknown field "tll""#),
        ] {
            let refusal = parse(line).expect_err(line);
            assert!(refusal.contains(says), "{line}: {refusal}");
        }
    }
}
