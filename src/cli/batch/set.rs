//! `twintier batch set`: writes the entries that a file describes, as many calls as they need.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use clap::Args;
use prost::Message as _;
use serde_json::{Map, Value};

use crate::cli::answer::{Answer, emit};
use crate::cli::args::{BarrierArg, NamespaceArg, OutputFormat, ServerArgs, TokenArgs};
use crate::cli::batch::{exit, item, put_error, words};
use crate::cli::connection::{Connection, cache};
use crate::cli::failure::Failure;
use crate::cli::units;
use crate::pb;

/// Bytes at which a call is full: well below what a service takes at least.
const FULL: usize = 1 << 20;
/// Longest line that is read: twice the largest value there can be.
const LONGEST: u64 = 1 << 30;

/// Arguments of `batch set`.
#[derive(Args, Debug)]
#[command(
    after_help = "Each line of the file is a JSON object: \"key\"; one of \"value\", \"value_base64\", \"absent\": true; and perhaps \
\"content_type\", \"ttl\", \"expire_at\" or \"no_expiry\": true, \"soft_ttl\", \"tags\", \"source_version\", \"request_id\", and one of \
\"if_absent\": true, \"if_present\": true, \"if_version\".\n\
Exit codes: 0 all stored, 1 some not, 2 usage, 3 unavailable or too late, 4 other error."
)]
pub struct BatchSetArgs {
    /// File of JSON lines; `-` reads standard input
    file: PathBuf,
    #[command(flatten)]
    namespace: NamespaceArg,
    /// Most entries in one call
    #[arg(long, value_name = "ENTRIES", default_value = "500", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    size: u32,
    #[command(flatten)]
    barrier: BarrierArg,
    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// What was done so far.
#[derive(Default)]
struct Tally {
    outcomes: BTreeMap<String, u64>,
    token: String,
    exit: u8,
}

// === impl BatchSetArgs ===

impl BatchSetArgs {
    pub(super) async fn run(self) -> Result<Answer, Failure> {
        let name = self.file.display().to_string();
        let source: Box<dyn Read + Send> = match name.as_str() {
            "-" => Box::new(io::stdin()),
            _ => Box::new(File::open(&self.file).map_err(Failure::io(&name))?),
        };
        let mut lines = BufReader::new(source);
        let (connection, mut tally) = (Connection::new(&self.server), Tally::default());
        let mut number = 0;
        while let Some(items) = self.next(&mut lines, &mut number).map_err(Failure::io(&name))? {
            let keys: Vec<String> = items.iter().map(|item| item.key.clone()).collect();
            let request = self.request(items, &tally.token);
            let set = async |channel, request| cache(channel).batch_set(request).await;
            let response = connection.call(request, set).await?;
            emit(tally.add(&keys, &response, self.server.output).as_bytes())?;
        }
        Ok(tally.answer(self.server.output))
    }

    /// The entries of the next call.
    fn next(&self, lines: &mut impl BufRead, number: &mut u64) -> io::Result<Option<Vec<pb::SetRequest>>> {
        let (mut items, mut bytes) = (Vec::new(), 0);
        while items.len() < self.size as usize && bytes < FULL {
            let mut line = String::new();
            if lines.by_ref().take(LONGEST).read_line(&mut line)? == 0 {
                break;
            }
            *number += 1;
            if line.trim().is_empty() {
                continue;
            }
            let wrong = |why| io::Error::new(io::ErrorKind::InvalidData, format!("line {number} {why}"));
            let item = item::parse(&line).map_err(wrong)?;
            bytes += item.encoded_len();
            items.push(item);
        }
        Ok((!items.is_empty()).then_some(items))
    }

