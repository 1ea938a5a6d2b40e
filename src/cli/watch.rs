//! `twintier watch`: streams changes, one line each, until interrupted.

use std::io::{self, Write as _};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::error::CliError;
use super::output::{Output, emit};
use crate::cli::args::{NamespaceArg, OutputFormat, ServerArgs, parse_duration};
use crate::cli::connection::{ServiceConnection, cache};
use crate::cli::{json, units};
use crate::pb;
use crate::pb::watch_change::Covers;
use crate::pb::watch_request::Selector;
use crate::pb::watch_response::Event;

/// Most tokens to resume from: the default of limits.tokens.
const MAX_TOKENS: usize = 16;
/// Pause before a stream that ended is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);

/// Arguments of `watch`.
#[derive(Args, Debug)]
#[command(
    after_help = "Runs until interrupted, also across restarts of the service. --timeout limits only the wait for the first line.\nExit codes: 0 all of --count lines, 2 usage, 3 unavailable or too late, 4 other error."
)]
pub struct WatchArgs {
    #[command(flatten)]
    namespace: NamespaceArg,
    #[command(flatten)]
    scope: ScopeArgs,
    /// Resume from a token of an earlier heartbeat or change (repeatable)
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true)]
    resume: Vec<String>,
    /// Time between heartbeats
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true)]
    heartbeat: Option<Duration>,
    /// Print no heartbeats
    #[arg(short, long)]
    quiet: bool,
    /// Exit after this many lines
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// Scope of the watch: the whole namespace, or one of these.
#[derive(Args, Debug)]
#[group(multiple = false)]
struct ScopeArgs {
    /// Keys below these segments, for example user:42
    #[arg(long, value_name = "SEGMENTS")]
    prefix: Option<String>,
    /// Entries with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
}

/// Progress of a watch.
#[derive(Debug, Default)]
struct WatchProgress {
    /// Tokens to resume from.
    tokens: Vec<String>,
    /// True once an event was received.
    received: bool,
    /// Number of lines printed.
    lines: u64,
}

// === impl WatchArgs ===

