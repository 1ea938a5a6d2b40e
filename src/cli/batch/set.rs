//! `twintier batch set`: writes the entries of a file, in as many calls as needed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use clap::Args;
use prost::Message as _;
use serde_json::Value;

use crate::cli::args::{BarrierArg, NamespaceArg, OutputFormat, ServerArgs, ShowTokenArg, TokenArgs};
use crate::cli::batch::item_error::{exit, put_error, words};
use crate::cli::connection::{ServiceConnection, cache};
use crate::cli::error::CliError;
use crate::cli::output::{Output, emit};
use crate::cli::progress::ProgressLine;
use crate::cli::{entry_line, json, units};
use crate::pb;

/// Bytes at which a call is full: well below the smallest limit of a service.
const FULL: usize = 1 << 20;
/// Longest line that is read: twice the largest possible value.
const LONGEST: u64 = 1 << 30;

/// Arguments of `batch set`.
#[derive(Args, Debug)]
#[command(
    after_help = "Each line of the file is a JSON object: \"key\"; one of \"value\", \"value_base64\", \"absent\": true; and perhaps \
\"content_type\", \"ttl\", \"expire_at\" or \"no_expiry\": true, \"soft_ttl\", \"tags\", \"source_version\", \"request_id\", and one of \
\"if_absent\": true, \"if_present\": true, \"if_version\".\n\
Without --continue-on-error the first line or call that fails ends the command; the entries of the calls before it are stored, and counted.\n\
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
    /// Skip lines and calls that fail; they are reported and counted
    #[arg(long)]
    continue_on_error: bool,
    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    show_token: ShowTokenArg,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// Results so far.
#[derive(Default)]
struct BatchTally {
    outcomes: BTreeMap<String, u64>,
    token: String,
    exit: u8,
    /// Last line of the last call that was answered.
    done: u64,
}

/// Entries of one call, and lines that are invalid.
#[derive(Default)]
struct BatchChunk {
    items: Vec<pb::SetRequest>,
    rejected: Vec<String>,
    bytes: usize,
}

// === impl BatchSetArgs ===

impl BatchSetArgs {
    pub(super) async fn run(self) -> Result<Output, CliError> {
        let name = self.file.display().to_string();
        let source: Box<dyn Read + Send> = match name.as_str() {
            "-" => Box::new(io::stdin()),
            _ => Box::new(File::open(&self.file).map_err(CliError::io(&name))?),
        };
        let mut lines = BufReader::new(source);
        let (connection, mut tally, mut progress) =
            (ServiceConnection::new(&self.server)?, BatchTally::default(), ProgressLine::new(None, false));
        let mut number = 0;
        let ended = self.store(&connection, &mut lines, &mut number, &mut tally, &mut progress).await;
        drop(progress);
        if let Err(failure) = ended {
            if tally.done > 0 || !tally.outcomes.is_empty() {
                let mut answer = tally.answer(self.show_token, self.server.output);
                answer.notes += &format!("stopped: lines 1 to {} are done, those after it are not\n", tally.done);
                answer.print()?;
            }
            return Err(failure);
        }
        Ok(tally.answer(self.show_token, self.server.output))
    }

    /// Stores the entries of every line, call by call.
    async fn store(
        &self,
        connection: &ServiceConnection<'_>,
        lines: &mut impl BufRead,
        number: &mut u64,
        tally: &mut BatchTally,
        progress: &mut ProgressLine,
    ) -> Result<(), CliError> {
        let name = self.file.display().to_string();
        loop {
            let (chunk, broken) = self.next(lines, number);
            for rejected in &chunk.rejected {
                progress.suspend(|| emit(tally.reject(rejected, self.server.output).as_bytes()))?;
            }
            if !chunk.items.is_empty() {
                let keys: Vec<String> = chunk.items.iter().map(|item| item.key.clone()).collect();
                let request = self.request(chunk.items, &tally.token);
                let set = async |channel, request| cache(channel).batch_set(request).await;
                let said = match connection.call(request, set).await {
                    Ok(response) => tally.add(&keys, &response, self.server.output),
                    Err(failure) if self.continue_on_error => tally.fail(&keys, &failure, self.server.output),
                    Err(failure) => return Err(failure),
                };
                progress.suspend(|| emit(said.as_bytes()))?;
                progress.add(keys.len());
            } else if chunk.rejected.is_empty() && broken.is_none() {
                return Ok(());
            }
            if let Some(error) = broken {
                tally.done = number.saturating_sub(1);
                return Err(CliError::io(&name)(error));
            }
            tally.done = *number;
        }
    }

