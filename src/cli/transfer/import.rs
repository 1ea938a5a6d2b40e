//! `twintier import`: stores the entries of JSON lines, by batches, several at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::chunk::Chunk;
use super::lane::{Lane, LaneRules};
use super::lines::{NumberedLine, NumberedLines};
use super::tally::ImportTally;
use crate::cli::args::ServerArgs;
use crate::cli::connection::ServiceConnection;
use crate::cli::entry_line::Fields;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::progress::ProgressLine;
use crate::pb;
use crate::pb::set_request::{Condition, Expiry};

/// Most namespaces for which a lane collects entries at once.
const MAX_OPEN_CHUNKS: usize = 8;

/// Arguments of `import`.
#[derive(Args, Debug)]
#[command(
    after_help = "Each line is a JSON object, as `twintier export` writes it: \"key\"; one of \"value\", \"value_base64\", \"absent\": true; and \
perhaps \"namespace\", \"content_type\", \"ttl\", \"expire_at\", \"no_expiry\": true or \"sliding\": {\"idle\", \"max_ttl\"}, \"soft_ttl\", \
\"jitter\", \"tags\", \"source_version\", \"request_id\", and one of \"if_absent\": true, \"if_present\": true, \"if_version\".\n\
Without --continue-on-error the first line that is not accepted ends the command, which names the line to continue from.\n\
Exit codes: 0 all stored, 1 some not because of a condition, 2 usage, 3 unavailable or too late, 4 rejected lines or another error."
)]
pub struct ImportArgs {
    /// File of JSON lines; `-` reads standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Namespace of all entries, in place of those that the lines name
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Namespace of the lines that name none
    #[arg(long, value_name = "NAME", env = "TWINTIER_NAMESPACE", default_value = "default")]
    default_namespace: String,
    /// Store only entries that are not present; others count as kept
    #[arg(long)]
    if_absent: bool,
    /// Skip lines and entries that are not accepted; they are reported and counted
    #[arg(long)]
    continue_on_error: bool,
    /// Check the lines, and store nothing; the limits of the service are not checked
    #[arg(long)]
    dry_run: bool,
    /// Begin with this line, to continue an import that has stopped
    #[arg(long, value_name = "LINE", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from_line: u64,
    /// Most entries in one call
    #[arg(long, value_name = "ENTRIES", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    size: u32,
    /// Most calls at once
    #[arg(long, value_name = "CALLS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: u16,
    /// Most retries of a call while the service is unavailable
    #[arg(long, value_name = "N", default_value_t = 10)]
    retries: u32,
    /// Print no progress and no summary
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// The parts of an import that reads lines.
struct Feed<'a> {
    args: &'a ImportArgs,
    tally: &'a RefCell<ImportTally>,
    stop: &'a CancellationToken,
    lanes: Vec<mpsc::Sender<Chunk>>,
    /// Chunks that are not full yet, by lane and namespace.
    chunks: Vec<BTreeMap<String, Chunk>>,
    bytes: u64,
}

// === impl ImportArgs ===

impl ImportArgs {
    pub(in crate::cli) async fn run(self) -> Result<Output, CliError> {
        let connection = ServiceConnection::new(&self.server)?;
        let lines = NumberedLines::open(&self.file)?;
        let source = lines.name.clone();
        let tally = RefCell::new(ImportTally::new(self.server.output, ProgressLine::new(lines.size, self.quiet)));
        let stop = CancellationToken::new();
        let (retries, continues, if_absent) = (self.retries, self.continue_on_error, self.if_absent);
        let rules = LaneRules { source: &source, retries, continues, if_absent };
        let (lanes, receivers): (Vec<_>, Vec<_>) = (0..self.concurrency).map(|_| mpsc::channel(1)).unzip();
        let chunks = lanes.iter().map(|_| BTreeMap::new()).collect();
        let feed = Feed { args: &self, tally: &tally, stop: &stop, lanes, chunks, bytes: 0 };
        let lane = || Lane { connection: &connection, tally: &tally, stop: &stop, rules };
        let running = receivers.into_iter().map(|chunks| lane().run(chunks));
        let (fed, _) = tokio::join!(feed.run(lines), join_all(running));
        let mut tally = tally.into_inner();
        let failure = tally.failure.take().or(fed.err());
        let summary = tally.summary(failure.is_some() || stop.is_cancelled(), self.quiet);
        drop(tally);
        match failure {
            None => Ok(summary),
            Some(failure) => summary.print().and(Err(failure)),
        }
    }

    /// Reads a line: its namespace and its entry. `None` if it is blank.
    fn parse(&self, bytes: &[u8]) -> Result<Option<(String, pb::SetRequest)>, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        let mut fields = Fields::parse(text)?;
        let named = fields.text("namespace")?.filter(|name| !name.is_empty());
        // The version that the entry had where it was exported.
        fields.text("version")?;
        let mut item = fields.into_set()?;
        if self.if_absent && item.condition.is_none() {
            item.condition = Some(Condition::IfAbsent(pb::IfAbsent {}));
        }
        let namespace = self.namespace.clone().or(named).unwrap_or_else(|| self.default_namespace.clone());
        Ok(Some((namespace, item)))
    }
}

// === impl Feed ===

