//! `twintier inspect`: one key as a replica and Redis know it, and why it is or is not served.

use clap::Args;

use super::error::CliError;
use super::output::{Output, json_text};
use crate::cli::args::{NamespaceArg, OutputFormat, ServerArgs};
use crate::cli::connection::{ServiceConnection, admin};
use crate::cli::units::{self, wire_duration};
use crate::cli::{json, table};
use crate::pb;

/// Arguments of `inspect`.
#[derive(Args, Debug)]
#[command(
    after_help = "Inspecting changes and counts nothing. Exit codes: 0 done, 2 usage, 3 unavailable, 4 other error."
)]
pub struct InspectArgs {
    /// Key of the entry
    key: String,
    #[command(flatten)]
    namespace: NamespaceArg,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

// === impl InspectArgs ===

impl InspectArgs {
    pub(super) async fn run(self) -> Result<Output, CliError> {
        let request = pb::InspectRequest { namespace: self.namespace.namespace.clone(), key: self.key.clone() };
        let response = ServiceConnection::new(&self.server)?
            .call(request, async |channel, request| admin(channel).inspect(request).await)
            .await?;
        let out = match self.server.output {
            OutputFormat::Json => json_text(&json::document(&response)),
            OutputFormat::Text => table::facts(&rows(&response)).into_bytes(),
        };
        Ok(Output { out, ..Output::default() })
    }
}

fn rows(found: &pb::InspectResponse) -> Vec<(&'static str, String)> {
    let known = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let mut rows = vec![
        ("verdict", found.verdict.clone()),
        ("partition", found.partition.to_string()),
        ("watermark", known(&found.watermark)),
        ("proof age", wire_duration(found.proof_age)),
        ("lease", found.lease.map_or_else(|| "none".to_owned(), |left| format!("for {}", wire_duration(Some(left))))),
    ];
    rows.extend(entry("L1", found.l1.as_ref()));
    match found.l2_error.as_str() {
        "" => rows.extend(entry("L2", found.l2.as_ref())),
        error => rows.push(("L2", format!("not known: {error}"))),
    }
    rows
}

fn entry(tier: &'static str, entry: Option<&pb::InspectedEntry>) -> Vec<(&'static str, String)> {
    let Some(entry) = entry else { return vec![(tier, "nothing".to_owned())] };
    let mut rows =
        vec![(tier, if entry.not_served.is_empty() { "served".to_owned() } else { entry.not_served.clone() })];
    if entry.version.is_empty() {
        return rows;
    }
    let stored =
        if entry.stored_size > 0 { format!(", stored as {}", units::size(entry.stored_size)) } else { String::new() };
    let value =
        if entry.known_absent { "known absent".to_owned() } else { format!("{}{stored}", units::size(entry.size)) };
    let content_type = if entry.content_type.is_empty() { String::new() } else { format!(", {}", entry.content_type) };
    rows.push(("", format!("{value}{content_type}, version {}", entry.version)));
    let ends =
        entry.ttl.map_or_else(|| "no expiry".to_owned(), |ttl| format!("expires in {}", wire_duration(Some(ttl))));
    let due =
        entry.soft_ttl.map_or_else(String::new, |due| format!(", due for refresh in {}", wire_duration(Some(due))));
    rows.push(("", format!("written {} ago, {ends}{due}", wire_duration(entry.age))));
    if !entry.tags.is_empty() {
        rows.push(("", format!("tags: {}", entry.tags.join(", "))));
    }
    rows.extend(entry.source_version.map(|version| ("", format!("source version {version}"))));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    #[test]
    fn a_look_tells_both_tiers_apart() {
        let entry = pb::InspectedEntry {
            version: "7-3".to_owned(),
            age: seconds(5),
            size: 2048,
            tags: vec!["a".to_owned(), "b".to_owned()],
            ..Default::default()
        };
        let l2 = pb::InspectedEntry { ttl: seconds(55), stored_size: 1024, not_served: String::new(), ..entry.clone() };
        let found = pb::InspectResponse {
            verdict: "hit: Redis holds it".to_owned(),
            partition: 3,
            l1: Some(pb::InspectedEntry { not_served: "expired 1s ago".to_owned(), ttl: seconds(0), ..entry }),
            l2: Some(l2),
            lease: seconds(4),
            ..Default::default()
        };
        let expected = "\
verdict    hit: Redis holds it
partition  3
watermark  -
proof age  -
lease      for 4 s
L1         expired 1s ago
           2.0 KiB, version 7-3
           written 5 s ago, expires in 0 µs
           tags: a, b
L2         served
           2.0 KiB, stored as 1.0 KiB, version 7-3
           written 5 s ago, expires in 55 s
           tags: a, b
";
        assert_eq!(table::facts(&rows(&found)), expected);
        assert_eq!(json::document(&found)["l2"]["stored_size"], 1024);
    }

    #[test]
    fn absent_and_unknown_entries_are_reported() {
        let found = pb::InspectResponse { l2_error: "away".to_owned(), ..Default::default() };
        let text = table::facts(&rows(&found));
        assert!(text.contains("L1         nothing\n") && text.contains("L2         not known: away\n"), "{text}");
    }
}
