//! `twintier batch get`: reads many entries.

use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tonic::Response;

use crate::cli::args::{NamespaceArg, OutputFormat, ServerArgs, ShowTokenArg, TokenArgs, parse_duration};
use crate::cli::batch::item_error::{exit, put_error, words};
use crate::cli::batch::keys::KeyArgs;
use crate::cli::connection::{ServiceConnection, cache};
use crate::cli::error::CliError;
use crate::cli::get::{document, verdict};
use crate::cli::output::{Output, emit};
use crate::cli::progress::ProgressLine;
use crate::cli::{table, units};
use crate::pb;
use crate::pb::batch_get_item::Result as Found;

/// Most characters of a value in a table.
const MAX_SHOWN_CHARS: usize = 60;

/// Arguments of `batch get`.
#[derive(Args, Debug)]
#[command(
    after_help = "In JSON each entry is a line. Exit codes: 0 all hits, 1 some not, 2 usage, 3 unavailable or too late, 4 other error."
)]
pub struct BatchGetArgs {
    #[command(flatten)]
    keys: KeyArgs,
    /// Most keys in one call
    #[arg(long, value_name = "KEYS", default_value = "500", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    size: u32,
    #[command(flatten)]
    namespace: NamespaceArg,
    /// Read from the Redis primaries
    #[arg(long, conflicts_with = "max_staleness")]
    strong: bool,
    /// Longest staleness of an answer, for example 100ms; default the bound of the service
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true)]
    max_staleness: Option<Duration>,
    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    show_token: ShowTokenArg,
    /// Omit values
    #[arg(long)]
    metadata: bool,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

// === impl BatchGetArgs ===

impl BatchGetArgs {
    pub(super) async fn run(self) -> Result<Output, CliError> {
        let connection = ServiceConnection::new(&self.server)?;
        let (mut keys, mut progress) = (self.keys.open(self.size)?, ProgressLine::new(None, false));
        let mut whole = Output::default();
        let mut last_token = String::new();
        let mut is_first = true;
        while let Some(keys) = keys.next()? {
            let (items, token) = self.read(&connection, &keys, &last_token).await?;
            let answer = self.answer(&keys, items, is_first);
            progress.suspend(|| emit(&answer.out))?;
            progress.add(keys.len());
            (is_first, last_token) = (false, token);
            whole.exit = whole.exit.max(answer.exit);
        }
        drop(progress);
        if self.show_token.show_token && self.server.output == OutputFormat::Text {
            whole.notes = format!("token  {last_token}\n");
        }
        Ok(whole)
    }

    async fn read(
        &self,
        connection: &ServiceConnection<'_>,
        keys: &[String],
        last_token: &str,
    ) -> Result<(Vec<pb::BatchGetItem>, String), CliError> {
        let read = async |channel, request| {
            let mut messages = cache(channel).batch_get(request).await?.into_inner();
            let (mut items, mut token) = (Vec::new(), String::new());
            while let Some(message) = messages.message().await? {
                items.extend(message.items);
                token = message.token;
            }
            Ok(Response::new((items, token)))
        };
        connection.call(self.request(keys, last_token), read).await
    }

    fn request(&self, keys: &[String], last_token: &str) -> pb::BatchGetRequest {
        // The last token includes all before it.
        let tokens = if last_token.is_empty() { self.tokens.tokens.clone() } else { vec![last_token.to_owned()] };
        let consistency = if self.strong { pb::Consistency::Strong } else { pb::Consistency::Unspecified };
        pb::BatchGetRequest {
            namespace: self.namespace.namespace.clone(),
            keys: keys.to_vec(),
            consistency: consistency.into(),
            max_staleness: self.max_staleness.map(units::to_wire),
            tokens,
            metadata_only: self.metadata,
        }
    }

    /// Formats the response of one call. The first has the column headers.
    fn answer(&self, keys: &[String], items: Vec<pb::BatchGetItem>, is_first: bool) -> Output {
        let exit = items.iter().map(exit_of).max().unwrap_or(0);
        let keyed = items.into_iter().map(|item| (keys.get(item.index as usize).map_or("", String::as_str), item));
        let out = match self.server.output {
            OutputFormat::Json => keyed.map(|(key, item)| format!("{}\n", self.line(key, item))).collect(),
            OutputFormat::Text => {
                let rows: Vec<_> = keyed.map(|(key, item)| row(key, &item)).collect();
                let table = table::columns(&["key", "result", "ttl", "value"], &rows);
                if is_first { table } else { table.split_once('\n').map_or(String::new(), |(_, rows)| rows.to_owned()) }
            }
        };
        Output { out: out.into_bytes(), exit, ..Output::default() }
    }