impl Feed<'_> {
    /// Reads all lines, and sends their entries to the lanes.
    async fn run(mut self, mut lines: NumberedLines) -> Result<(), CliError> {
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        loop {
            let line = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                _ = &mut interrupted => {
                    self.stop.cancel();
                    return Ok(());
                }
                line = lines.next() => line,
            };
            let taken = match line {
                Ok(Some(line)) => self.take(line, &lines.name).await,
                Ok(None) => return self.flush().await,
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                self.stop.cancel();
                return Err(error);
            }
        }
    }

    /// Adds the entry of a line to its chunk.
    async fn take(&mut self, line: NumberedLine, source: &str) -> Result<(), CliError> {
        let number = line.number;
        self.bytes += line.bytes.len() as u64;
        self.tally.borrow().progress.set_bytes(self.bytes);
        if number >= self.args.from_line {
            match self.args.parse(&line.bytes) {
                Ok(None) => {}
                Ok(Some((_, item))) if is_over(&item) => self.tally.borrow_mut().count("expired", 1),
                Ok(Some(_)) if self.args.dry_run => self.tally.borrow_mut().count("valid", 1),
                Ok(Some((namespace, item))) => self.route(number, namespace, item).await,
                Err(why) => {
                    self.tally.borrow_mut().reject(number, &why)?;
                    if !self.args.continue_on_error {
                        return Err(CliError::of_line(source, number, &why));
                    }
                }
            }
        }
        self.tally.borrow_mut().read(number);
        Ok(())
    }

    async fn route(&mut self, number: u64, namespace: String, item: pb::SetRequest) {
        let mut hasher = DefaultHasher::new();
        (&namespace, &item.key).hash(&mut hasher);
        let lane = (hasher.finish() % self.lanes.len() as u64) as usize;
        let closed = self.chunks[lane].get(&namespace).is_some_and(|c| c.is_closed_to(&item, self.args.size as usize));
        if closed && let Some(full) = self.chunks[lane].remove(&namespace) {
            self.send(lane, full).await;
        }
        match self.chunks[lane].get_mut(&namespace) {
            Some(chunk) => chunk.add(number, item),
            None => {
                self.tally.borrow_mut().open(number);
                let chunk = Chunk::new(&namespace, number, item);
                self.chunks[lane].insert(namespace, chunk);
            }
        }
        if self.chunks[lane].len() > MAX_OPEN_CHUNKS {
            let oldest =
                self.chunks[lane].values().min_by_key(|chunk| chunk.first).map(|chunk| chunk.namespace.clone());
            if let Some(chunk) = oldest.and_then(|namespace| self.chunks[lane].remove(&namespace)) {
                self.send(lane, chunk).await;
            }
        }
    }

    /// Waits until the lane takes the chunk. A lane that has ended drops it.
    async fn send(&self, lane: usize, chunk: Chunk) {
        let _ = self.lanes[lane].send(chunk).await;
    }

    async fn flush(mut self) -> Result<(), CliError> {
        let chunks = std::mem::take(&mut self.chunks);
        let rests =
            chunks.into_iter().enumerate().flat_map(|(lane, chunks)| chunks.into_values().map(move |c| (lane, c)));
        join_all(rests.map(|(lane, chunk)| self.send(lane, chunk))).await;
        Ok(())
    }
}

/// Returns true if the entry has ended already.
fn is_over(item: &pb::SetRequest) -> bool {
    let Some(Expiry::ExpireTime(time)) = item.expiry else { return false };
    SystemTime::try_from(time).is_ok_and(|time| time <= SystemTime::now())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        import: ImportArgs,
    }

    fn args(args: &[&str]) -> ImportArgs {
        Command::try_parse_from([&["import"], args].concat()).expect("valid arguments").import
    }

    #[test]
    fn a_line_goes_to_the_namespace_of_the_flag_else_its_own() {
        let namespace = |flags: &[&str], line: &str| {
            args(flags).parse(line.as_bytes()).expect("valid").map(|(namespace, _)| namespace)
        };
        let (named, plain) = (r#"{"namespace":"a","key":"k","value":"v"}"#, r#"{"key":"k","value":"v"}"#);
        assert_eq!(namespace(&[], named).as_deref(), Some("a"));
        assert_eq!(namespace(&["--default-namespace", "d"], plain).as_deref(), Some("d"));
        assert_eq!(namespace(&["-n", "b", "--default-namespace", "d"], named).as_deref(), Some("b"));
        assert_eq!(namespace(&[], " \n"), None);
    }

    #[test]
    fn a_condition_of_the_line_wins() {
        let condition =
            |line: &str| args(&["--if-absent"]).parse(line.as_bytes()).expect("valid").expect("one").1.condition;
        assert_eq!(condition(r#"{"key":"k","value":"v"}"#), Some(Condition::IfAbsent(pb::IfAbsent {})));
        let present = r#"{"key":"k","value":"v","if_present":true}"#;
        assert_eq!(condition(present), Some(Condition::IfPresent(pb::IfPresent {})));
        assert!(args(&[]).parse(b"\xff").is_err());
    }

    #[test]
    fn an_entry_that_has_ended_is_recognized() {
        let is_over = |end: &str| {
            let line = format!(r#"{{"key":"k","value":"v","expire_at":"{end}"}}"#);
            is_over(&args(&[]).parse(line.as_bytes()).expect("valid").expect("one").1)
        };
        assert!(is_over("2020-01-01T00:00:00Z") && !is_over("2999-01-01T00:00:00Z"));
    }
}
