//! Fields of a policy on the command line: parsed and shown. Each is named once.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cache::quoted::quoted;
use crate::cli::args::parse_duration;
use crate::cli::units::{self, to_wire, wire_duration, wire_seconds};
use crate::pb;
use crate::suggest::did_you_mean;

/// Change of one field.
#[derive(Clone, Debug)]
pub struct FieldChange(pub pb::Policy);

macro_rules! fields {
    ($($field:ident: $kind:ident,)*) => {
        /// Parses `FIELD=VALUE`.
        pub fn parse_change(text: &str) -> Result<FieldChange, String> {
            let Some((field, value)) = text.split_once('=') else { return Err("expected FIELD=VALUE".to_owned()) };
            let mut policy = pb::Policy::default();
            match field {
                $(stringify!($field) => policy.$field = $kind::parse(value).map_err(|rule| format!("{field} {rule}"))?,)*
                _ => {
                    let fields = [$(stringify!($field)),*];
                    let meant = did_you_mean(field, fields.into_iter());
                    return Err(format!("there is no field {}; fields are {}{meant}", quoted(field), fields.join(", ")));
                }
            }
            Ok(FieldChange(policy))
        }

        /// Merges two changes. The later one wins.
        pub fn merged(mut whole: pb::Policy, one: pb::Policy) -> pb::Policy {
            $(if $kind::is_given(&one.$field) {
                whole.$field = one.$field;
            })*
            whole
        }

        /// Returns the fields that are given, each as text and as JSON.
        pub fn given(policy: &pb::Policy) -> Vec<(&'static str, String, Value)> {
            let mut given = Vec::new();
            $(if $kind::is_given(&policy.$field) {
                given.push((stringify!($field), $kind::show(&policy.$field), $kind::json(&policy.$field)));
            })*
            given
        }
    };
}

fields! {
    enabled: flag,
    l1: flag,
    l2: flag,
    default_ttl: time,
    min_ttl: time,
    max_ttl: time,
    jitter: ratio,
    soft_ttl: time,
    l1_ttl: time,
    stale_window: time,
    negative_ttl: time,
    compression: compression,
    compression_threshold: size,
    max_value_size: size,
    max_bytes: size,
    max_requests_per_second: ratio,
    immutable: flag,
    consistency: consistency,
    allow_no_expiry: flag,
    early_refresh: ratio,
    lease_duration: time,
    reserved_bytes: size,
    max_l2_bytes: size,
    max_bytes_per_second: size,
    max_in_flight: count,
    max_leases: count,
}

mod flag {
    use super::*;

    pub fn parse(text: &str) -> Result<Option<bool>, String> {
        match text {
            "true" | "on" => Ok(Some(true)),
            "false" | "off" => Ok(Some(false)),
            _ => Err("must be true or false".to_owned()),
        }
    }
    pub fn is_given(value: &Option<bool>) -> bool {
        value.is_some()
    }
    pub fn show(value: &Option<bool>) -> String {
        value.unwrap_or_default().to_string()
    }
    pub fn json(value: &Option<bool>) -> Value {
        json!(value)
    }
}

mod ratio {
    use super::*;

    pub fn parse(text: &str) -> Result<Option<f64>, String> {
        text.parse().map(Some).map_err(|_| "must be a number".to_owned())
    }
    pub fn is_given(value: &Option<f64>) -> bool {
        value.is_some()
    }
    pub fn show(value: &Option<f64>) -> String {
        value.unwrap_or_default().to_string()
    }
    pub fn json(value: &Option<f64>) -> Value {
        json!(value)
    }
}

mod count {
    use super::*;

    pub fn parse(text: &str) -> Result<Option<u64>, String> {
        text.parse().map(Some).map_err(|_| "must be a whole number".to_owned())
    }
    pub fn is_given(value: &Option<u64>) -> bool {
        value.is_some()
    }
    pub fn show(value: &Option<u64>) -> String {
        value.unwrap_or_default().to_string()
    }
    pub fn json(value: &Option<u64>) -> Value {
        json!(value)
    }
}

mod size {
    use super::*;