    /// Returns the entries of the next call, and why no line after them can be read.
    fn next(&self, lines: &mut impl BufRead, number: &mut u64) -> (BatchChunk, Option<io::Error>) {
        let mut chunk = BatchChunk::default();
        while chunk.items.len() < self.size as usize && chunk.bytes < FULL && chunk.rejected.len() < self.size as usize
        {
            let mut line = Vec::new();
            match lines.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => *number += 1,
                Err(error) => return (chunk, Some(error)),
            }
            let parsed = match std::str::from_utf8(&line) {
                Ok(text) if text.trim().is_empty() => continue,
                Ok(text) => entry_line::parse(text),
                Err(_) => Err("is not UTF-8".to_owned()),
            };
            match parsed {
                Ok(item) => {
                    chunk.bytes += item.encoded_len();
                    chunk.items.push(item);
                }
                Err(why) if self.continue_on_error => chunk.rejected.push(format!("line {number} {why}")),
                Err(why) => {
                    return (chunk, Some(io::Error::new(io::ErrorKind::InvalidData, format!("line {number} {why}"))));
                }
            }
        }
        (chunk, None)
    }

    fn request(&self, items: Vec<pb::SetRequest>, token: &str) -> pb::BatchSetRequest {
        // The last token includes all before it.
        let tokens = if token.is_empty() { self.tokens.tokens.clone() } else { vec![token.to_owned()] };
        let namespace = self.namespace.namespace.clone();
        pb::BatchSetRequest { namespace, items, tokens, barrier: self.barrier.to_wire().into() }
    }
}

// === impl BatchTally ===

impl BatchTally {
    /// Counts a response and returns the text about its items.
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

    /// Counts an invalid line and returns the text about it.
    fn reject(&mut self, why: &str, output: OutputFormat) -> String {
        self.exit = self.exit.max(4);
        *self.outcomes.entry("rejected".to_owned()).or_default() += 1;
        match output {
            OutputFormat::Json => format!("{}\n", serde_json::json!({ "outcome": "rejected", "error": why })),
            OutputFormat::Text => format!("rejected  {why}\n"),
        }
    }

    /// Counts the items of a call that failed and returns the text about them.
    fn fail(&mut self, keys: &[String], failure: &CliError, output: OutputFormat) -> String {
        self.exit = self.exit.max(failure.exit());
        *self.outcomes.entry("failed".to_owned()).or_default() += keys.len() as u64;
        let why = failure.text();
        let why = why.lines().next().unwrap_or_default();
        keys.iter()
            .map(|key| match output {
                OutputFormat::Json => {
                    format!("{}\n", serde_json::json!({ "key": key, "outcome": "failed", "error": why }))
                }
                OutputFormat::Text => format!("failed  {key}  {why}\n"),
            })
            .collect()
    }

    fn answer(&self, token: ShowTokenArg, output: OutputFormat) -> Output {
        let counts: Vec<_> =
            self.outcomes.iter().map(|(outcome, n)| format!("{} {outcome}", units::count(*n))).collect();
        let counts = if counts.is_empty() { "nothing to set".to_owned() } else { counts.join(", ") };
        let notes = match output {
            OutputFormat::Text if token.show_token => format!("{counts}\ntoken  {}\n", self.token),
            OutputFormat::Text => format!("{counts}\n"),
            OutputFormat::Json => String::new(),
        };
        Output { notes, exit: self.exit, ..Output::default() }
    }
}

fn line(key: &str, outcome: &str, result: &pb::BatchSetResult) -> Value {
    let mut line = json::fields(result);
    line.remove("error");
    line.insert("key".to_owned(), key.into());
    line.insert("outcome".to_owned(), outcome.into());
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
        let keys = |chunk: BatchChunk| chunk.items.into_iter().map(|item| item.key).collect::<String>();
        let (first, broken) = next();
        assert_eq!((keys(first).as_str(), broken.is_none()), ("ab", true));
        let (second, broken) = next();
        assert_eq!(keys(second), "c", "what comes before a bad line is stored");
        let broken = broken.expect("not JSON").to_string();
        assert!(broken.starts_with("line 5 is not JSON"), "{broken}");
    }

    #[test]
    fn bad_lines_are_skipped_where_that_was_asked_for() {
        let (mut lines, mut number) = (&b"x\n{\"key\":\"a\",\"value\":\"1\"}\n\xff\n"[..], 0);
        let (chunk, broken) = args(&["--continue-on-error"]).next(&mut lines, &mut number);
        assert_eq!((chunk.items.len(), broken.is_none()), (1, true));
        assert!(chunk.rejected[0].starts_with("line 1 is not JSON"), "{:?}", chunk.rejected);
        assert_eq!(chunk.rejected[1], "line 3 is not UTF-8");
        let mut tally = BatchTally::default();
        assert_eq!(tally.reject(&chunk.rejected[1], OutputFormat::Text), "rejected  line 3 is not UTF-8\n");
        assert_eq!(tally.answer(ShowTokenArg { show_token: false }, OutputFormat::Text).notes, "1 rejected\n");
        assert_eq!(tally.exit, 4);
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
        let mut tally = BatchTally::default();
        assert_eq!(
            tally.add(&keys, &response, OutputFormat::Text),
            "already_present  b\nfailed  c  UNAVAILABLE: away\n"
        );
        let answer = tally.answer(ShowTokenArg { show_token: true }, OutputFormat::Text);
        assert_eq!(answer.notes, "1 already_present, 1 failed, 1 stored\ntoken  t\n");
        assert_eq!(answer.exit, 3);
        assert_eq!(BatchTally::default().add(&keys, &response, OutputFormat::Json).lines().count(), 3);
    }
}
