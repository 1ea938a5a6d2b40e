//! `twintier batch get`: reads many entries.

use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tonic::Response;

use crate::cli::answer::Answer;
use crate::cli::args::{NamespaceArg, OutputFormat, ServerArgs, TokenArgs, parse_duration};
use crate::cli::batch::{exit, put_error, words};
use crate::cli::connection::{Connection, cache};
use crate::cli::failure::Failure;
use crate::cli::get::{document, verdict};
use crate::cli::{table, units};
use crate::pb;
use crate::pb::batch_get_item::Result as Found;

/// Longest part of a value that is shown to people.
const SHOWN: usize = 60;

/// Arguments of `batch get`.
#[derive(Args, Debug)]
#[command(
    after_help = "In JSON each entry is a line. Exit codes: 0 all hits, 1 some not, 2 usage, 3 unavailable or too late, 4 other error."
)]
pub struct BatchGetArgs {
    /// Keys of the entries
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
    #[command(flatten)]
    namespace: NamespaceArg,
    /// Ask the Redis primaries
    #[arg(long, conflicts_with = "max_staleness")]
    strong: bool,
    /// How stale an answer may be, for example 100ms; the service's bound when not given
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_staleness: Option<Duration>,
    #[command(flatten)]
    tokens: TokenArgs,
    /// Leave values out
    #[arg(long)]
    metadata: bool,
    #[command(flatten)]
    server: ServerArgs,
}

// === impl BatchGetArgs ===

impl BatchGetArgs {
    pub(super) async fn run(self) -> Result<Answer, Failure> {
        let connection = Connection::new(&self.server);
        let read = async |channel, request| {
            let mut messages = cache(channel).batch_get(request).await?.into_inner();
            let (mut items, mut token) = (Vec::new(), String::new());
            while let Some(message) = messages.message().await? {
                items.extend(message.items);
                token = message.token;
            }
            Ok(Response::new((items, token)))
        };
        let (items, token) = connection.call(self.request(), read).await?;
        Ok(self.answer(items, token))
    }

    fn request(&self) -> pb::BatchGetRequest {
        let consistency = if self.strong { pb::Consistency::Strong } else { pb::Consistency::Unspecified };
        pb::BatchGetRequest {
            namespace: self.namespace.namespace.clone(),
            keys: self.keys.clone(),
            consistency: consistency.into(),
            max_staleness: self.max_staleness.map(units::to_wire),
            tokens: self.tokens.tokens.clone(),
            metadata_only: self.metadata,
        }
    }

    fn answer(&self, items: Vec<pb::BatchGetItem>, token: String) -> Answer {
        let exit = items.iter().map(exit_of).max().unwrap_or(0);
        let keyed = items.into_iter().map(|item| (self.keys.get(item.index as usize).map_or("", String::as_str), item));
        let out = match self.server.output {
            OutputFormat::Json => keyed.map(|(key, item)| format!("{}\n", self.line(key, item))).collect(),
            OutputFormat::Text => {
                let rows: Vec<_> = keyed.map(|(key, item)| row(key, &item)).collect();
                table::columns(&["key", "result", "ttl", "value"], &rows)
            }
        };
        let notes = match self.server.output {
            OutputFormat::Text => format!("token  {token}\n"),
            OutputFormat::Json => String::new(),
        };
        Answer { out: out.into_bytes(), notes, exit }
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

/// The item as the answer to a Get.
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

/// The beginning of a value, in one line.
fn shown(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.chars().any(char::is_control) => match text.char_indices().nth(SHOWN) {
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
        let answer = args(&["a", "b", "c", "d"]).answer(items(), "t".to_owned());
        let text = String::from_utf8(answer.out).expect("text");
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[1], "a hit 1m <2 bytes>");
        assert!(lines[2].starts_with("b hit 1m longlong") && lines[2].ends_with('…'), "{}", lines[2]);
        assert_eq!(lines[3..], ["c miss: absent", "d UNAVAILABLE: away"]);
        assert_eq!((answer.notes.as_str(), answer.exit), ("token  t\n", 3));
        let answer = args(&["a", "b", "c", "d", "-o", "json"]).answer(items(), "t".to_owned());
        let text = String::from_utf8(answer.out).expect("text");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
        assert_eq!((lines[0]["key"].as_str(), lines[0]["value"].as_str()), (Some("a"), Some("v\n")));
        assert_eq!((lines[3]["code"].as_str(), lines[3]["error"].as_str()), (Some("UNAVAILABLE"), Some("away")));
    }

    #[test]
    fn a_miss_is_a_no() {
        let exit = |items: Vec<pb::BatchGetItem>| args(&["a", "b", "c", "d"]).answer(items, String::new()).exit;
        assert_eq!((exit(items()[..2].to_vec()), exit(items()[..3].to_vec())), (0, 1));
    }
}
