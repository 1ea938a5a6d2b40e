//! `twintier stats`: counters of a replica and the state of its tiers, once or repeatedly.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use tokio::time::MissedTickBehavior;

use crate::cli::args::{OutputFormat, ServerArgs, parse_duration};
use crate::cli::connection::{ServiceConnection, cache};
use crate::cli::error::CliError;
use crate::cli::json;
use crate::cli::output::{Output, emit, json_text};
use crate::pb;

/// Escape sequence: cursor home, clear the screen below.
const REPAINT: &str = "\x1b[H\x1b[J";

/// Arguments of `stats`.
#[derive(Args, Debug)]
#[command(
    after_help = "Counts run since the replica's start, or its last reset. In JSON, durations are seconds and sizes are bytes."
)]
pub struct StatsArgs {
    /// Report on this namespace only
    #[arg(short, long, value_name = "NAME", env = "TWINTIER_NAMESPACE")]
    namespace: Option<String>,
    /// Report on the whole fleet: sums of the last report of every replica
    #[arg(long)]
    fleet: bool,
    /// Repeat the report every interval, with rates; JSON is then one line per report
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "1s", value_parser = parse_interval)]
    watch: Option<Duration>,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// Earlier report to compare with.
struct Earlier {
    stats: pb::StatsResponse,
    at: Instant,
}

// === impl StatsArgs ===

impl StatsArgs {
    pub(crate) async fn run(self) -> Result<Output, CliError> {
        let connection = ServiceConnection::new(&self.server)?;
        if let Some(interval) = self.watch {
            return self.watch(&connection, interval).await;
        }
        let stats = self.ask(&connection).await?;
        let out = match self.server.output {
            OutputFormat::Json => json_text(&json::document(&stats)),
            OutputFormat::Text => super::report::report(&stats, None, SystemTime::now()).into_bytes(),
        };
        Ok(Output { out, ..Output::default() })
    }

    async fn ask(&self, connection: &ServiceConnection<'_>) -> Result<pb::StatsResponse, CliError> {
        let scope = if self.fleet { pb::StatsScope::Fleet } else { pb::StatsScope::Replica };
        let namespace = self.namespace.clone().unwrap_or_default();
        let request = pb::StatsRequest { namespace, scope: scope.into() };
        connection.call(request, async |channel, request| cache(channel).stats(request).await).await
    }

    /// Reports until interrupted. After the first response, the service may be away for a while.
    async fn watch(&self, connection: &ServiceConnection<'_>, interval: Duration) -> Result<Output, CliError> {
        let terminal = io::stdout().is_terminal();
        let mut earlier: Option<Earlier> = None;
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.ask(connection).await {
                Ok(stats) => {
                    let at = Instant::now();
                    emit(self.frame(&stats, earlier.as_ref(), at, terminal).as_bytes())?;
                    earlier = Some(Earlier { stats, at });
                }
                Err(failure) if earlier.is_some() && failure.may_pass() => {
                    let _ = io::stderr().write_all(failure.text().as_bytes());
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    fn frame(&self, stats: &pb::StatsResponse, earlier: Option<&Earlier>, at: Instant, terminal: bool) -> String {
        if self.server.output == OutputFormat::Json {
            return format!("{}\n", json::document(stats));
        }
        let since = earlier.map(|earlier| super::tables::Since { stats: &earlier.stats, interval: at - earlier.at });
        let text = super::report::report(stats, since, SystemTime::now());
        if terminal { format!("{REPAINT}{text}") } else { format!("{text}\n") }
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        interval if interval < Duration::from_millis(100) => Err("must be at least 100ms".to_owned()),
        interval => Ok(interval),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        stats: StatsArgs,
    }

    fn parse(args: &[&str]) -> Result<StatsArgs, clap::Error> {
        Line::try_parse_from([&["stats"], args].concat()).map(|line| line.stats)
    }

    #[test]
    fn watching_needs_no_interval_but_takes_one() {
        let watch = |args: &[&str]| parse(args).expect("valid arguments").watch;
        assert_eq!(watch(&[]), None);
        assert_eq!(watch(&["--watch"]), Some(Duration::from_secs(1)));
        assert_eq!(watch(&["--watch", "250ms"]), Some(Duration::from_millis(250)));
        assert_eq!(watch(&["--watch", "-n", "ns"]), Some(Duration::from_secs(1)));
        assert!(parse(&["--watch", "0s"]).is_err() && parse(&["--watch", "99ms"]).is_err());
    }

    #[test]
    fn a_frame_repaints_a_terminal_and_is_a_line_of_json() {
        let stats = pb::StatsResponse::default();
        let frame = |args: &[&str], terminal| {
            parse(args).expect("valid arguments").frame(&stats, None, Instant::now(), terminal)
        };
        assert!(frame(&["--watch"], true).starts_with("\x1b[H\x1b[J"));
        assert!(!frame(&["--watch"], false).contains('\x1b') && frame(&["--watch"], false).ends_with("\n\n"));
        assert_eq!(frame(&["--watch", "-o", "json"], true).lines().count(), 1);
        assert!(parse(&["-o", "table"]).is_ok());
    }
}
