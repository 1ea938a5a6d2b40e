//! A finding of the diagnosis, the reports it is made from, and numbers in its texts.

use std::time::Duration;

use crate::cache::fleet::replica::FleetReplica;
use crate::cache::fleet::report::ReplicaReport;

/// Input of a diagnosis.
pub struct Signs<'a> {
    pub before: &'a ReplicaReport,
    pub now: &'a ReplicaReport,
    /// Counts from `before` to `now`.
    pub lately: &'a ReplicaReport,
    /// Usual p99 of Redis; `None` if too little is known.
    pub usual: Option<Duration>,
    /// The replicas of the fleet.
    pub fleet: &'a [FleetReplica],
    /// Identity of this replica.
    pub own: &'a str,
    /// The hottest key, as it is shown, and its Gets per second.
    pub hottest: Option<Hottest<'a>>,
}

impl Signs<'_> {
    /// Returns the seconds from `before` to `now`.
    pub(super) fn seconds(&self) -> f64 {
        self.now.seconds_since(self.before)
    }
}

/// The hottest key.
#[derive(Clone, Copy)]
pub struct Hottest<'a> {
    pub shown: &'a str,
    pub namespace: &'a str,
    pub rate: f64,
}

/// A problem of this replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    /// Stable name, for programs.
    pub kind: &'static str,
    pub title: String,
    /// Consequence for callers.
    pub meaning: String,
    /// Measured values.
    pub evidence: String,
    /// Recommended action.
    pub action: &'static str,
    /// Section of docs/runbooks.md.
    pub runbook: &'static str,
}

/// Address of the runbooks, which the chart's alerts link to, too.
const RUNBOOKS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/runbooks.md#");

impl Finding {
    /// Returns the address of the runbook.
    pub fn runbook_url(&self) -> String {
        format!("{RUNBOOKS}{}", self.runbook)
    }
}

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For information.
    Notice,
    /// Service to callers is worse, or soon will be.
    Warning,
    /// A promise is broken, or writes fail.
    Critical,
}

// === numbers as text ===

/// Formats a share for people.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", (share * 100.0).min(100.0))
}

/// Formats a rate for people.
pub(super) fn format_rate(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}/s") } else { format!("{rate:.0}/s") }
}

/// Formats a duration for people.
pub(super) fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        _ if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        _ if seconds < 0.01 => format!("{:.1} ms", seconds * 1e3),
        _ if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        _ if seconds < 120.0 => format!("{seconds:.1} s"),
        _ => format!("{:.0} min", seconds / 60.0),
    }
}

/// Returns `part` as a share of `whole`; 0 if `whole` is 0.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
