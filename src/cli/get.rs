//! `twintier get`: reads one entry.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::error::CliError;
use super::output::{Output, json_text};
use crate::cli::args::{NamespaceArg, OutputFormat, ServerArgs, TokenArgs, parse_duration};
use crate::cli::connection::{ServiceConnection, cache};
use crate::cli::{table, units, value};
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
        let connection = ServiceConnection::new(&self.server);
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

/// Formats the response for programs.
pub(super) fn document(response: &pb::GetResponse, metadata: bool) -> Map<String, Value> {
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
    match &response.result {
        Some(Found::Hit(_)) => put("result", "hit".into()),
        Some(Found::NegativeHit(_)) => put("result", "negative".into()),
        Some(Found::Miss(_)) | None => put("result", "miss".into()),
    };
    if let Some(Found::Miss(miss)) = &response.result {
        put("reason", miss_reason(miss).into());
    }
    if let Some(entry) = entry(response) {
        put("tier", tier(entry).into());
        put("age_seconds", units::wire_seconds(entry.age));
        put("ttl_seconds", units::wire_seconds(entry.ttl));
        put("refresh_due", entry.refresh_due.into());
        put("version", entry.version.as_str().into());
        put("source_version", entry.source_version.into());
        if metadata {
            put("tags", entry.tags.as_slice().into());
        }
        put("stale", entry.stale.as_ref().map_or(Value::Null, stale_document));
    }
    if let Some(lease) = &response.lease {
        put("lease", json!({ "id": lease.id, "duration_seconds": units::wire_seconds(lease.duration) }));
    }
    put("degraded", response.degraded.into());
    put("token", response.token.as_str().into());
    if let Some(Found::Hit(hit)) = &response.result {
        put("content_type", hit.content_type.as_str().into());
        if !metadata {
            value::into_json(&hit.value, &mut document);
        }
    }
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

fn stale_document(stale: &pb::Stale) -> Value {
    json!({ "reason": stale_reason(stale), "staleness_seconds": units::wire_seconds(stale.staleness) })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        get: GetArgs,
    }

    fn parse(args: &[&str]) -> Result<GetArgs, clap::Error> {
        Line::try_parse_from([&["get"], args].concat()).map(|line| line.get)
    }

    fn args(args: &[&str]) -> GetArgs {
        parse(args).expect("valid arguments")
    }

    fn hit(value: &'static [u8]) -> pb::GetResponse {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let entry = pb::EntryInfo {
            version: "v7".to_owned(),
            age: seconds(2),
            ttl: seconds(298),
            tier: pb::Tier::L1.into(),
            ..pb::EntryInfo::default()
        };
        let hit = pb::Hit { value: value.into(), content_type: "text/plain".to_owned(), entry: Some(entry) };
        pb::GetResponse { result: Some(Found::Hit(hit)), token: "t1".to_owned(), ..pb::GetResponse::default() }
    }

    fn miss() -> pb::GetResponse {
        let miss = pb::Miss { reason: pb::MissReason::TokenNotReached.into() };
        pb::GetResponse { result: Some(Found::Miss(miss)), token: "t1".to_owned(), degraded: true, lease: None }
    }

    #[test]
    fn a_program_gets_the_exact_bytes() {
        assert_eq!(
            args(&["k"]).answer(&hit(b"\x00\xff"), false),
            Output { out: b"\x00\xff".into(), ..Output::default() }
        );
        assert_eq!(args(&["k", "--raw"]).answer(&hit(b"\x00"), true).out, b"\x00");
    }

    #[test]
    fn a_person_gets_text_and_what_is_known_about_it() {
        let answer = args(&["k"]).answer(&hit(b"value"), true);
        assert_eq!(answer.out, b"value\n");
        assert_eq!(
            answer.notes,
            "result   hit\ntier     l1\nage      2 s\nttl      4m 58s\nversion  v7\ntype     text/plain\ntoken    t1\n"
        );
        assert_eq!(args(&["k", "-q"]).answer(&hit(b"value"), true).notes, "");
    }

    #[test]
    fn a_miss_and_an_empty_value_have_different_exit_codes() {
        assert_eq!((args(&["k"]).answer(&hit(b""), false).exit, args(&["k"]).answer(&miss(), false).exit), (0, 1));
        assert_eq!(args(&["k"]).answer(&miss(), false).notes, "miss: token_not_reached\n");
        assert_eq!(args(&["k", "-q"]).answer(&miss(), false), Output { exit: 1, ..Output::default() });
    }

    #[test]
    fn metadata_takes_the_place_of_the_value() {
        let get = args(&["k", "--metadata"]);
        assert!(get.request().metadata_only);
        let answer = get.answer(&hit(b""), false);
        assert!(answer.out.starts_with(b"result   hit\n") && answer.notes.is_empty());
        let json = Value::Object(document(&hit(b""), true));
        assert_eq!((json.get("value"), &json["version"]), (None, &json!("v7")));
    }

    #[test]
    fn json_says_everything() {
        assert_eq!(
            Value::Object(document(&hit(b"value"), false)),
            json!({
                "result": "hit", "value": "value", "content_type": "text/plain", "tier": "l1", "age_seconds": 2.0,
                "ttl_seconds": 298.0, "refresh_due": false, "version": "v7", "source_version": null, "stale": null,
                "degraded": false, "token": "t1",
            })
        );
        assert_eq!(
            Value::Object(document(&miss(), false)),
            json!({ "result": "miss", "reason": "token_not_reached", "degraded": true, "token": "t1" })
        );
    }

    #[test]
    fn a_negative_entry_is_no_hit_but_has_facts() {
        let Some(Found::Hit(hit)) = hit(b"").result else { panic!("a hit") };
        let stale = pb::Stale { reason: pb::StaleReason::Expired.into(), staleness: None };
        let entry = hit.entry.map(|entry| pb::EntryInfo { stale: Some(stale), ..entry });
        let response = pb::GetResponse { result: Some(Found::NegativeHit(pb::NegativeHit { entry })), ..miss() };
        let answer = args(&["k"]).answer(&response, true);
        assert_eq!((answer.exit, answer.out), (1, Vec::new()));
        assert!(answer.notes.contains("stale     expired, by at most -\n"), "{}", answer.notes);
    }

    #[test]
    fn arguments_become_the_request() {
        let request = args(&["k", "-n", "ns", "--max-staleness", "100ms", "--token", "a", "--token", "b"]).request();
        assert_eq!((request.namespace.as_str(), request.key.as_str()), ("ns", "k"));
        assert_eq!(request.max_staleness, Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 }));
        assert_eq!(request.tokens, ["a", "b"]);
        assert_eq!(args(&["k", "--strong"]).request().consistency(), pb::Consistency::Strong);
    }

    #[test]
    fn a_lease_is_asked_for_and_shown() {
        assert_eq!(args(&["k"]).request().lease, None);
        let options =
            args(&["k", "--lease", "--lease-duration", "5s", "--no-wait"]).request().lease.expect("asked for");
        assert_eq!(options.duration, Some(prost_types::Duration { seconds: 5, nanos: 0 }));
        assert_eq!(options.wait(), pb::LeaseWait::None);
        let get = args(&["k", "--lease", "--stale-if-error"]);
        assert!(get.request().stale_if_error);
        assert_eq!(get.request().lease.expect("asked for").wait(), pb::LeaseWait::UntilDeadline);
        let duration = Some(prost_types::Duration { seconds: 9, nanos: 0 });
        let response = pb::GetResponse { lease: Some(pb::Lease { id: "1f".to_owned(), duration }), ..miss() };
        assert_eq!(get.answer(&response, false).notes, "miss: token_not_reached\nlease 1f for 9 s\n");
        assert!(get.answer(&response, true).notes.contains("lease     1f for 9 s\n"));
        assert_eq!(Value::Object(document(&response, false))["lease"], json!({ "id": "1f", "duration_seconds": 9.0 }));
        for bad in [&["k", "--no-wait"][..], &["k", "--lease", "--strong"], &["k", "--lease", "--metadata"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(parse(&["k", "--strong", "--max-staleness", "1s"]).is_err());
        assert!(parse(&["k", "--metadata", "--raw"]).is_err());
        assert!(parse(&[]).is_err());
    }
}
