//! Redis, and the messages that come by way of it.

use std::time::Duration;

use super::finding::{Finding, Level, Signs, a_second, share, spoken};
use crate::admin::sample::Sample;
use crate::cache::fleet::replica::FleetReplica;
use crate::cache::tier::L2State;

/// Redis is slow from here on, whatever is usual.
const SLOW: Duration = Duration::from_millis(100);
/// And from here on when it is usually much faster.
const SLOWER: Duration = Duration::from_millis(10);
const MUCH: u32 = 5;
/// Fewer answers than this have no p99.
const ENOUGH: u64 = 20;
/// Share of commands that may fail.
const FAILING: f64 = 0.01;

pub fn gone(signs: &Signs<'_>) -> Option<Finding> {
    let l2 = &signs.now.l2;
    let proven = signs.now.coherence.proven > 0;
    (l2.state == L2State::Unavailable).then(|| Finding {
        level: Level::Critical,
        kind: "redis_gone",
        title: "Redis is gone".to_owned(),
        meaning: match proven {
            true => "Gets are answered from memory while the last proof lasts, then stale or missed. Writes are refused.",
            false => "The last proof has run out: Gets are answered stale where a stale_window allows it, else missed. Writes are refused.",
        }
        .to_owned(),
        evidence: format!("for {}: {}", spoken(l2.state_age), l2.reason),
        action: "Bring Redis back, or the way to it; this service heals by itself within 3 s, with no restart.",
        runbook: "twintierredisunavailable",
    })
}

pub fn slow(signs: &Signs<'_>) -> Option<Finding> {
    let (now, before) = (signs.now, signs.before);
    if matches!(now.l2.state, L2State::Disabled | L2State::Unavailable) {
        return None;
    }
    let answers = now.latencies.redis.since(&before.latencies.redis);
    let p99 = answers.quantile(0.99);
    let unusual = signs.usual.is_some_and(|usual| p99 >= SLOWER && p99 >= usual * MUCH);
    let late = answers.count >= ENOUGH && (p99 >= SLOW || unusual);
    let probed = now.l2.round_trip.filter(|trip| *trip >= SLOW);
    let commands = now.l2.commands.saturating_sub(before.l2.commands);
    let errors = now.l2.errors.saturating_sub(before.l2.errors);
    let failing = errors >= 5 && share(errors, commands) >= FAILING;
    if !late && probed.is_none() && !failing {
        return None;
    }
    let usually = signs.usual.map_or(String::new(), |usual| format!(", usually {}", spoken(usual)));
    let mut seen = vec![];
    if answers.count > 0 {
        seen.push(format!("p99 of its answers {}{usually}", spoken(p99)));
    }
    seen.extend(now.l2.round_trip.map(|trip| format!("round trip {}", spoken(trip))));
    if errors > 0 {
        seen.push(format!("{errors} of {commands} commands failed or timed out"));
    }
    Some(Finding {
        level: Level::Warning,
        kind: "redis_slow",
        title: "Redis is slow".to_owned(),
        meaning: "What memory does not hold takes long, or misses after redis.read_timeout. Hits in memory are as fast as ever."
            .to_owned(),
        evidence: seen.join("; "),
        action: "Look at Redis: SLOWLOG GET, its CPU, fork for persistence, swapping, the network in between.",
        runbook: "twintierredisslow",
    })
}

/// This replica does not hear Redis' messages while commands work.
pub fn deaf_here(signs: &Signs<'_>) -> Option<Finding> {
    if !is_deaf_here(signs) {
        return None;
    }
    let coherence = &signs.now.coherence;
    let fleet_too = others(signs).count() > 0 && others(signs).all(|other| is_deaf(signs, other));
    let (title, action) = match fleet_too {
        true => (
            "No replica hears Redis' messages",
            "Look at Redis: rights to its channels (ACL), client-output-buffer-limit pubsub, a proxy in between that drops pub/sub.",
        ),
        false => (
            "This replica's subscription is broken",
            "Look at the way from this machine to Redis; `CLIENT LIST TYPE pubsub` shows whether Redis knows the connection. It subscribes again by itself.",
        ),
    };
    let heard = coherence.proof_age.map_or("never heard of every partition".to_owned(), |age| {
        format!("oldest proof {} of {} allowed", spoken(age), spoken(coherence.max_staleness))
    });
    Some(Finding {
        level: Level::Warning,
        kind: "subscription_broken",
        title: title.to_owned(),
        meaning:
            "It cannot prove that it heard every write, so it asks Redis instead of its memory: correct, but slower."
                .to_owned(),
        evidence: format!(
            "{} of {} partitions proven; {heard}; {}",
            coherence.proven, coherence.partitions, signs.now.l2.reason
        ),
        action,
        runbook: "twintierredisdegraded",
    })
}

/// Others do not hear them while this replica does.
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
        let age = other.audit_age.map_or("no proof".to_owned(), |age| format!("oldest proof {}", spoken(age)));
        format!("{}: {age}", other.id)
    });
    Some(Finding {
        level: Level::Warning,
        kind: "subscription_broken",
        title,
        meaning:
            "It cannot prove that it heard every write, so it asks Redis instead of its memory: correct, but slower."
                .to_owned(),
        evidence: format!("{}; {fine} of {} replicas are fine", ages.collect::<Vec<_>>().join(", "), signs.fleet.len()),
        action: "Look at that replica's dashboard and log, and at the way from its machine to Redis.",
        runbook: "twintierauditold",
    })
}

/// Redis has settings that weaken the promise, or throws away entries for want of room.
pub fn weakened(signs: &Signs<'_>) -> Option<Finding> {
    let (server, before) = (&signs.now.l2.server, &signs.before.l2.server);
    let evicted = server.evicted_keys.saturating_sub(before.evicted_keys);
    let warned = server.warnings.iter().cloned().collect::<Vec<_>>().join("; ");
    let (title, evidence, runbook) = match (evicted, warned.is_empty()) {
        (0, true) => return None,
        (0, false) => ("Redis' settings weaken the promise", warned, "twintierredisdegraded"),
        _ => {
            let seconds = signs.now.seconds_since(signs.before);
            let rate = a_second(evicted as f64 / seconds.max(0.001));
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
        meaning: "Entries may be lost before their time; what is answered is still right.".to_owned(),
        evidence,
        action: "docs/redis.md says what Redis needs.",
        runbook,
    })
}

fn is_deaf_here(signs: &Signs<'_>) -> bool {
    let (now, before) = (signs.now, signs.before);
    let settled = now.health.is_ready();
    let unproven = |sample: &Sample| sample.coherence.proven < sample.coherence.partitions;
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
