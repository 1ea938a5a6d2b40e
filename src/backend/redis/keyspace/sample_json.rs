//! JSON form of a sample, as one replica stores it for the others.

use bytes::Bytes;
use serde_json::{Value, json};

use super::tally::MAX_NAMESPACES;
use crate::cache::clock::Moment;
use crate::cache::policy::limits;
use crate::cache::stats::keyspace::{KeyspaceSample, NamespaceUsage};

/// Writes a sample.
pub fn encode(sample: &KeyspaceSample) -> Bytes {
    let usage = |usage: &NamespaceUsage| json!([usage.keys, usage.bytes]);
    let namespaces: serde_json::Map<_, _> =
        sample.namespaces.iter().map(|(name, found)| (name.clone(), usage(found))).collect();
    json!({ "sampled": sample.sampled, "namespaces": namespaces }).to_string().into()
}

/// Reads a sample that was taken at `taken`. `None` if it is damaged.
pub fn decode(text: &[u8], taken: Moment) -> Option<KeyspaceSample> {
    let sample: Value = serde_json::from_slice(text).ok()?;
    let listed = sample.get("namespaces")?.as_object().filter(|listed| listed.len() <= MAX_NAMESPACES)?;
    let read = |(name, found): (&String, &Value)| {
        limits::namespace("namespace", name).ok()?;
        let bytes = match found.get(1)? {
            Value::Null => None,
            bytes => Some(bytes.as_u64()?),
        };
        Some((name.clone(), NamespaceUsage { keys: found.get(0)?.as_u64()?, bytes }))
    };
    Some(KeyspaceSample {
        taken,
        sampled: sample.get("sampled")?.as_u64()?,
        namespaces: listed.iter().map(read).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_read_as_it_was_written() {
        let known = NamespaceUsage { keys: 3, bytes: Some(300) };
        let unknown = NamespaceUsage { keys: 4, bytes: None };
        let namespaces = [("a".to_owned(), known), ("b".to_owned(), unknown)].into();
        let sample = KeyspaceSample { taken: Moment(7), sampled: 9, namespaces };
        assert_eq!(decode(&encode(&sample), Moment(7)), Some(sample));
    }

    #[test]
    fn anything_else_is_refused() {
        let bad = [
            "",
            "{}",
            "[]",
            r#"{"sampled":1}"#,
            r#"{"sampled":-1,"namespaces":{}}"#,
            r#"{"sampled":1,"namespaces":{"a":[1]}}"#,
            r#"{"sampled":1,"namespaces":{"a":["x",1]}}"#,
            r#"{"sampled":1,"namespaces":{"No such name":[1,1]}}"#,
        ];
        for text in bad {
            assert_eq!(decode(text.as_bytes(), Moment(1)), None, "{text}");
        }
    }
}
