//! A namespace that is read and written faster than memory can keep it.

use super::finding::{Finding, Level, Signs, a_second, percent, share};
use crate::admin::sample::NamespaceSample;

/// Memory is full from this share of its limit on.
const FULL: f64 = 0.9;
/// Evictions a second from which on it matters.
const MANY: f64 = 20.0;
/// Share of what asked for room that went at once, or pushed out another.
const CHURN: f64 = 0.5;
/// Share of a namespace's Gets that memory answers when it is of use.
const USEFUL: f64 = 0.5;
/// Part of everything that asked for room, from which on a namespace is the reason.
const BLAME: f64 = 0.25;

pub fn thrashing(signs: &Signs<'_>) -> Option<Finding> {
    over_quota(signs).or_else(|| out_of_memory(signs))
}

/// Memory is full of one namespace's entries, which are gone before they are read again.
fn out_of_memory(signs: &Signs<'_>) -> Option<Finding> {
    let (now, before) = (signs.now, signs.before);
    let seconds = now.seconds_since(before).max(0.001);
    let lately = lately(signs);
    let evicted = now.l1.evicted_size.saturating_sub(before.l1.evicted_size);
    let fills: u64 = lately.iter().map(NamespaceSample::fills).sum();
    let full = share(now.l1.bytes, now.l1.max_bytes);
    if full < FULL || (evicted as f64) < MANY * seconds || share(evicted, fills) < CHURN {
        return None;
    }
    let worst = lately.iter().max_by_key(|namespace| namespace.fills())?;
    let useful = share(worst.gets.l1, worst.gets.all());
    if share(worst.fills(), fills) < BLAME || useful >= USEFUL {
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
            a_second(evicted as f64 / seconds),
            percent(useful)
        ),
        action: "Give l1.size more room, the namespace a max_bytes, or switch its l1 off: `twintier policy set -n NAME l1=false`.",
        runbook: "twintiernamespacethrashing",
    })
}

/// A namespace wants more memory than its quota allows.
fn over_quota(signs: &Signs<'_>) -> Option<Finding> {
    let seconds = signs.now.seconds_since(signs.before).max(0.001);
    let lately = lately(signs);
    let worst = lately.iter().max_by_key(|namespace| namespace.over_quota)?;
    let useful = share(worst.gets.l1, worst.gets.all());
    let refused = worst.over_quota as f64 / seconds;
    if refused < MANY || share(worst.over_quota, worst.fills()) < CHURN || useful >= USEFUL {
        return None;
    }
    Some(Finding {
        level: Level::Warning,
        kind: "thrashing",
        title: format!("Namespace {} is thrashing within its quota", worst.name),
        meaning: "Its quota of memory is used up: what is read is not kept, and is fetched from Redis again and again."
            .to_owned(),
        evidence: format!("{} entries not taken; memory answers {} of its Gets", a_second(refused), percent(useful)),
        action: "Raise its max_bytes, shorten its time to live, or switch its l1 off.",
        runbook: "twintiernamespacethrashing",
    })
}

fn lately(signs: &Signs<'_>) -> Vec<NamespaceSample> {
    signs.now.namespaces.iter().map(|namespace| namespace.since(signs.before.namespace(&namespace.name))).collect()
}
