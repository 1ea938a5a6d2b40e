//! Checks of Redis: availability, latency, subscriptions, settings.

use std::time::Duration;

use super::finding::{Finding, Level, Signs, format_duration, format_rate, share};
use crate::cache::fleet::replica::FleetReplica;
use crate::cache::fleet::report::ReplicaReport;
use crate::cache::tier::L2State;

/// p99 from which Redis is slow in any case.
const SLOW_P99: Duration = Duration::from_millis(100);
/// p99 from which Redis is slow if it is that many times its usual one.
const UNUSUAL_P99: Duration = Duration::from_millis(10);
const UNUSUAL_FACTOR: u32 = 5;
/// Least number of answers for a p99.
const MIN_ANSWERS: u64 = 20;
/// Share of failed commands from which Redis is slow.
const MIN_FAILED_SHARE: f64 = 0.01;

pub fn gone(signs: &Signs<'_>) -> Option<Finding> {
    let l2 = &signs.now.l2;
    let proven = signs.now.coherence.proven > 0;
    (l2.state == L2State::Unavailable).then(|| Finding {
        level: Level::Critical,
        kind: "redis_gone",
        title: "Redis is gone".to_owned(),
        meaning: if proven {
            "Gets are answered from memory while the last proof lasts, then stale or missed. Writes are refused."
        } else {
            "The last proof has run out: Gets are answered stale where a stale_window allows it, else missed. Writes are refused."
        }
        .to_owned(),
        evidence: format!("for {}: {}", format_duration(l2.state_age), l2.reason),
        action: "Restore Redis, or the network to it; this service recovers within 3 s, without a restart.",
        runbook: "twintierredisunavailable",
    })
}

pub fn slow(signs: &Signs<'_>) -> Option<Finding> {
    let (now, lately) = (signs.now, signs.lately);
    if matches!(now.l2.state, L2State::Disabled | L2State::Unavailable) {
        return None;
    }
    let answers = lately.latencies.l2();
    let p99 = answers.quantile(0.99);
    let unusual = signs.usual.is_some_and(|usual| p99 >= UNUSUAL_P99 && p99 >= usual * UNUSUAL_FACTOR);
    let late = answers.count >= MIN_ANSWERS && (p99 >= SLOW_P99 || unusual);
    let probed = now.l2.round_trip.filter(|trip| *trip >= SLOW_P99);
    let (commands, errors) = (lately.l2.commands, lately.l2.errors);
    let failing = errors >= 5 && share(errors, commands) >= MIN_FAILED_SHARE;
    if !late && probed.is_none() && !failing {
        return None;
    }
    let usually = signs.usual.map_or(String::new(), |usual| format!(", usually {}", format_duration(usual)));
    let mut seen = vec![];
    if answers.count > 0 {
        seen.push(format!("p99 of its answers {}{usually}", format_duration(p99)));
    }
    seen.extend(now.l2.round_trip.map(|trip| format!("round trip {}", format_duration(trip))));
    if errors > 0 {
        seen.push(format!("{errors} of {commands} commands failed or timed out"));
    }
    Some(Finding {
        level: Level::Warning,
        kind: "redis_slow",
        title: "Redis is slow".to_owned(),
        meaning: "Gets that memory cannot answer are slow, or miss after redis.read_timeout. Hits in memory are not affected."
            .to_owned(),
        evidence: seen.join("; "),
        action: "Check Redis: SLOWLOG GET, its CPU, fork for persistence, swapping, the network in between.",
        runbook: "twintierredisslow",
    })
}

