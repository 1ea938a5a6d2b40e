//! JSON of the messages of the contract, by their descriptors: each field has the contract's name.
//!
//! A duration is in seconds, in `<field>_seconds`; bytes are text in `<field>`, or in
//! `<field>_base64` if they are not UTF-8. An enum is its name without the prefix. A field that is
//! not set is null; a member of a oneof that is not set is left out.

use std::sync::LazyLock;

use prost::Name;
use prost_reflect::{DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, ReflectMessage};
use serde_json::{Map, Value};

use super::{units, value};
use crate::pb;

/// Descriptors of the contract. Empty if they cannot be read, which a test rules out.
static CONTRACT: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).unwrap_or_default());

const DURATION: &str = "google.protobuf.Duration";
const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// Formats a message: every field by its name.
pub(super) fn fields<M: Name>(message: &M) -> Map<String, Value> {
    let descriptor = CONTRACT.get_message_by_name(&M::full_name());
    let encoded = message.encode_to_vec();
    let message = descriptor.and_then(|descriptor| DynamicMessage::decode(descriptor, &*encoded).ok());
    message.as_ref().map(object).unwrap_or_default()
}

/// Formats a message as a document.
pub(super) fn document<M: Name>(message: &M) -> Value {
    Value::Object(fields(message))
}

fn object(message: &DynamicMessage) -> Map<String, Value> {
    let mut object = Map::new();
    for field in message.descriptor().fields() {
        let is_set = message.has_field(&field);
        let is_choice = field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic());
        if is_choice && !is_set {
            continue;
        }
        let is_absent = field.supports_presence() && !is_set;
        match &*message.get_field(&field) {
            prost_reflect::Value::Bytes(bytes) => value::into_json(field.name(), bytes, &mut object),
            _ if is_absent => _ = object.insert(name(&field), Value::Null),
            present => _ = object.insert(name(&field), shown(&field, present)),
        }
    }
    object
}

fn name(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(message) if message.full_name() == DURATION => format!("{}_seconds", field.name()),
        _ => field.name().to_owned(),
    }
}

fn shown(field: &FieldDescriptor, value: &prost_reflect::Value) -> Value {
    match value {
        prost_reflect::Value::Bool(flag) => (*flag).into(),
        prost_reflect::Value::I32(number) => (*number).into(),
        prost_reflect::Value::I64(number) => (*number).into(),
        prost_reflect::Value::U32(number) => (*number).into(),
        prost_reflect::Value::U64(number) => (*number).into(),
        prost_reflect::Value::F32(number) => (*number).into(),
        prost_reflect::Value::F64(number) => (*number).into(),
        prost_reflect::Value::String(text) => text.as_str().into(),
        prost_reflect::Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
        prost_reflect::Value::EnumNumber(number) => match field.kind() {
            Kind::Enum(kind) => enum_name(&kind, *number),
            _ => (*number).into(),
        },
        prost_reflect::Value::Message(message) => shown_message(message),
        prost_reflect::Value::List(list) => list.iter().map(|item| shown(field, item)).collect(),
        prost_reflect::Value::Map(map) => match field.kind() {
            Kind::Message(entry) => {
                let of = entry.map_entry_value_field();
                let item = |(key, value): (&MapKey, _)| Some((key.as_str()?.to_owned(), shown(&of, value)));
                Value::Object(map.iter().filter_map(item).collect())
            }
            _ => Value::Null,
        },
    }
}

fn shown_message(message: &DynamicMessage) -> Value {
    match message.descriptor().full_name() {
        DURATION => units::wire_seconds(message.transcode_to().ok()),
        TIMESTAMP => {
            message.transcode_to::<prost_types::Timestamp>().map_or(Value::Null, |time| time.to_string().into())
        }
        _ => Value::Object(object(message)),
    }
}

/// Returns the name of a value in lower case, without that of its enum; null if it is unspecified.
fn enum_name(kind: &EnumDescriptor, number: i32) -> Value {
    if number == 0 {
        return Value::Null;
    }
    let mut prefix = String::new();
    for character in kind.name().chars() {
        if character.is_ascii_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.push(character.to_ascii_uppercase());
    }
    prefix.push('_');
    kind.get_value(number).map_or(number.into(), |value| units::name(value.name(), &prefix).into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seconds(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos })
    }

    #[test]
    fn every_message_of_the_contract_can_be_described() {
        assert!(CONTRACT.all_messages().count() > 50);
        let event = pb::Event { parameters: [("id".to_owned(), "7".to_owned())].into(), ..Default::default() };
        assert_eq!(document(&event)["parameters"], json!({ "id": "7" }));
    }

    #[test]
    fn a_message_has_all_its_fields_under_the_names_of_the_contract() {
        let latency = pb::LatencyStats {
            operation: "get".into(),
            count: 1 << 60,
            p50: seconds(0, 1_500_000),
            ..Default::default()
        };
        assert_eq!(
            document(&latency),
            json!({
                "operation": "get", "tier": null, "count": 1_u64 << 60, "p50_seconds": 0.0015, "p95_seconds": null,
                "p99_seconds": null, "p999_seconds": null, "max_seconds": null,
            })
        );
    }

    #[test]
    fn parts_are_null_if_absent_and_lists_are_empty() {
        let time = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
        let stats = pb::StatsResponse {
            redis: Some(pb::RedisStats { state: pb::RedisState::Degraded.into(), ..Default::default() }),
            namespaces: vec![pb::NamespaceStats { redis_keys: Some(7), ..Default::default() }],
            reset_time: time,
            ..Default::default()
        };
        let document = document(&stats);
        assert_eq!((&document["replica"], &document["latencies"]), (&Value::Null, &json!([])));
        assert_eq!((&document["redis"]["state"], &document["redis"]["errors"]), (&json!("degraded"), &json!(0)));
        let namespace = &document["namespaces"][0];
        assert_eq!((&namespace["redis_keys"], &namespace["redis_bytes"]), (&json!(7), &Value::Null));
        assert_eq!(document["reset_time"], "2023-11-14T22:13:20Z");
    }

    #[test]
    fn bytes_are_text_where_they_can_be() {
        let hit = |value: &'static [u8]| fields(&pb::Hit { value: value.into(), ..Default::default() });
        assert_eq!(hit("ö".as_bytes())["value"], "ö");
        assert_eq!((hit(b"\xff").get("value"), &hit(b"\xff")["value_base64"]), (None, &json!("/w==")));
        assert_eq!(hit(b"")["value"], "");
    }

    #[test]
    fn only_the_given_member_of_a_oneof_is_there() {
        let covers = Some(pb::watch_change::Covers::Prefix("a".into()));
        let change = fields(&pb::WatchChange { covers, ..Default::default() });
        assert_eq!((change.get("tag"), &change["prefix"]), (None, &json!("a")));
    }
}
