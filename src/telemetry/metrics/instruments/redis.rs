//! The way to Redis, and what Redis says of itself.

use super::{each, of};
use crate::cache::tier::L2State;
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::{Count, Counter, Measure};
use crate::telemetry::metrics::scrape::{Scrape, Tell};

/// Tells what the server said of itself, while it can be asked.
fn said(at: &Scrape, tell: &mut Tell<'_, u64>, value: u64) {
    if at.l2.can_be_asked() {
        tell(&[], value);
    }
}

pub static INSTRUMENTS: &[Instrument] = &[
    of(
        "twintier.redis.state",
        "",
        &["state"],
        "1 for the state that Redis is in, else 0: `disabled`, `healthy`, `degraded` (commands work, the subscription is not proven), `unavailable`",
        Count(|at, tell| {
            let is = |state| u64::from(at.l2.state == state);
            each(
                tell,
                [
                    ("disabled", is(L2State::Disabled)),
                    ("healthy", is(L2State::Healthy)),
                    ("degraded", is(L2State::Degraded)),
                    ("unavailable", is(L2State::Unavailable)),
                ],
            );
        }),
    ),
    of(
        "twintier.redis.connected",
        "",
        &[],
        "1 while commands work, else 0",
        Count(|at, tell| tell(&[], u64::from(matches!(at.l2.state, L2State::Healthy | L2State::Degraded)))),
    ),
    of(
        "twintier.redis.breaker.open",
        "{connection}",
        &[],
        "Connections for commands that are lost, or left alone until Redis answers on them again; 1 at least while none may be used",
        Count(|at, tell| tell(&[], at.l2.connections_down.max(u64::from(at.has_redis() && at.l2.connections_up == 0)))),
    ),
    of(
        "twintier.redis.connections",
        "{connection}",
        &["state"],
        "Connections for commands: `up`, `down`",
        Count(|at, tell| each(tell, [("up", at.l2.connections_up), ("down", at.l2.connections_down)])),
    ),
    of(
        "twintier.redis.in_flight",
        "{command}",
        &[],
        "Commands to Redis in flight",
        Count(|at, tell| tell(&[], at.l2.in_flight)),
    ),
    of(
        "twintier.redis.in_flight.limit",
        "{command}",
        &[],
        "Most commands in flight (redis.max_in_flight)",
        Count(|at, tell| tell(&[], at.l2.max_in_flight)),
    ),
    of(
        "twintier.redis.round_trip",
        "s",
        &[],
        "Round trip of the last probe; absent without a connection",
        Measure(|at, tell| at.l2.round_trip.iter().for_each(|trip| tell(&[], trip.as_secs_f64()))),
    ),
    of(
        "twintier.redis.reconnects",
        "",
        &[],
        "Connections for commands opened again",
        Counter(|at, tell| tell(&[], at.l2.reconnects)),
    ),
    of("twintier.redis.commands", "", &[], "Commands and scripts sent", Counter(|at, tell| tell(&[], at.l2.commands))),
    of(
        "twintier.redis.errors",
        "",
        &[],
        "Commands that failed, could not be sent, or were not answered in time",
        Counter(|at, tell| tell(&[], at.l2.errors)),
    ),
    of(
        "twintier.redis.undecodable",
        "",
        &[],
        "Entries in Redis that could not be read, answered as misses",
        Counter(|at, tell| tell(&[], at.l2.undecodable)),
    ),
    of(
        "twintier.redis.memory.usage",
        "By",
        &[],
        "used_memory of Redis, of all primaries together; absent, as the next are, while Redis cannot be asked",
        Count(|at, tell| said(at, tell, at.l2.server.used_memory)),
    ),
    of(
        "twintier.redis.memory.peak",
        "By",
        &[],
        "used_memory_peak of Redis",
        Count(|at, tell| said(at, tell, at.l2.server.used_memory_peak)),
    ),
    of(
        "twintier.redis.memory.limit",
        "By",
        &[],
        "maxmemory of Redis; 0: no limit",
        Count(|at, tell| said(at, tell, at.l2.server.maxmemory)),
    ),
    of(
        "twintier.redis.keys",
        "{key}",
        &[],
        "Keys in the database used",
        Count(|at, tell| said(at, tell, at.l2.server.keys)),
    ),
    of(
        "twintier.redis.namespace.keys",
        "{key}",
        &["namespace"],
        "Keys of a namespace in Redis, an estimate by sampling (redis.namespace_sampling); absent, as the next are, while Redis cannot be asked and before the first sample",
        Count(|at, tell| at.in_redis(tell, |usage| Some(usage.keys))),
    ),
    of(
        "twintier.redis.namespace.memory.usage",
        "By",
        &["namespace"],
        "Bytes of these keys in Redis, an estimate by sampling; absent also where Redis does not allow MEMORY USAGE",
        Count(|at, tell| at.in_redis(tell, |usage| usage.bytes)),
    ),
    of(
        "twintier.redis.namespace.sample.age",
        "s",
        &[],
        "Age of the sample behind these estimates",
        Measure(|at, tell| at.sample_age().iter().for_each(|age| tell(&[], age.as_secs_f64()))),
    ),
    of(
        "twintier.redis.namespace.sample.keys",
        "{key}",
        &[],
        "Keys of Redis that this sample has seen",
        Count(|at, tell| at.l2.sampled().iter().for_each(|sample| tell(&[], sample.sampled))),
    ),
    of(
        "twintier.redis.keys.evicted",
        "",
        &[],
        "Keys Redis evicted while this replica has watched",
        Counter(|at, tell| tell(&[], at.l2.keys_gone[0])),
    ),
    of(
        "twintier.redis.keys.expired",
        "",
        &[],
        "Keys that expired in Redis while this replica has watched",
        Counter(|at, tell| tell(&[], at.l2.keys_gone[1])),
    ),
];