/// Checks for a subscription of this replica that receives nothing while commands work.
pub fn deaf_here(signs: &Signs<'_>) -> Option<Finding> {
    if !is_deaf_here(signs) {
        return None;
    }
    let coherence = &signs.now.coherence;
    let fleet_too = others(signs).count() > 0 && others(signs).all(|other| is_deaf(signs, other));
    let (title, action) = if fleet_too {
        (
            "No replica receives Redis' messages",
            "Check Redis: rights to its channels (ACL), client-output-buffer-limit pubsub, a proxy in between that drops pub/sub.",
        )
    } else {
        (
            "This replica's subscription is broken",
            "Check the network from this machine to Redis; `CLIENT LIST TYPE pubsub` shows whether Redis knows the connection. It subscribes again by itself.",
        )
    };
    let heard = coherence.proof_age.map_or("some partitions have never been proven".to_owned(), |age| {
        format!("oldest proof {} of {} allowed", format_duration(age), format_duration(coherence.max_staleness))
    });
    Some(Finding {
        level: Level::Warning,
        kind: "subscription_broken",
        title: title.to_owned(),
        meaning:
            "It cannot prove that it received every message, so it reads Redis instead of its memory: correct, but slower."
                .to_owned(),
        evidence: format!(
            "{} of {} partitions proven; {heard}; {}",
            coherence.proven, coherence.partitions, signs.now.l2.reason
        ),
        action,
        runbook: "twintierredisdegraded",
    })
}

/// Checks for such a subscription of another replica while this one is fine.
pub fn deaf_elsewhere(signs: &Signs<'_>) -> Option<Finding> {
    if signs.now.l2.state != L2State::Healthy || is_deaf_here(signs) {
        return None;
    }
    let deaf: Vec<_> = others(signs).filter(|other| is_deaf(signs, other)).collect();
    let (first, fine) = (deaf.first()?, signs.fleet.len() - deaf.len());
    let title = match deaf.len() {
        1 => format!("The subscription of replica {} is broken", first.id),
        many => format!("The subscriptions of {many} replicas are broken"),
    };
    let ages = deaf.iter().map(|other| {
        let age = other.audit_age.map_or("no proof".to_owned(), |age| format!("oldest proof {}", format_duration(age)));
        format!("{}: {age}", other.id)
    });
    Some(Finding {
        level: Level::Warning,
        kind: "subscription_broken",
        title,
        meaning:
            "It cannot prove that it received every message, so it reads Redis instead of its memory: correct, but slower."
                .to_owned(),
        evidence: format!("{}; {fine} of {} replicas are fine", ages.collect::<Vec<_>>().join(", "), signs.fleet.len()),
        action: "Check that replica's dashboard and log, and the network from its machine to Redis.",
        runbook: "twintierauditold",
    })
}

/// Checks for settings of Redis that weaken the promise, and for evictions by Redis.
pub fn weakened(signs: &Signs<'_>) -> Option<Finding> {
    let (server, before) = (&signs.now.l2.server, &signs.before.l2.server);
    let evicted = server.evicted_keys.saturating_sub(before.evicted_keys);
    let warned = server.warnings.iter().cloned().collect::<Vec<_>>().join("; ");
    let (title, evidence, runbook) = match (evicted, warned.is_empty()) {
        (0, true) => return None,
        (0, false) => ("Redis' settings weaken the promise", warned, "twintierredisdegraded"),
        _ => {
            let rate = format_rate(evicted as f64 / signs.seconds());
            (
                "Redis is full and evicts",
                format!("{rate} keys evicted by {}", server.maxmemory_policy),
                "twintierredisevicting",
            )
        }
    };
    Some(Finding {
        level: Level::Notice,
        kind: "redis_settings",
        title: title.to_owned(),
        meaning: "Entries may be lost before they expire; answers are still correct.".to_owned(),
        evidence,
        action: "docs/redis.md says what Redis needs.",
        runbook,
    })
}

fn is_deaf_here(signs: &Signs<'_>) -> bool {
    let (now, before) = (signs.now, signs.before);
    let settled = now.health.is_ready();
    let unproven = |report: &ReplicaReport| report.coherence.proven < report.coherence.partitions;
    settled
        && (now.l2.state == L2State::Degraded
            || (now.l2.state == L2State::Healthy && unproven(now) && unproven(before)))
}

fn others<'a>(signs: &'a Signs<'_>) -> impl Iterator<Item = &'a FleetReplica> {
    signs.fleet.iter().filter(|replica| replica.id != signs.own)
}

fn is_deaf(signs: &Signs<'_>, replica: &FleetReplica) -> bool {
    replica.audit_age.is_none_or(|age| age > signs.now.coherence.max_staleness)
}
