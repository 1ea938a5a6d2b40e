//! Checks of the traffic: hot keys, stampedes, refused requests.

use super::finding::{Finding, Level, Signs, format_rate, percent, share};

/// Gets per second of one key from which it is hot, and its share of all Gets.
const HOT_GETS_PER_SECOND: f64 = 100.0;
const HOT_SHARE: f64 = 0.25;
/// Gets per second that wait for a fetch or a lease from which it is a stampede, and their share of
/// the Gets that memory did not answer.
const HERD_PER_SECOND: f64 = 20.0;
const HERD_SHARE: f64 = 0.3;
/// Number of simultaneous waiters that is a stampede, too.
const HERD_WAITERS: u64 = 20;

pub fn hot_key(signs: &Signs<'_>) -> Option<Finding> {
    let hot = signs.hottest?;
    let gets = signs.lately.total().gets().all() as f64 / signs.seconds();
    let part = hot.rate / gets.max(1.0);
    (hot.rate >= HOT_GETS_PER_SECOND && gets >= HOT_GETS_PER_SECOND && part >= HOT_SHARE).then(|| Finding {
        level: Level::Notice,
        kind: "hot_key",
        title: "One key takes a large part of the traffic".to_owned(),
        meaning: "Memory answers it, so the load on Redis does not grow; but its replica and primary carry more load than the others."
            .to_owned(),
        evidence: format!(
            "{} in {}: {}, {} of all Gets here",
            hot.shown,
            hot.namespace,
            format_rate(hot.rate),
            percent(part)
        ),
        action: "Check whether its callers need to read it so often. A cache of their own with Watch, or copies under several keys, spread the load. `twintier hot-keys` names it.",
        runbook: "twintierhotkey",
    })
}

pub fn stampede(signs: &Signs<'_>) -> Option<Finding> {
    let (lately, seconds) = (signs.lately, signs.seconds());
    let (total, waiting) = (lately.total(), lately.leases.waiting);
    let gets = total.gets();
    let (coalesced, waited) = (total.coalesced, lately.leases.waited());
    let herd = coalesced + waited;
    let asked = gets.all().saturating_sub(gets.l1) + waited;
    let many = herd as f64 >= HERD_PER_SECOND * seconds && share(herd, asked) >= HERD_SHARE;
    if !many && waiting < HERD_WAITERS {
        return None;
    }
    let leased = waited > coalesced || waiting > 0;
    let most = lately.namespaces.iter().max_by_key(|most| (most.counts.coalesced, most.counts.gets().miss));
    let place = most
        .filter(|most| most.counts.coalesced + most.counts.gets().miss > 0)
        .map_or(String::new(), |most| format!("; most in {}", most.name));
    let (meaning, action) = if leased {
        (
            "One caller fills each entry and the others wait for it: no load on your database, but latency for the callers.",
            "Check why filling the entry takes long; soft_ttl and early refresh keep it from expiring.",
        )
    } else {
        (
            "Many callers miss the same entry at once, and each queries your database; this service reads Redis only once for all of them.",
            "Get with a lease, so that one caller fills the entry and the others wait: docs/stampedes.md.",
        )
    };
    Some(Finding {
        level: Level::Warning,
        kind: "stampede",
        title: if leased { "A stampede, held back by leases" } else { "A stampede" }.to_owned(),
        meaning: meaning.to_owned(),
        evidence: format!(
            "{} joined another's fetch, {} waited for a lease, {} wait now; {} misses{place}",
            format_rate(coalesced as f64 / seconds),
            format_rate(waited as f64 / seconds),
            waiting,
            format_rate(gets.miss as f64 / seconds)
        ),
        action,
        runbook: "twintierstampede",
    })
}

/// Checks for requests that a limit of the service refused.
pub fn refused(signs: &Signs<'_>) -> Option<Finding> {
    let load = signs.now.load;
    let shed = signs.lately.load.shed;
    (shed > 0).then(|| Finding {
        level: Level::Warning,
        kind: "overload",
        title: "Requests are refused: a limit is reached".to_owned(),
        meaning: "Callers get RESOURCE_EXHAUSTED with a retry delay.".to_owned(),
        evidence: format!(
            "{} refused; {} of {} requests and {} of {} MiB in flight now",
            format_rate(shed as f64 / signs.seconds()),
            load.in_flight,
            load.limit,
            load.bytes >> 20,
            load.bytes_limit >> 20
        ),
        action: "Add replicas, or raise server.max_in_flight and server.max_bytes_in_flight where there is CPU and memory left.",
        runbook: "twintierrequestsshed",
    })
}

pub fn throttled(signs: &Signs<'_>) -> Option<Finding> {
    let worst = signs.lately.namespaces.iter().max_by_key(|namespace| namespace.counts.throttled)?;
    let refused = Some(worst.counts.throttled).filter(|refused| *refused > 0)?;
    let rate = format_rate(refused as f64 / signs.seconds());
    Some(Finding {
        level: Level::Notice,
        kind: "throttled",
        title: format!("Namespace {} has more requests than its limit", worst.name),
        meaning: "Requests over max_requests_per_second get RESOURCE_EXHAUSTED.".to_owned(),
        evidence: format!("{rate} refused"),
        action: "Intended, or raise it: `twintier policy set -n NAME max_requests_per_second=…`.",
        runbook: "twintierrequestsshed",
    })
}
