//! `twintier export`: writes the entries of namespaces as JSON lines.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use serde_json::json;

use super::backoff::RetryBackoff;
use super::export_line::line;
use crate::cli::args::{OutputFormat, ServerArgs};
use crate::cli::connection::{ServiceConnection, admin};
use crate::cli::error::CliError;
use crate::cli::output::{Output, emit};
use crate::cli::progress::ProgressLine;
use crate::cli::units;
use crate::pb;

/// Arguments of `export`.
#[derive(Args, Debug)]
#[command(
    after_help = "An entry that is there during the whole export is in it, maybe twice. One that is written, changed or removed meanwhile may \
be in it or not. `twintier import` reads the lines.\n\
Exit codes: 0 done, 2 usage, 3 unavailable or too late, 4 other error."
)]
pub struct ExportArgs {
    /// Namespace (repeatable); default all
    #[arg(short, long = "namespace", value_name = "NAME", env = "TWINTIER_NAMESPACE", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// Keys below these segments, for example user:42
    #[arg(long, value_name = "SEGMENTS", default_value = "", hide_default_value = true)]
    prefix: String,
    /// File to write; `-` writes to standard output
    #[arg(long, value_name = "PATH", default_value = "-")]
    file: PathBuf,
    /// Write the time at which an entry ends, and not the time that is left
    #[arg(long)]
    absolute: bool,
    /// Continue an export that failed: it names its cursor. Lines are added to --file
    #[arg(long, value_name = "CURSOR", default_value = "", hide_default_value = true)]
    cursor: String,
    /// Most retries of a call while the service is unavailable
    #[arg(long, value_name = "N", default_value_t = 10)]
    retries: u32,
    /// Print no progress and no summary
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// Writes lines to the file.
type LineWriter = Box<dyn FnMut(&[u8]) -> Result<(), CliError> + Send>;

/// Result so far.
#[derive(Default)]
struct ExportTally {
    cursor: String,
    complete: bool,
    entries: u64,
    skipped: u64,
    withheld: u64,
    restarts: u64,
}

// === impl ExportArgs ===

impl ExportArgs {
    pub(in crate::cli) async fn run(self) -> Result<Output, CliError> {
        let connection = ServiceConnection::new(&self.server)?;
        let mut tally = ExportTally { cursor: self.cursor.clone(), ..ExportTally::default() };
        let mut write = self.writer()?;
        let mut progress = ProgressLine::new(None, self.quiet);
        let mut backoff = RetryBackoff::new(self.retries);
        while !tally.complete {
            let before = tally.cursor.clone();
            let called = self.call(&connection, &mut tally, &mut write, &mut progress).await;
            if tally.cursor != before {
                backoff.reset();
            }
            let Err(failure) = called else { continue };
            let pause = failure.retry_after().and_then(|least| backoff.next(least));
            let Some(pause) = pause else {
                drop(progress);
                Output { notes: tally.stopped(self.server.output), ..Output::default() }.print()?;
                return Err(failure);
            };
            tokio::time::sleep(pause).await;
        }
        drop(progress);
        let notes = if self.quiet { String::new() } else { tally.summary(self.server.output) };
        Ok(Output { notes, ..Output::default() })
    }

    /// Exports what one call has.
    async fn call(
        &self,
        connection: &ServiceConnection<'_>,
        tally: &mut ExportTally,
        write: &mut dyn FnMut(&[u8]) -> Result<(), CliError>,
        progress: &mut ProgressLine,
    ) -> Result<(), CliError> {
        let request = pb::ExportEntriesRequest {
            namespaces: self.namespaces.clone(),
            prefix: self.prefix.clone(),
            cursor: tally.cursor.clone(),
        };
        let export = async |channel, request| admin(channel).export_entries(request).await;
        let receive = |response: pb::ExportEntriesResponse| {
            let received_at = self.absolute.then(SystemTime::now);
            let lines: String = response.entries.iter().map(|entry| line(entry, received_at)).collect();
            progress.suspend(|| write(lines.as_bytes()))?;
            progress.add(response.entries.len());
            tally.add(response);
            Ok(())
        };
        connection.stream(request, export, receive).await
    }

    /// Opens the file. Returns the function that writes to it.
    fn writer(&self) -> Result<LineWriter, CliError> {
        let name = self.file.display().to_string();
        if name == "-" {
            return Ok(Box::new(emit));
        }
        let mut options = OpenOptions::new();
        let options = match self.cursor.as_str() {
            "" => options.write(true).create(true).truncate(true),
            _ => options.append(true).create(true),
        };
        let mut file = options.open(&self.file).map_err(CliError::io(&name))?;
        Ok(Box::new(move |lines| file.write_all(lines).map_err(CliError::io(&name))))
    }
}

// === impl ExportTally ===

impl ExportTally {
    fn add(&mut self, response: pb::ExportEntriesResponse) {
        self.entries += response.entries.len() as u64;
        self.skipped += response.skipped;
        self.withheld += response.withheld;
        self.restarts += u64::from(response.restarted);
        (self.cursor, self.complete) = (response.cursor, response.complete);
    }

    /// Returns how to continue after a failure.
    fn stopped(&self, output: OutputFormat) -> String {
        if output == OutputFormat::Json {
            return format!("{}\n", json!({ "exported": self.entries, "cursor": self.cursor }));
        }
        let begun = format!("stopped: {} entries are written\n", units::count(self.entries));
        match self.cursor.as_str() {
            "" => begun,
            cursor => format!("{begun}continue with --cursor {cursor}\n"),
        }
    }

    fn summary(&self, output: OutputFormat) -> String {
        let ExportTally { entries, skipped, withheld, restarts, .. } = self;
        if output == OutputFormat::Json {
            let summary =
                json!({ "exported": entries, "skipped": skipped, "withheld": withheld, "restarts": restarts });
            return format!("{summary}\n");
        }
        let counts = [
            (*skipped, "skipped (not live)"),
            (*withheld, "withheld (not granted)"),
            (*restarts, "restarts (a Redis server has changed)"),
        ];
        let others = counts.iter().filter(|(count, _)| *count > 0);
        let others: String = others.map(|(count, what)| format!(", {} {what}", units::count(*count))).collect();
        format!("{} exported{others}\n", units::count(*entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_what_is_missing() {
        let mut tally = ExportTally::default();
        let entries = vec![pb::ExportedEntry::default(); 2];
        tally.add(pb::ExportEntriesResponse { entries, cursor: "c".into(), ..Default::default() });
        let stopped = "stopped: 2 entries are written\ncontinue with --cursor c\n";
        assert_eq!(tally.stopped(OutputFormat::Text), stopped);
        assert_eq!(tally.stopped(OutputFormat::Json), "{\"cursor\":\"c\",\"exported\":2}\n");
        assert_eq!(tally.summary(OutputFormat::Text), "2 exported\n");
        tally.add(pb::ExportEntriesResponse { skipped: 1, withheld: 3, complete: true, ..Default::default() });
        assert_eq!(tally.summary(OutputFormat::Text), "2 exported, 1 skipped (not live), 3 withheld (not granted)\n");
        let json = r#"{"exported":2,"restarts":0,"skipped":1,"withheld":3}"#;
        assert_eq!(tally.summary(OutputFormat::Json).trim(), json);
    }
}
