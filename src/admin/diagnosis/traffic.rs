//! What callers do that is out of the ordinary.

use super::finding::{Finding, Level, Signs, a_second, percent, share};
use crate::admin::sample::NamespaceSample;

/// Gets a second of one key from which on it is hot, and its share of all.
const HOT: f64 = 100.0;
const HOT_SHARE: f64 = 0.25;
/// Gets a second that wait for what others fetch or make, from which on it is a stampede, and their share of what memory did not answer.
const HERD: f64 = 20.0;
const HERD_SHARE: f64 = 0.3;
/// So many that wait at one instant are a herd, too.
const WAITING: u64 = 20;

pub fn hot_key(signs: &Signs<'_>) -> Option<Finding> {
    let hot = signs.hottest?;
    let seconds = signs.now.seconds_since(signs.before).max(0.001);
    let gets = signs.now.gets().since(signs.before.gets()).all() as f64 / seconds;
    let part = hot.rate / gets.max(1.0);
    (hot.rate >= HOT && gets >= HOT && part >= HOT_SHARE).then(|| Finding {
        level: Level::Notice,
        kind: "hot_key",
        title: "One key takes a large part of the traffic".to_owned(),
        meaning: "Memory answers it, so Redis does not feel it; but the replica and the primary that own it carry more than the others."
            .to_owned(),
        evidence: format!(
            "{} in {}: {}, {} of all Gets here",
            hot.shown,
            hot.namespace,
            a_second(hot.rate),
            percent(part)
        ),
        action: "Look whether its callers need to ask so often; a cache of their own under Watch, or a copy under several keys, spreads it. `twintier hot-keys` names it.",
        runbook: "twintierhotkey",
    })
}

pub fn stampede(signs: &Signs<'_>) -> Option<Finding> {
    let (now, before) = (signs.now, signs.before);
    let seconds = now.seconds_since(before).max(0.001);
    let gets = now.gets().since(before.gets());
    let coalesced =
        now.sum(|namespace| namespace.coalesced).saturating_sub(before.sum(|namespace| namespace.coalesced));
    let waited = now.leases.waited.saturating_sub(before.leases.waited);
    let herd = coalesced + waited;
    let asked = gets.all().saturating_sub(gets.l1) + waited;
    let many = herd as f64 >= HERD * seconds && share(herd, asked) >= HERD_SHARE;
    if !many && now.leases.waiting < WAITING {
        return None;
    }
    let leased = waited > coalesced || now.leases.waiting > 0;
    let lately = now.namespaces.iter().map(|namespace| namespace.since(before.namespace(&namespace.name)));
    let most = lately.max_by_key(|namespace: &NamespaceSample| (namespace.coalesced, namespace.gets.miss));
    let place = most
        .filter(|most| most.coalesced + most.gets.miss > 0)
        .map_or(String::new(), |most| format!("; most in {}", most.name));
    let (meaning, action) = match leased {
        true => (
            "One caller makes each entry and the others wait for it: your database is spared, the callers are late.",
            "Look at why the entry takes long to make; soft_ttl and refresh before the end keep it from running out.",
        ),
        false => (
            "Many callers miss the same entry at once, and each goes to your database: this service asks Redis once for all of them, and no more.",
            "Ask with a lease, so that one caller makes the entry and the others wait: docs/stampedes.md.",
        ),
    };
    Some(Finding {
        level: Level::Warning,
        kind: "stampede",
        title: if leased { "A stampede, held back by leases" } else { "A stampede" }.to_owned(),
        meaning: meaning.to_owned(),
        evidence: format!(
            "{} joined another's fetch, {} waited for a lease, {} wait now; {} misses{place}",
            a_second(coalesced as f64 / seconds),
            a_second(waited as f64 / seconds),
            now.leases.waiting,
            a_second(gets.miss as f64 / seconds)
        ),
        action,
        runbook: "twintierstampede",
    })
}

/// More comes than the service takes on.
pub fn refused(signs: &Signs<'_>) -> Option<Finding> {
    let load = signs.now.load;
    let shed = load.shed.saturating_sub(signs.before.load.shed);
    (shed > 0).then(|| Finding {
        level: Level::Warning,
        kind: "overload",
        title: "Requests are refused: a limit is reached".to_owned(),
        meaning: "Callers get RESOURCE_EXHAUSTED and are told when to try again.".to_owned(),
        evidence: format!(
            "{} refused; {} of {} requests and {} of {} MiB in flight now",
            a_second(shed as f64 / signs.now.seconds_since(signs.before).max(0.001)),
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
    let lately = signs.now.namespaces.iter().map(|now| now.since(signs.before.namespace(&now.name)));
    let worst = lately.max_by_key(|namespace| namespace.throttled).filter(|worst| worst.throttled > 0)?;
    let rate = a_second(worst.throttled as f64 / signs.now.seconds_since(signs.before).max(0.001));
    Some(Finding {
        level: Level::Notice,
        kind: "throttled",
        title: format!("Namespace {} has more requests than its limit", worst.name),
        meaning: "What is over max_requests_per_second gets RESOURCE_EXHAUSTED.".to_owned(),
        evidence: format!("{rate} refused"),
        action: "Intended, or raise it: `twintier policy set -n NAME max_requests_per_second=…`.",
        runbook: "twintierrequestsshed",
    })
}
