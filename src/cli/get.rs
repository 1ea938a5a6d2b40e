//! `twintier get`: reads one entry.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};

use super::error::CliError;
use super::output::{Output, json_text};
use crate::cli::args::{NamespaceArg, OutputFormat, ServerArgs, TokenArgs, parse_duration};
use crate::cli::connection::{ServiceConnection, cache};
use crate::cli::{json, table, units, value};
use crate::pb;
use crate::pb::get_response::Result as Found;

/// Arguments of `get`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 hit, 1 miss or known to be absent, 2 usage, 3 unavailable or too late, 4 other error."
)]
pub struct GetArgs {
    /// Key of the entry
    key: String,
    #[command(flatten)]
    namespace: NamespaceArg,
    /// Read from the Redis primary
    #[arg(long, conflicts_with = "max_staleness")]
    strong: bool,
    /// Longest staleness of the answer, for example 100ms; default the bound of the service
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true)]
    max_staleness: Option<Duration>,
    #[command(flatten)]
    lease: LeaseArgs,
    /// Accept a stale value when the entry cannot be filled
    #[arg(long, requires = "lease")]
    stale_if_error: bool,
    #[command(flatten)]
    tokens: TokenArgs,
    /// Print metadata of the entry instead of its value, which is not fetched
    #[arg(long, conflicts_with_all = ["raw", "quiet"])]
    metadata: bool,
    /// Print the exact bytes of the value even to a terminal
    #[arg(long)]
    raw: bool,
    /// Print no notes on standard error
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// Options of the lease to fill the entry.
#[derive(Args, Debug)]
struct LeaseArgs {
    /// Request the fill lease when there is no entry or it is due for refresh; wait for the entry
    /// while another caller has the lease
    #[arg(long, conflicts_with_all = ["strong", "metadata", "quiet"])]
    lease: bool,
    /// Duration of the lease, for example 5s; default the namespace's lease_duration
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true, requires = "lease")]
    lease_duration: Option<Duration>,
    /// Return at once while another caller has the lease
    #[arg(long, requires = "lease")]
    no_wait: bool,
}

/// Forms of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutputShape {
    /// The exact bytes of the value.
    Bytes,
    /// The value as far as a terminal can show it, with notes.
    Terminal,
    /// Metadata of the entry.
    Metadata,
    /// Value and metadata.
    Json,
}

// === impl GetArgs ===

impl GetArgs {
    pub(super) async fn run(self) -> Result<Output, CliError> {
        let connection = ServiceConnection::new(&self.server)?;
        let response =
            connection.call(self.request(), async |channel, request| cache(channel).get(request).await).await?;
        Ok(self.answer(&response, io::stdout().is_terminal()))
    }

    fn request(&self) -> pb::GetRequest {
        let consistency = if self.strong { pb::Consistency::Strong } else { pb::Consistency::Unspecified };
        pb::GetRequest {
            lease: self.lease.to_wire(),
            stale_if_error: self.stale_if_error,
            namespace: self.namespace.namespace.clone(),
            key: self.key.clone(),
            consistency: consistency.into(),
            max_staleness: self.max_staleness.map(units::to_wire),
            tokens: self.tokens.tokens.clone(),
            metadata_only: self.metadata,
        }
    }

    fn shape(&self, terminal: bool) -> OutputShape {
        match self.server.output {
            OutputFormat::Json => OutputShape::Json,
            OutputFormat::Text if self.metadata => OutputShape::Metadata,
            OutputFormat::Text if terminal && !self.raw => OutputShape::Terminal,
            OutputFormat::Text => OutputShape::Bytes,
        }
    }

    fn answer(&self, response: &pb::GetResponse, terminal: bool) -> Output {
        let hit = match &response.result {
            Some(Found::Hit(hit)) => Some(hit),
            Some(Found::NegativeHit(_) | Found::Miss(_)) | None => None,
        };
        let (out, notes) = match self.shape(terminal) {
            OutputShape::Json => (json_text(&Value::Object(document(response, self.metadata))), String::new()),
            OutputShape::Metadata => (facts(response).into_bytes(), String::new()),
            OutputShape::Terminal => {
                let shown = hit.map(|hit| value::for_terminal(&hit.value, &hit.content_type));
                (shown.unwrap_or_default().into_bytes(), facts(response))
            }
            OutputShape::Bytes => match hit {
                Some(hit) => (hit.value.to_vec(), String::new()),
                None => (Vec::new(), format!("{}\n", verdict(response))),
            },
        };
        let notes = match (&response.lease, self.shape(terminal)) {
            (Some(lease), OutputShape::Bytes) => {
                format!("{notes}lease {} for {}\n", lease.id, units::wire_duration(lease.duration))
            }
            _ => notes,
        };
        let notes = if self.quiet { String::new() } else { notes };
        Output { out, notes, exit: u8::from(hit.is_none()) }
    }
}