    fn line(&self, key: &str, item: pb::BatchGetItem) -> Value {
        let mut line = serde_json::Map::new();
        line.insert("key".to_owned(), key.into());
        match item.result {
            Some(Found::Error(error)) => {
                line.insert("result".to_owned(), "error".into());
                put_error(&mut line, &error);
            }
            _ => {
                let mut rest = document(&response(&item), self.metadata);
                rest.remove("token");
                line.extend(rest);
            }
        }
        Value::Object(line)
    }
}

fn exit_of(item: &pb::BatchGetItem) -> u8 {
    match &item.result {
        Some(Found::Hit(_)) => 0,
        Some(Found::Error(error)) => exit(error),
        _ => 1,
    }
}

/// Converts the item to the response of a Get.
fn response(item: &pb::BatchGetItem) -> pb::GetResponse {
    use pb::get_response::Result;
    let result = match item.result.clone() {
        Some(Found::Hit(hit)) => Some(Result::Hit(hit)),
        Some(Found::NegativeHit(hit)) => Some(Result::NegativeHit(hit)),
        Some(Found::Miss(miss)) => Some(Result::Miss(miss)),
        Some(Found::Error(_)) | None => None,
    };
    pb::GetResponse { result, degraded: item.degraded, ..Default::default() }
}

fn row(key: &str, item: &pb::BatchGetItem) -> Vec<String> {
    let result = match &item.result {
        Some(Found::Error(error)) => words(error),
        _ => verdict(&response(item)),
    };
    let ttl = match &item.result {
        Some(Found::Hit(pb::Hit { entry, .. }) | Found::NegativeHit(pb::NegativeHit { entry })) => {
            entry.as_ref().map_or_else(String::new, |entry| units::wire_duration(entry.ttl))
        }
        _ => String::new(),
    };
    let value = match &item.result {
        Some(Found::Hit(hit)) => shown(&hit.value),
        _ => String::new(),
    };
    vec![key.to_owned(), result, ttl, value]
}

/// Shortens a value to one line.
fn shown(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.chars().any(char::is_control) => match text.char_indices().nth(MAX_SHOWN_CHARS) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        },
        _ => format!("<{}>", units::bytes(value.len())),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        get: BatchGetArgs,
    }

    fn args(args: &[&str]) -> BatchGetArgs {
        Line::try_parse_from([&["get"], args].concat()).expect("valid arguments").get
    }

    fn items() -> Vec<pb::BatchGetItem> {
        let entry = Some(pb::EntryInfo { ttl: Some(units::to_wire(Duration::from_secs(60))), ..Default::default() });
        let error = pb::ItemError { code: 14, message: "away".to_owned(), ..Default::default() };
        let results = [
            Found::Hit(pb::Hit { value: "v\n".into(), entry: entry.clone(), ..Default::default() }),
            Found::Hit(pb::Hit { value: "long".repeat(20).into(), entry, ..Default::default() }),
            Found::Miss(pb::Miss { reason: pb::MissReason::Absent.into() }),
            Found::Error(error),
        ];
        let item = |(index, result)| pb::BatchGetItem { index, result: Some(result), degraded: false };
        (0..).zip(results).map(item).collect()
    }

    #[test]
    fn each_entry_is_a_row_or_a_line_of_json() {
        let keys = ["a", "b", "c", "d"].map(str::to_owned);
        let answer = args(&["a"]).answer(&keys, items(), true);
        let text = String::from_utf8(answer.out).expect("text");
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[1], "a hit 1m <2 bytes>");
        assert!(lines[2].starts_with("b hit 1m longlong") && lines[2].ends_with('…'), "{}", lines[2]);
        assert_eq!(lines[3..], ["c miss: absent", "d UNAVAILABLE: away"]);
        assert_eq!(answer.exit, 3);
        let next = String::from_utf8(args(&["a"]).answer(&keys, items(), false).out).expect("text");
        assert_eq!(text.split_once('\n').map(|(_, rows)| rows), Some(next.as_str()));
        let answer = args(&["a", "-o", "json"]).answer(&keys, items(), true);
        let text = String::from_utf8(answer.out).expect("text");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
        assert_eq!((lines[0]["key"].as_str(), lines[0]["value"].as_str()), (Some("a"), Some("v\n")));
        assert_eq!((lines[3]["code"].as_str(), lines[3]["error"].as_str()), (Some("UNAVAILABLE"), Some("away")));
    }

    #[test]
    fn a_miss_is_a_no() {
        let keys = ["a", "b", "c", "d"].map(str::to_owned);
        let exit = |items: Vec<pb::BatchGetItem>| args(&["a"]).answer(&keys, items, true).exit;
        assert_eq!((exit(items()[..2].to_vec()), exit(items()[..3].to_vec())), (0, 1));
    }
}