impl WatchArgs {
    pub(super) async fn run(self) -> Result<Output, CliError> {
        let connection = ServiceConnection::new(&self.server)?;
        let mut progress = WatchProgress { tokens: self.resume.clone(), ..WatchProgress::default() };
        loop {
            let failure = match self.follow(&connection, &mut progress).await {
                Ok(()) if self.is_done(&progress) => return Ok(Output::default()),
                Ok(()) => None,
                Err(failure) if progress.received && failure.may_pass() => Some(failure),
                Err(failure) => return Err(failure),
            };
            // Servers renew connections now and then; that is not reported.
            if let Some(failure) = failure.filter(|failure| !failure.is("LEAVING")) {
                let _ = io::stderr().write_all(failure.text().as_bytes());
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }

    fn request(&self, tokens: &[String]) -> pb::WatchRequest {
        let tag = || self.scope.tag.clone().map(Selector::Tag);
        pb::WatchRequest {
            namespace: self.namespace.namespace.clone(),
            selector: self.scope.prefix.clone().map(Selector::Prefix).or_else(tag),
            tokens: tokens.to_vec(),
            heartbeat_interval: self.heartbeat.map(units::to_wire),
        }
    }

    /// Follows one stream to its end.
    async fn follow(&self, connection: &ServiceConnection<'_>, progress: &mut WatchProgress) -> Result<(), CliError> {
        let request = self.request(&progress.tokens);
        let mut events = connection.open(request, async |channel, request| cache(channel).watch(request).await).await?;
        loop {
            let event = events.message().await.map_err(|status| connection.failure(status))?;
            let Some(event) = event else { return Ok(()) };
            let Some(event) = event.event else { continue };
            progress.note(&event);
            if !(self.quiet && matches!(event, Event::Heartbeat(_))) {
                emit(line(&event, self.server.output).as_bytes())?;
                progress.lines += 1;
            }
            if self.is_done(progress) {
                return Ok(());
            }
        }
    }

    fn is_done(&self, progress: &WatchProgress) -> bool {
        self.count == Some(progress.lines)
    }
}

// === impl WatchProgress ===

impl WatchProgress {
    fn note(&mut self, event: &Event) {
        self.received = true;
        match event {
            Event::Heartbeat(heartbeat) => self.tokens = vec![heartbeat.token.clone()],
            Event::Change(change) if !change.token.is_empty() => {
                // Any change may be dropped here: then it is sent again. The first token is that of
                // the heartbeat.
                if self.tokens.len() >= MAX_TOKENS {
                    self.tokens.remove(1);
                }
                self.tokens.push(change.token.clone());
            }
            Event::Change(_) | Event::Discontinuity(_) => {}
        }
    }
}

fn line(event: &Event, output: OutputFormat) -> String {
    match output {
        OutputFormat::Json => format!("{}\n", document(event)),
        OutputFormat::Text => format!("{}\n", text(event).trim_end()),
    }
}

fn text(event: &Event) -> String {
    match event {
        Event::Heartbeat(heartbeat) => match heartbeat.proof_age {
            Some(age) => format!("{:<13}  proven {} ago", "heartbeat", units::duration(units::from_wire(age))),
            None => format!("{:<13}  not proven", "heartbeat"),
        },
        Event::Discontinuity(discontinuity) => format!("{:<13}  {}", "discontinuity", reason(discontinuity)),
        Event::Change(change) => {
            let position = format!("{}@{}-{}", change.partition, change.epoch, change.sequence);
            format!("{:<13}  {}  {position}", kind(change), covered(change))
        }
    }
}

fn covered(change: &pb::WatchChange) -> String {
    match &change.covers {
        Some(Covers::Keys(keys)) => keys.keys.iter().map(|key| shown(key)).collect::<Vec<_>>().join(" "),
        Some(Covers::Prefix(prefix)) => format!("prefix {}", shown(prefix)),
        Some(Covers::Pattern(pattern)) => format!("pattern {}", shown(pattern)),
        Some(Covers::Tag(tag)) => format!("tag {}", shown(tag)),
        Some(Covers::WholeNamespace(_)) => "everything".to_owned(),
        None => "-".to_owned(),
    }
}

/// Quotes a key unless it is one plain word.
fn shown(key: &str) -> String {
    let plain = key.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"');
    if plain { key.to_owned() } else { format!("{key:?}") }
}

fn document(event: &Event) -> Value {
    let (name, mut document) = match event {
        Event::Heartbeat(heartbeat) => ("heartbeat", json::fields(heartbeat)),
        Event::Discontinuity(discontinuity) => ("discontinuity", json::fields(discontinuity)),
        Event::Change(change) => ("change", json::fields(change)),
    };
    document.insert("event".to_owned(), name.into());
    if matches!(event, Event::Change(pb::WatchChange { covers: None, .. })) {
        // It covers something that this program does not know.
        document.insert("whole_namespace".to_owned(), true.into());
    }
    if let Some(Value::Object(keys)) = document.get_mut("keys").map(Value::take) {
        document.extend(keys);
    }
    Value::Object(document)
}

fn kind(change: &pb::WatchChange) -> String {
    units::name(change.kind().as_str_name(), "CHANGE_KIND_")
}

fn reason(discontinuity: &pb::WatchDiscontinuity) -> String {
    units::name(discontinuity.reason().as_str_name(), "DISCONTINUITY_REASON_")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        watch: WatchArgs,
    }

    fn parse(args: &[&str]) -> Result<WatchArgs, clap::Error> {
        Line::try_parse_from([&["watch"], args].concat()).map(|line| line.watch)
    }

    fn change(covers: Covers) -> Event {
        let kind = pb::ChangeKind::MarkedStale.into();
        Event::Change(pb::WatchChange {
            epoch: 9,
            sequence: 7,
            partition: 3,
            kind,
            covers: Some(covers),
            token: "t".to_owned(),
        })
    }

    #[test]
    fn an_event_is_one_line() {
        let keys =
            |keys: &[&str]| Covers::Keys(pb::WatchKeys { keys: keys.iter().map(|key| (*key).to_owned()).collect() });
        let text = |event: Event| line(&event, OutputFormat::Text);
        assert_eq!(text(change(keys(&["a", "b\nc"]))), "marked_stale   a \"b\\nc\"  3@9-7\n");
        assert_eq!(text(change(Covers::Prefix("user:42".to_owned()))), "marked_stale   prefix user:42  3@9-7\n");
        let reason = pb::DiscontinuityReason::Gap.into();
        assert_eq!(text(Event::Discontinuity(pb::WatchDiscontinuity { reason })), "discontinuity  gap\n");
        let proof_age = Some(prost_types::Duration { seconds: 0, nanos: 12_000_000 });
        let heartbeat = pb::WatchHeartbeat { proof_age, ..Default::default() };
        assert_eq!(text(Event::Heartbeat(heartbeat)), "heartbeat      proven 12 ms ago\n");
        assert_eq!(text(Event::Heartbeat(pb::WatchHeartbeat::default())), "heartbeat      not proven\n");
        let json = line(&change(keys(&["a"])), OutputFormat::Json);
        assert_eq!(json.lines().count(), 1);
        assert!(json.contains(r#""keys":["a"]"#) && json.contains(r#""kind":"marked_stale""#), "{json}");
    }

    #[test]
    fn a_watch_resumes_from_the_last_heartbeat_and_what_came_after() {
        let mut progress = WatchProgress::default();
        let heartbeat =
            |token: &str| Event::Heartbeat(pb::WatchHeartbeat { token: token.to_owned(), ..Default::default() });
        progress.note(&heartbeat("h1"));
        (0..40).for_each(|_| progress.note(&change(Covers::WholeNamespace(true))));
        assert_eq!((progress.tokens.len(), progress.tokens[0].as_str()), (MAX_TOKENS, "h1"));
        progress.note(&heartbeat("h2"));
        assert_eq!(progress.tokens, ["h2"]);
    }

    #[test]
    fn arguments_become_the_request() {
        let args = parse(&["-n", "ns", "--prefix", "user:42", "--resume", "a", "--resume", "b", "--heartbeat", "2s"]);
        let args = args.expect("valid");
        let request = args.request(&args.resume);
        assert_eq!((request.namespace.as_str(), request.tokens.len()), ("ns", 2));
        assert_eq!(request.selector, Some(Selector::Prefix("user:42".to_owned())));
        assert_eq!(request.heartbeat_interval, Some(prost_types::Duration { seconds: 2, nanos: 0 }));
        assert!(parse(&["--prefix", "a", "--tag", "b"]).is_err());
    }
}
