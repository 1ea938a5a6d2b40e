//! Metrics of the connections to Redis, and of its INFO.

use super::table::{each, instrument};
use crate::cache::tier::L2State;
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::{Count, Counter, Measure};
use crate::telemetry::metrics::scrape::{Emit, Scrape};

/// Emits a value of INFO. Nothing while Redis cannot be queried.
fn server_info(at: &Scrape, emit: &mut Emit<'_, u64>, value: u64) {
    if at.report.l2.can_be_asked() {
        emit(&[], value);
    }
}

pub static INSTRUMENTS: &[Instrument] = &[
    instrument(
        "twintier.redis.state",
        "",
        &["state"],
        "1 for the current state of Redis, else 0: `disabled`, `healthy`, `degraded` (commands work, the subscription is not proven), `unavailable`",
        Count(|at, emit| {
            let is = |state| u64::from(at.report.l2.state == state);
            each(
                emit,
                [
                    ("disabled", is(L2State::Disabled)),
                    ("healthy", is(L2State::Healthy)),
                    ("degraded", is(L2State::Degraded)),
                    ("unavailable", is(L2State::Unavailable)),
                ],
            );
        }),
    ),
    instrument(
        "twintier.redis.connected",
        "",
        &[],
        "1 while commands work, else 0",
        Count(|at, emit| emit(&[], u64::from(matches!(at.report.l2.state, L2State::Healthy | L2State::Degraded)))),
    ),
    instrument(
        "twintier.redis.breaker.open",
        "{connection}",
        &[],
        "Connections for commands that are lost, or not used until Redis answers on them again; at least 1 while none can be used",
        Count(|at, emit| {
            emit(&[], at.report.l2.connections_down.max(u64::from(at.has_redis() && at.report.l2.connections_up == 0)))
        }),
    ),
    instrument(
        "twintier.redis.connections",
        "{connection}",
        &["state"],
        "Connections for commands: `up`, `down`",
        Count(|at, emit| each(emit, [("up", at.report.l2.connections_up), ("down", at.report.l2.connections_down)])),
    ),
    instrument(
        "twintier.redis.in_flight",
        "{command}",
        &[],
        "Commands to Redis in flight",
        Count(|at, emit| emit(&[], at.report.l2.in_flight)),
    ),
    instrument(
        "twintier.redis.in_flight.limit",
        "{command}",
        &[],
        "Most commands in flight (redis.max_in_flight)",
        Count(|at, emit| emit(&[], at.report.l2.max_in_flight)),
    ),
    instrument(
        "twintier.redis.round_trip",
        "s",
        &[],
        "Round trip of the last probe; absent without a connection",
        Measure(|at, emit| at.report.l2.round_trip.iter().for_each(|trip| emit(&[], trip.as_secs_f64()))),
    ),
    instrument(
        "twintier.redis.reconnects",
        "",
        &[],
        "Connections for commands opened again",
        Counter(|at, emit| emit(&[], at.report.l2.reconnects)),
    ),
    instrument(
        "twintier.redis.commands",
        "",
        &[],
        "Commands and scripts sent",
        Counter(|at, emit| emit(&[], at.report.l2.commands)),
    ),
    instrument(
        "twintier.redis.errors",
        "",
        &[],
        "Commands that failed, could not be sent, or were not answered in time",
        Counter(|at, emit| emit(&[], at.report.l2.errors)),
    ),
    instrument(
        "twintier.redis.undecodable",
        "",
        &[],
        "Entries in Redis that could not be read, answered as misses",
        Counter(|at, emit| emit(&[], at.report.l2.undecodable)),
    ),
    instrument(
        "twintier.redis.refused",
        "",
        &["what", "reason"],
        "Entries and messages in Redis without a valid signature or encryption, which are not used (redis.mac_key_files, redis.encryption_key_files)",
        Counter(|at, emit| {
            let refused = &at.report.l2.refused;
            refused.iter().for_each(|(what, reason, count)| emit(&[what, reason], *count));
        }),
    ),
    instrument(
        "twintier.redis.memory.usage",
        "By",
        &[],
        "used_memory of Redis, sum of all primaries; absent, like the next ones, while Redis cannot be queried",
        Count(|at, emit| server_info(at, emit, at.report.l2.server.used_memory)),
    ),
    instrument(
        "twintier.redis.memory.peak",
        "By",
        &[],
        "used_memory_peak of Redis",
        Count(|at, emit| server_info(at, emit, at.report.l2.server.used_memory_peak)),
    ),
    instrument(
        "twintier.redis.memory.limit",
        "By",
        &[],
        "maxmemory of Redis; 0 for no limit",
        Count(|at, emit| server_info(at, emit, at.report.l2.server.maxmemory)),
    ),
    instrument(
        "twintier.redis.keys",
        "{key}",
        &[],
        "Keys in the database used",
        Count(|at, emit| server_info(at, emit, at.report.l2.server.keys)),
    ),
    instrument(
        "twintier.redis.namespace.keys",
        "{key}",
        &["namespace"],
        "Keys of a namespace in Redis, an estimate by sampling (redis.namespace_sampling); absent, like the next ones, while Redis cannot be queried and before the first sample",
        Count(|at, emit| at.in_redis(emit, |usage| Some(usage.keys))),
    ),
    instrument(
        "twintier.redis.namespace.memory.usage",
        "By",
        &["namespace"],
        "Bytes of these keys in Redis, an estimate by sampling; also absent if Redis does not allow MEMORY USAGE",
        Count(|at, emit| at.in_redis(emit, |usage| usage.bytes)),
    ),
    instrument(
        "twintier.redis.namespace.sample.age",
        "s",
        &[],
        "Age of the sample behind these estimates",
        Measure(|at, emit| at.sample_age().iter().for_each(|age| emit(&[], age.as_secs_f64()))),
    ),
    instrument(
        "twintier.redis.namespace.sample.keys",
        "{key}",
        &[],
        "Keys of Redis in this sample",
        Count(|at, emit| at.report.l2.sampled().iter().for_each(|sample| emit(&[], sample.sampled))),
    ),
    instrument(
        "twintier.redis.keys.evicted",
        "",
        &[],
        "Keys that Redis evicted since this replica started",
        Counter(|at, emit| emit(&[], at.report.l2.keys_gone[0])),
    ),
    instrument(
        "twintier.redis.keys.expired",
        "",
        &[],
        "Keys that expired in Redis since this replica started",
        Counter(|at, emit| emit(&[], at.report.l2.keys_gone[1])),
    ),
];
