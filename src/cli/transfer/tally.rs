//! Results of an import so far: counts, reports of lines, and the line from which to continue.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};

use serde_json::{Map, Value};

use crate::cli::args::OutputFormat;
use crate::cli::error::CliError;
use crate::cli::output::{Output, emit};
use crate::cli::progress::ProgressLine;
use crate::cli::units;

/// Exit code if a line is rejected, and if an entry is not stored because of a condition.
const REJECTED: u8 = 4;
const NOT_STORED: u8 = 1;

/// A line that was not stored.
pub(super) struct LineReport<'a> {
    pub outcome: &'a str,
    pub number: u64,
    pub key: Option<&'a str>,
    /// The reason. Empty if the outcome says it.
    pub why: &'a str,
}

/// Results so far.
pub(super) struct ImportTally {
    output: OutputFormat,
    counts: BTreeMap<String, u64>,
    exit: u8,
    /// First lines of the chunks that are not stored yet.
    open: BTreeSet<u64>,
    /// Last line that is in a chunk, or needs none.
    read: u64,
    /// The error that ended the import.
    pub failure: Option<CliError>,
    pub progress: ProgressLine,
}

// === impl ImportTally ===

impl ImportTally {
    pub fn new(output: OutputFormat, progress: ProgressLine) -> ImportTally {
        let (counts, open) = (BTreeMap::new(), BTreeSet::new());
        ImportTally { output, counts, exit: 0, open, read: 0, failure: None, progress }
    }

    /// Records that a chunk begins with this line.
    pub fn open(&mut self, first: u64) {
        self.open.insert(first);
    }

    /// Records that a chunk is stored.
    pub fn close(&mut self, first: u64) {
        self.open.remove(&first);
    }

    /// Records that a line is in a chunk, or needs none.
    pub fn read(&mut self, number: u64) {
        self.read = number;
    }

    /// Counts entries.
    pub fn count(&mut self, outcome: &str, entries: usize) {
        if entries == 0 {
            return;
        }
        *self.counts.entry(outcome.to_owned()).or_default() += entries as u64;
        self.progress.add(entries);
    }

    /// Counts and reports a line that breaks a rule.
    pub fn reject(&mut self, number: u64, why: &str) -> Result<(), CliError> {
        self.exit = self.exit.max(REJECTED);
        self.report(&LineReport { outcome: "rejected", number, key: None, why })
    }

    /// Counts and reports an entry that its condition did not let in.
    pub fn refuse(&mut self, number: u64, key: &str, outcome: &str) -> Result<(), CliError> {
        self.exit = self.exit.max(NOT_STORED);
        self.report(&LineReport { outcome, number, key: Some(key), why: "" })
    }

    /// Counts and reports an entry whose call failed.
    pub fn fail(&mut self, number: u64, key: &str, failure: &CliError) -> Result<(), CliError> {
        self.exit = self.exit.max(failure.exit());
        let text = failure.text();
        let why = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        self.report(&LineReport { outcome: "failed", number, key: Some(key), why })
    }

    fn report(&mut self, report: &LineReport<'_>) -> Result<(), CliError> {
        self.count(report.outcome, 1);
        let output = self.output;
        self.progress.suspend(|| match output {
            OutputFormat::Json => emit(report.json().as_bytes()),
            OutputFormat::Text => {
                let _ = io::stderr().write_all(report.text().as_bytes());
                Ok(())
            }
        })
    }

    /// Returns the line up to which everything is done.
    pub fn done(&self) -> u64 {
        self.open.first().map_or(self.read, |first| (first - 1).min(self.read))
    }

    /// Returns the summary. `stopped` if lines are left.
    pub fn summary(&self, stopped: bool, is_quiet: bool) -> Output {
        let exit = if stopped { self.exit.max(REJECTED) } else { self.exit };
        let mut output = Output { exit, ..Output::default() };
        if self.output == OutputFormat::Json {
            let mut summary: Map<String, Value> =
                self.counts.iter().map(|(outcome, count)| (outcome.clone(), (*count).into())).collect();
            summary.insert("done_to_line".to_owned(), self.done().into());
            output.out = format!("{}\n", Value::Object(summary)).into_bytes();
            return output;
        }
        let counts: Vec<_> =
            self.counts.iter().map(|(outcome, count)| format!("{} {outcome}", units::count(*count))).collect();
        if !is_quiet {
            output.notes = if counts.is_empty() { "nothing to import".to_owned() } else { counts.join(", ") } + "\n";
        }
        if stopped {
            let next = self.done() + 1;
            output.notes += &format!("stopped: the lines before {next} are done; continue with --from-line {next}\n");
        }
        output
    }
}

// === impl LineReport ===

impl LineReport<'_> {
    fn text(&self) -> String {
        let key = self.key.map_or_else(String::new, |key| format!("  {}", key.escape_debug()));
        let why = if self.why.is_empty() { String::new() } else { format!("  {}", self.why) };
        format!("{}  line {}{key}{why}\n", self.outcome, self.number)
    }

    fn json(&self) -> String {
        let LineReport { outcome, number, key, why } = self;
        format!("{}\n", serde_json::json!({ "outcome": outcome, "line": number, "key": key, "error": why }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: OutputFormat) -> ImportTally {
        ImportTally::new(output, ProgressLine::new(None, true))
    }

    #[test]
    fn an_import_continues_from_the_first_line_that_is_not_done() {
        let mut tally = tally(OutputFormat::Text);
        assert_eq!((tally.done(), tally.summary(false, false).notes.as_str()), (0, "nothing to import\n"));
        tally.open(1);
        tally.open(3);
        tally.read(9);
        assert_eq!(tally.done(), 0);
        tally.count("stored", 1200);
        tally.close(1);
        assert_eq!(tally.done(), 2, "another chunk begins with line 3");
        let stopped = "1,200 stored\nstopped: the lines before 3 are done; continue with --from-line 3\n";
        assert_eq!(tally.summary(true, false).notes, stopped);
        assert_eq!(tally.summary(true, true).exit, REJECTED);
        tally.close(3);
        assert_eq!((tally.done(), tally.summary(false, true)), (9, Output::default()));
        assert_eq!(super::tests::tally(OutputFormat::Json).summary(false, false).out, b"{\"done_to_line\":0}\n");
    }

    #[test]
    fn a_line_that_is_not_stored_is_named() {
        let report = |key, why| LineReport { outcome: "failed", number: 7, key, why };
        assert_eq!(report(Some("a\nb"), "UNAVAILABLE: away").text(), "failed  line 7  a\\nb  UNAVAILABLE: away\n");
        assert_eq!(report(None, "").text(), "failed  line 7\n");
        let json = r#"{"error":"","key":"k","line":7,"outcome":"failed"}"#;
        assert_eq!(report(Some("k"), "").json().trim(), json);
    }
}
