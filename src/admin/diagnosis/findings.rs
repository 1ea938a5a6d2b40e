//! What is wrong with this replica, told from two samples: a pure function, so that every sign can be tested, and its absence too.
//!
//! Each check knows one condition, and says what it saw and what to do. The thresholds are for telling people, not for acting: they err on
//! the side of silence.

use std::time::Duration;

pub(super) use crate::admin::sample::Sample;
use crate::cache::fleet::health::NotReady;
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

/// Everything that is wrong, the worst first.
pub fn findings(signs: &Signs<'_>) -> Vec<Finding> {
    let single = [
        readiness(signs),
        violations(signs),
        super::redis::gone(signs),
        super::redis::slow(signs),
        super::redis::deaf_here(signs),
        super::redis::deaf_elsewhere(signs),
        super::redis::weakened(signs),
        super::traffic::stampede(signs),
        super::traffic::hot_key(signs),
        super::traffic::refused(signs),
        super::traffic::throttled(signs),
    ];
    let mut all: Vec<_> = single.into_iter().flatten().chain(super::memory::thrashing(signs)).collect();
    all.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    all
}

fn readiness(signs: &Signs<'_>) -> Option<Finding> {
    let why = signs.now.health.not_ready?;
    let (title, level) = match why {
        NotReady::Starting => ("This replica is starting", Level::Notice),
        NotReady::Drained => ("This replica is drained", Level::Notice),
        NotReady::Ending => ("This replica is ending", Level::Notice),
        NotReady::Halted => ("This replica must not serve", Level::Critical),
    };
    Some(Finding {
        level,
        kind: "not_ready",
        title: title.to_owned(),
        meaning: "/readyz answers 503, so that balancers send callers elsewhere.".to_owned(),
        evidence: why.to_string(),
        action: match why {
            NotReady::Starting => {
                "Wait; it serves after twice redis.connect_timeout at the latest, with Redis or without."
            }
            NotReady::Drained => "`twintier drain off` takes it back.",
            NotReady::Ending => "Nothing: it was asked to stop.",
            NotReady::Halted => "Give all replicas the same coherence settings; the log says which differ.",
        },
        runbook: if why == NotReady::Halted { "twintiersettingsdiffer" } else { "twintiernotready" },
    })
}

fn violations(signs: &Signs<'_>) -> Option<Finding> {
    let audit = signs.now.audit;
    let lately = audit.violations - signs.before.audit.violations.min(audit.violations);
    (lately > 0).then(|| Finding {
        level: Level::Critical,
        kind: "violation",
        title: "A value was answered later than promised".to_owned(),
        meaning: "The self-audit found hits in memory that were staler than coherence.max_staleness.".to_owned(),
        evidence: format!("{lately} lately, {} since the start, of {} checked", audit.violations, audit.checked),
        action: "Keep the log of this replica and of Redis; `twintier inspect` shows what memory and Redis hold of a key.",
        runbook: "twintierstalenessviolation",
    })
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

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
