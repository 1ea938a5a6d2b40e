//! The JSON line of an exported entry, which an import reads.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use crate::cli::{units, value};
use crate::pb;
use crate::pb::exported_entry::Content;
use crate::units::format_duration;

/// Shortest time that a line names: times are in milliseconds.
const MILLISECOND: Duration = Duration::from_millis(1);

/// Formats an entry. With `received_at`, its end is a time, else the time that is left.
pub(super) fn line(entry: &pb::ExportedEntry, received_at: Option<SystemTime>) -> String {
    let mut line = Map::new();
    line.insert("namespace".to_owned(), entry.namespace.as_str().into());
    line.insert("key".to_owned(), entry.key.as_str().into());
    match &entry.content {
        Some(Content::Value(bytes)) => value::into_json("value", bytes, &mut line),
        Some(Content::KnownAbsent(_)) | None => _ = line.insert("absent".to_owned(), true.into()),
    }
    put_lifetime(&mut line, entry, received_at);
    if !entry.content_type.is_empty() {
        line.insert("content_type".to_owned(), entry.content_type.as_str().into());
    }
    if !entry.tags.is_empty() {
        line.insert("tags".to_owned(), json!(entry.tags));
    }
    if let Some(version) = entry.source_version {
        line.insert("source_version".to_owned(), version.into());
    }
    line.insert("version".to_owned(), entry.version.as_str().into());
    format!("{}\n", Value::Object(line))
}

fn put_lifetime(line: &mut Map<String, Value>, entry: &pb::ExportedEntry, received_at: Option<SystemTime>) {
    let left = |wire| units::from_wire(wire).max(MILLISECOND);
    let text = |duration| Value::from(format_duration(duration));
    let ttl = entry.ttl.map(left);
    let sliding = entry.sliding.as_ref().and_then(|sliding| Some((left(sliding.idle?), sliding.max_ttl.map(left))));
    // Close to its last end, reads do not extend it any more.
    let sliding = sliding.filter(|(idle, longest)| longest.is_none_or(|longest| longest >= *idle));
    match (sliding, ttl, received_at) {
        (Some((idle, longest)), _, _) => {
            line.insert("sliding".to_owned(), json!({ "idle": format_duration(idle) }));
            if let Some(longest) = longest {
                line["sliding"]["max_ttl"] = text(longest);
            }
        }
        (None, Some(ttl), Some(at)) => {
            let ends_at = prost_types::Timestamp::from(at + ttl);
            line.insert("expire_at".to_owned(), ends_at.to_string().into());
        }
        (None, Some(ttl), None) => _ = line.insert("ttl".to_owned(), text(ttl)),
        (None, None, _) => _ = line.insert("no_expiry".to_owned(), true.into()),
    }
    if line.contains_key("ttl") || line.contains_key("sliding") {
        // The life is not shortened again.
        line.insert("jitter".to_owned(), 0.into());
    }
    let soft = entry.soft_ttl.map(left).filter(|soft| ttl.is_none_or(|ttl| *soft < ttl));
    if let Some(soft) = soft {
        line.insert("soft_ttl".to_owned(), text(soft));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::entry_line;
    use crate::pb::set_request;

    fn millis(millis: u64) -> Option<prost_types::Duration> {
        Some(units::to_wire(Duration::from_millis(millis)))
    }

    fn entry(content: Content) -> pb::ExportedEntry {
        let (namespace, key, version) = ("n".to_owned(), "k\n".to_owned(), "1-2".to_owned());
        pb::ExportedEntry { namespace, key, version, content: Some(content), ..Default::default() }
    }

    /// Returns the Set that an import sends.
    fn imported(line: &str) -> pb::SetRequest {
        let mut fields = entry_line::Fields::parse(line).expect("an object");
        assert_eq!(fields.text("namespace").expect("text").as_deref(), Some("n"));
        assert_eq!(fields.text("version").expect("text").as_deref(), Some("1-2"));
        fields.into_set().expect("an import reads what an export wrote")
    }

    #[test]
    fn a_line_has_all_of_an_entry() {
        let entry = pb::ExportedEntry {
            content_type: "text/plain".into(),
            ttl: millis(299_999),
            soft_ttl: millis(0),
            tags: vec!["a".into(), "b".into()],
            source_version: Some(u64::MAX),
            ..entry(Content::Value(b"\xff\0"[..].into()))
        };
        let set = imported(&line(&entry, None));
        assert_eq!((set.key.as_str(), set.content_type.as_str()), ("k\n", "text/plain"));
        assert_eq!(set.content, Some(set_request::Content::Value(b"\xff\0"[..].into())));
        assert_eq!(set.expiry, millis(299_999).map(set_request::Expiry::Ttl));
        assert_eq!((set.soft_ttl, set.jitter), (millis(1), Some(0.0)), "it stays due for refresh");
        assert_eq!((set.tags.len(), set.source_version), (2, Some(u64::MAX)));
    }

    #[test]
    fn an_end_is_a_duration_a_time_or_none() {
        let absent = entry(Content::KnownAbsent(pb::KnownAbsent {}));
        let set = imported(&line(&absent, None));
        assert_eq!(set.expiry, Some(set_request::Expiry::NoExpiry(pb::NoExpiry {})));
        assert_eq!(set.content, Some(set_request::Content::KnownAbsent(pb::KnownAbsent {})));
        let ends = pb::ExportedEntry { ttl: millis(1500), ..absent.clone() };
        let set = imported(&line(&ends, Some(SystemTime::UNIX_EPOCH)));
        let time = prost_types::Timestamp { seconds: 1, nanos: 500_000_000 };
        assert_eq!((set.expiry, set.jitter), (Some(set_request::Expiry::ExpireTime(time)), None));
        let sliding = |max_ttl| pb::ExportedEntry {
            ttl: millis(1000),
            sliding: Some(pb::Sliding { idle: millis(2000), max_ttl: millis(max_ttl) }),
            ..absent.clone()
        };
        let expected = pb::Sliding { idle: millis(2000), max_ttl: millis(2000) };
        assert_eq!(imported(&line(&sliding(2000), None)).expiry, Some(set_request::Expiry::Sliding(expected)));
        assert_eq!(imported(&line(&sliding(1999), None)).expiry, millis(1000).map(set_request::Expiry::Ttl));
    }
}