    pub fn parse(text: &str) -> Result<Option<u64>, String> {
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("B", 0), ("", 0)];
        let sized = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)));
        let size = sized.and_then(|(number, shift)| number.parse::<u64>().ok()?.checked_mul(1u64 << shift));
        size.map(Some).ok_or_else(|| "must be a size, such as 1024 or 64KiB".to_owned())
    }
    pub fn is_given(value: &Option<u64>) -> bool {
        value.is_some()
    }
    pub fn show(value: &Option<u64>) -> String {
        units::size(value.unwrap_or_default())
    }
    pub fn json(value: &Option<u64>) -> Value {
        json!(value)
    }
}

mod time {
    use super::*;

    pub fn parse(text: &str) -> Result<Option<prost_types::Duration>, String> {
        let duration = if text == "0" { Ok(Duration::ZERO) } else { parse_duration(text) };
        duration.map(|duration| Some(to_wire(duration)))
    }
    pub fn is_given(value: &Option<prost_types::Duration>) -> bool {
        value.is_some()
    }
    pub fn show(value: &Option<prost_types::Duration>) -> String {
        wire_duration(*value)
    }
    pub fn json(value: &Option<prost_types::Duration>) -> Value {
        wire_seconds(*value)
    }
}

macro_rules! words {
    ($($module:ident: $kind:ident, $prefix:literal;)*) => {
        $(mod $module {
            use super::*;

            pub fn parse(text: &str) -> Result<i32, String> {
                let name = format!("{}{}", $prefix, text.to_ascii_uppercase());
                let known = pb::$kind::from_str_name(&name).filter(|value| *value as i32 != 0);
                known.map(Into::into).ok_or_else(|| format!("cannot be {text:?}"))
            }
            pub fn is_given(value: &i32) -> bool {
                *value != 0
            }
            pub fn show(value: &i32) -> String {
                pb::$kind::try_from(*value).map_or_else(|_| value.to_string(), |value| units::name(value.as_str_name(), $prefix))
            }
            pub fn json(value: &i32) -> Value {
                show(value).into()
            }
        })*
    };
}

words! {
    compression: Compression, "COMPRESSION_";
    consistency: Consistency, "CONSISTENCY_";
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn set(changes: &[&str]) -> Result<pb::Policy, String> {
        changes.iter().try_fold(pb::Policy::default(), |whole, change| Ok(merged(whole, parse_change(change)?.0)))
    }

    #[test]
    fn fields_are_given_as_in_the_contract() {
        let policy = set(&["enabled=false", "max_ttl=1h", "compression=zstd", "max_bytes=64MiB", "jitter=0.1"]);
        let expected = pb::Policy {
            enabled: Some(false),
            max_ttl: Some(to_wire(Duration::from_secs(3600))),
            compression: pb::Compression::Zstd.into(),
            max_bytes: Some(64 << 20),
            jitter: Some(0.1),
            ..Default::default()
        };
        assert_eq!(policy, Ok(expected));
        let shown: Vec<_> = given(&expected).into_iter().map(|(_, shown, _)| shown).collect();
        assert_eq!(shown, ["false", "1h", "0.1", "zstd", "64.0 MiB"]);
        for bad in ["enabled", "enabled=maybe", "ttl=1s", "max_ttl=5", "compression=gzip", "max_bytes=many"] {
            assert!(set(&[bad]).is_err(), "{bad}");
        }
        let misspelt = set(&["max_tll=1h"]).expect_err("refused");
        assert!(
            misspelt.starts_with("there is no field \"max_tll\"; fields are ")
                && misspelt.ends_with("; did you mean max_ttl?"),
            "{misspelt}"
        );
    }

    #[test]
    fn every_field_of_the_contract_can_be_given() {
        let set = prost_types::FileDescriptorSet::decode(pb::FILE_DESCRIPTOR_SET).expect("a descriptor set");
        let policy = set.file.iter().flat_map(|file| &file.message_type).find(|message| message.name() == "Policy");
        for field in &policy.expect("of the contract").field {
            let change = |value| parse_change(&format!("{}={value}", field.name()));
            let given = ["1", "1s", "true", "zstd", "strong"].into_iter().any(|value| change(value).is_ok());
            assert!(given, "{}", field.name());
        }
    }
}