    fn request(&self, items: Vec<pb::SetRequest>, token: &str) -> pb::BatchSetRequest {
        // The last token merges all before it.
        let tokens = if token.is_empty() { self.tokens.tokens.clone() } else { vec![token.to_owned()] };
        let namespace = self.namespace.namespace.clone();
        pb::BatchSetRequest { namespace, items, tokens, barrier: self.barrier.to_wire().into() }
    }
}

// === impl Tally ===

impl Tally {
    /// Counts a response; what is to be said of its items.
    fn add(&mut self, keys: &[String], response: &pb::BatchSetResponse, output: OutputFormat) -> String {
        self.token = response.token.clone();
        let mut said = String::new();
        for (key, result) in keys.iter().zip(&response.results) {
            let outcome = match &result.error {
                Some(_) => "failed".to_owned(),
                None => units::name(result.outcome().as_str_name(), "SET_OUTCOME_"),
            };
            let stored = result.error.is_none() && result.outcome() == pb::SetOutcome::Stored;
            self.exit = self.exit.max(result.error.as_ref().map_or(u8::from(!stored), exit));
            match output {
                OutputFormat::Json => said += &format!("{}\n", line(key, &outcome, result)),
                OutputFormat::Text if !stored => {
                    let why = result.error.as_ref().map_or_else(String::new, |error| format!("  {}", words(error)));
                    said += &format!("{outcome}  {key}{why}\n");
                }
                OutputFormat::Text => {}
            }
            *self.outcomes.entry(outcome).or_default() += 1;
        }
        said
    }

    fn answer(&self, output: OutputFormat) -> Answer {
        let counts: Vec<_> =
            self.outcomes.iter().map(|(outcome, n)| format!("{} {outcome}", units::count(*n))).collect();
        let counts = if counts.is_empty() { "nothing to set".to_owned() } else { counts.join(", ") };
        let notes = match output {
            OutputFormat::Text => format!("{counts}\ntoken  {}\n", self.token),
            OutputFormat::Json => String::new(),
        };
        Answer { notes, exit: self.exit, ..Answer::default() }
    }
}

fn line(key: &str, outcome: &str, result: &pb::BatchSetResult) -> Value {
    let mut line = Map::new();
    line.insert("key".to_owned(), key.into());
    line.insert("outcome".to_owned(), outcome.into());
    line.insert("version".to_owned(), result.version.as_str().into());
    result.error.iter().for_each(|error| put_error(&mut line, error));
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        set: BatchSetArgs,
    }

    fn args(args: &[&str]) -> BatchSetArgs {
        Line::try_parse_from([&["set", "-"], args].concat()).expect("valid arguments").set
    }

    #[test]
    fn a_file_is_cut_into_calls() {
        let text =
            "{\"key\":\"a\",\"value\":\"1\"}\n\n{\"key\":\"b\",\"value\":\"1\"}\n{\"key\":\"c\",\"value\":\"1\"}\nx\n";
        let (mut lines, mut number) = (text.as_bytes(), 0);
        let args = args(&["--size", "2"]);
        let mut next = || args.next(&mut lines, &mut number);
        let keys = |items: Vec<pb::SetRequest>| items.into_iter().map(|item| item.key).collect::<String>();
        assert_eq!(next().expect("valid").map(keys).as_deref(), Some("ab"));
        let wrong = next().expect_err("not JSON").to_string();
        assert!(wrong.starts_with("line 5 is not JSON"), "{wrong}");
    }

    #[test]
    fn what_was_not_stored_is_named() {
        let error = Some(pb::ItemError { code: 14, message: "away".to_owned(), ..Default::default() });
        let results = vec![
            pb::BatchSetResult { outcome: pb::SetOutcome::Stored.into(), version: "1-2".to_owned(), error: None },
            pb::BatchSetResult { outcome: pb::SetOutcome::AlreadyPresent.into(), ..Default::default() },
            pb::BatchSetResult { error, ..Default::default() },
        ];
        let response = pb::BatchSetResponse { results, token: "t".to_owned() };
        let keys = ["a", "b", "c"].map(str::to_owned);
        let mut tally = Tally::default();
        assert_eq!(
            tally.add(&keys, &response, OutputFormat::Text),
            "already_present  b\nfailed  c  UNAVAILABLE: away\n"
        );
        let answer = tally.answer(OutputFormat::Text);
        assert_eq!(answer.notes, "1 already_present, 1 failed, 1 stored\ntoken  t\n");
        assert_eq!(answer.exit, 3);
        assert_eq!(Tally::default().add(&keys, &response, OutputFormat::Json).lines().count(), 3);
    }
}
