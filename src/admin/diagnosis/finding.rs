//! A finding of the diagnosis, the samples it is made from, and numbers in its texts.

use std::time::Duration;

use crate::admin::sample::Sample;
use crate::cache::fleet::replica::FleetReplica;

/// What a diagnosis goes by.
pub struct Signs<'a> {
    pub before: &'a Sample,
    pub now: &'a Sample,
    /// Usual p99 of Redis' answers; none: not enough is known.
    pub usual: Option<Duration>,
    /// The replicas of the fleet.
    pub fleet: &'a [FleetReplica],
    /// This one among them.
    pub own: &'a str,
    /// The key read most: how it is shown, and its Gets a second.
    pub hottest: Option<Hottest<'a>>,
}

/// The key read most.
#[derive(Clone, Copy)]
pub struct Hottest<'a> {
    pub shown: &'a str,
    pub namespace: &'a str,
    pub rate: f64,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    /// Its name, for programs.
    pub kind: &'static str,
    pub title: String,
    /// What it means for callers.
    pub meaning: String,
    /// What was seen.
    pub evidence: String,
    /// What to do.
    pub action: &'static str,
    /// The section of docs/runbooks.md.
    pub runbook: &'static str,
}

/// The runbooks of the release, where the chart's alerts point, too.
const RUNBOOKS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/runbooks.md#");

impl Finding {
    /// Returns the address of its runbook.
    pub fn runbook_url(&self) -> String {
        format!("{RUNBOOKS}{}", self.runbook)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Good to know.
    Notice,
    /// Callers are served worse, or soon will be.
    Warning,
    /// What was promised is not held, or writes fail.
    Critical,
}

// === words ===

/// A share as people read it.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", (share * 100.0).min(100.0))
}

/// A rate as people read it.
pub(super) fn a_second(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}/s") } else { format!("{rate:.0}/s") }
}

/// A duration as people read it.
pub(super) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        _ if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        _ if seconds < 0.01 => format!("{:.1} ms", seconds * 1e3),
        _ if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        _ if seconds < 120.0 => format!("{seconds:.1} s"),
        _ => format!("{:.0} min", seconds / 60.0),
    }
}

/// `part` of `whole`; nothing of nothing.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
