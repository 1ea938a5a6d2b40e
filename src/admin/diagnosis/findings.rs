//! Runs all checks of the diagnosis, and contains those of readiness and the self-audit.

use super::finding::{Finding, Level, Signs};
use crate::cache::fleet::health::NotReady;

/// Returns all findings, the worst first.
pub fn findings(signs: &Signs<'_>) -> Vec<Finding> {
    let single = [
        readiness(signs),
        violations(signs),
        super::certificates::ending(signs),
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
        meaning: "/readyz answers 503, so that load balancers use other replicas.".to_owned(),
        evidence: why.to_string(),
        action: match why {
            NotReady::Starting => {
                "Wait: it is ready after twice redis.connect_timeout at the latest, with Redis or without."
            }
            NotReady::Drained => "Undo it with `twintier drain off`.",
            NotReady::Ending => "Nothing: it received a signal to stop.",
            NotReady::Halted => "Give all replicas the same coherence settings; the log says which differ.",
        },
        runbook: if why == NotReady::Halted { "twintiersettingsdiffer" } else { "twintiernotready" },
    })
}

fn violations(signs: &Signs<'_>) -> Option<Finding> {
    let (audit, lately) = (&signs.now.self_audit, signs.lately.self_audit.violations);
    (lately > 0).then(|| Finding {
        level: Level::Critical,
        kind: "violation",
        title: "A stale value was answered after the bound".to_owned(),
        meaning: "The self-audit found hits in memory that were staler than coherence.max_staleness.".to_owned(),
        evidence: format!("{lately} lately, {} since the start, of {} checked", audit.violations, audit.checked),
        action: "Keep the log of this replica and of Redis; `twintier inspect` shows what memory and Redis hold of a key.",
        runbook: "twintierstalenessviolation",
    })
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
