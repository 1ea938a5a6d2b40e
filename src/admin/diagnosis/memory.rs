//! Check of memory: a namespace that is filled and evicted faster than it is read.

use super::finding::{Finding, Level, Signs, format_rate, percent, share};
use crate::cache::stats::NamespaceCounts;

/// Share of its limit from which memory counts as full.
const FULL_SHARE: f64 = 0.9;
/// Evictions per second from which on it matters.
const MIN_EVICTIONS_PER_SECOND: f64 = 20.0;
/// Share of fills that were evicted or refused at once.
const MIN_CHURN_SHARE: f64 = 0.5;
/// Share of a namespace's Gets that memory answers if it is useful.
const USEFUL_HIT_SHARE: f64 = 0.5;
/// Share of all fills from which a namespace is the cause.
const MIN_FILL_SHARE: f64 = 0.25;

pub fn thrashing(signs: &Signs<'_>) -> Option<Finding> {
    over_quota(signs).or_else(|| out_of_memory(signs))
}

/// Checks for memory full of one namespace's entries, which are evicted before they are read again.
fn out_of_memory(signs: &Signs<'_>) -> Option<Finding> {
    let (lately, seconds) = (signs.lately, signs.seconds());
    let evicted = lately.l1.counts.evicted_size;
    let fills = lately.total().fills();
    let full = share(lately.l1.bytes, lately.l1.max_bytes);
    if full < FULL_SHARE
        || (evicted as f64) < MIN_EVICTIONS_PER_SECOND * seconds
        || share(evicted, fills) < MIN_CHURN_SHARE
    {
        return None;
    }
    let worst = lately.namespaces.iter().max_by_key(|namespace| namespace.counts.fills())?;
    let (gets, own_fills) = (worst.counts.gets(), worst.counts.fills());
    let useful = share(gets.l1, gets.all());
    if share(own_fills, fills) < MIN_FILL_SHARE || useful >= USEFUL_HIT_SHARE {
        return None;
    }
    Some(Finding {
        level: Level::Warning,
        kind: "thrashing",
        title: format!("Namespace {} is thrashing", worst.name),
        meaning: "Its entries push each other, and those of others, out of memory before they are read again."
            .to_owned(),
        evidence: format!(
            "memory {} full; {} evictions for want of room; memory answers {} of its Gets",
            percent(full),
            format_rate(evicted as f64 / seconds),
            percent(useful)
        ),
        action: "Give l1.size more room, the namespace a max_bytes, or switch its l1 off: `twintier policy set -n NAME l1=false`.",
        runbook: "twintiernamespacethrashing",
    })
}

/// Checks for a namespace that needs more memory than its quota.
fn over_quota(signs: &Signs<'_>) -> Option<Finding> {
    let lost_by = |counts: &NamespaceCounts| {
        // Without a quota an entry leaves for others, too.
        counts.over_quota + if counts.quota_bytes > 0 { counts.evicted_size } else { 0 }
    };
    let worst = signs.lately.namespaces.iter().max_by_key(|namespace| lost_by(&namespace.counts))?;
    let (counts, gets) = (&worst.counts, worst.counts.gets());
    let useful = share(gets.l1, gets.all());
    let lost = lost_by(counts) as f64 / signs.seconds();
    if lost < MIN_EVICTIONS_PER_SECOND
        || share(lost_by(counts), counts.fills()) < MIN_CHURN_SHARE
        || useful >= USEFUL_HIT_SHARE
    {
        return None;
    }
    Some(Finding {
        level: Level::Warning,
        kind: "thrashing",
        title: format!("Namespace {} is thrashing within its quota", worst.name),
        meaning: "Its quota of memory is used up: what is read is not kept, and is fetched from Redis again and again."
            .to_owned(),
        evidence: format!(
            "{} entries evicted or not taken; memory answers {} of its Gets",
            format_rate(lost),
            percent(useful)
        ),
        action: "Raise its max_bytes, shorten its time to live, or switch its l1 off.",
        runbook: "twintiernamespacethrashing",
    })
}