/// Formats the response for programs: the fields of the response, of what was found and of its entry,
/// in one object.
pub(super) fn document(response: &pb::GetResponse, metadata: bool) -> Map<String, Value> {
    let mut document = json::fields(response);
    let mut result = "miss";
    for (field, name) in [("hit", "hit"), ("negative_hit", "negative"), ("miss", "miss")] {
        if let Some(Value::Object(found)) = document.remove(field) {
            result = name;
            document.extend(found);
        }
    }
    document.insert("result".to_owned(), result.into());
    if let Some(Value::Object(entry)) = document.remove("entry") {
        document.extend(entry);
    }
    if document.get("lease").is_some_and(Value::is_null) {
        document.remove("lease");
    }
    // Without --metadata the response has no tags, and with it no value.
    document.remove(if metadata { "value" } else { "tags" });
    document
}

// === impl LeaseArgs ===

impl LeaseArgs {
    fn to_wire(&self) -> Option<pb::LeaseOptions> {
        let wait = if self.no_wait { pb::LeaseWait::None } else { pb::LeaseWait::UntilDeadline };
        let duration = self.lease_duration.map(units::to_wire);
        self.lease.then(|| pb::LeaseOptions { duration, wait: wait.into() })
    }
}

/// Formats the result in a few words.
pub(super) fn verdict(response: &pb::GetResponse) -> String {
    match &response.result {
        Some(Found::Hit(_)) => "hit".to_owned(),
        Some(Found::NegativeHit(_)) => "negative: known to be absent".to_owned(),
        Some(Found::Miss(miss)) => format!("miss: {}", miss_reason(miss)),
        None => "miss: an answer this program does not know".to_owned(),
    }
}

/// Formats the metadata of the entry and the response, a line each.
fn facts(response: &pb::GetResponse) -> String {
    let mut rows = vec![("result", verdict(response))];
    if let Some(entry) = entry(response) {
        rows.push(("tier", tier(entry)));
        rows.push(("age", units::wire_duration(entry.age)));
        rows.push(("ttl", entry.ttl.map_or("until removed".to_owned(), |ttl| units::wire_duration(Some(ttl)))));
        if entry.refresh_due {
            rows.push(("refresh", "due".to_owned()));
        }
        rows.extend(entry.source_version.map(|source| ("source", source.to_string())));
        if !entry.tags.is_empty() {
            rows.push(("tags", entry.tags.join(", ")));
        }
        rows.push(("version", entry.version.clone()));
        rows.extend(entry.stale.as_ref().map(|stale| {
            ("stale", format!("{}, by at most {}", stale_reason(stale), units::wire_duration(stale.staleness)))
        }));
    }
    if let Some(Found::Hit(hit)) = &response.result
        && !hit.content_type.is_empty()
    {
        rows.push(("type", hit.content_type.clone()));
    }
    rows.extend(
        response
            .lease
            .as_ref()
            .map(|lease| ("lease", format!("{} for {}", lease.id, units::wire_duration(lease.duration)))),
    );
    if response.degraded {
        rows.push(("degraded", "Redis was needed and could not be asked".to_owned()));
    }
    if !response.token.is_empty() {
        rows.push(("token", response.token.clone()));
    }
    table::facts(&rows)
}

fn entry(response: &pb::GetResponse) -> Option<&pb::EntryInfo> {
    match &response.result {
        Some(Found::Hit(hit)) => hit.entry.as_ref(),
        Some(Found::NegativeHit(negative)) => negative.entry.as_ref(),
        Some(Found::Miss(_)) | None => None,
    }
}

fn tier(entry: &pb::EntryInfo) -> String {
    units::name(entry.tier().as_str_name(), "TIER_")
}

fn miss_reason(miss: &pb::Miss) -> String {
    units::name(miss.reason().as_str_name(), "MISS_REASON_")
}

fn stale_reason(stale: &pb::Stale) -> String {
    units::name(stale.reason().as_str_name(), "STALE_REASON_")
}

#[cfg(test)]
#[path = "get_tests.rs"]
mod tests;
