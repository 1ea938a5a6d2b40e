//! Durations: handed on from what the core counts in buckets of its own.

use super::of;
use crate::cache::fleet::replica::ReplicaHandles;
use crate::cache::stats::Snapshot;
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::Histogram;
use crate::telemetry::metrics::scrape::Tell;

/// Bounds for what takes from a microsecond in memory to a deadline, in seconds.
const OPERATION: &[f64] = &[
    1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];
/// Bounds for what a network is part of.
const REMOTE: &[f64] = &[
    1e-5, 2.5e-5, 5e-5, 1e-4, 1.5e-4, 2.5e-4, 4e-4, 6e-4, 1e-3, 1.5e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25,
    0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Statuses of RPCs that are the service's failure, not its caller's.
const SERVER_ERRORS: [&str; 6] =
    ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];

pub static INSTRUMENTS: &[Instrument] = &[
    of(
        "twintier.operation.duration",
        "s",
        &["operation", "tier"],
        "Time that operations take inside the service (`get`, `set`, `invalidate`, `batch_get`, `batch_set`, `batch_invalidate`, `barrier`), without Gets that wait for a lease; `tier`: what answered a Get (`l1`, `l2`), else `none`",
        Histogram(OPERATION, operations),
    ),
    of(
        "twintier.l2.duration",
        "s",
        &["operation"],
        "Time that Redis is waited for, until its answer is there: `read`, `write`",
        Histogram(REMOTE, l2),
    ),
    of(
        "rpc.server.call.duration",
        "s",
        &["error.type", "rpc.method", "rpc.response.status_code", "rpc.system.name"],
        "Time from the head of a request to the head of its response; of a stream the time to begin",
        Histogram(OPERATION, rpcs),
    ),
    of(
        "db.client.operation.duration",
        "s",
        &["db.operation.name", "db.system.name", "error.type"],
        "Time from sending a command to Redis until its answer is there",
        Histogram(REMOTE, commands),
    ),
];

fn operations(observed: &ReplicaHandles, tell: &mut Tell<'_, Snapshot>) {
    let all = observed.cache.latencies();
    for (operation, tier, histogram) in [
        ("get", "l1", &all.get_l1),
        ("get", "l2", &all.get_l2),
        ("get", "none", &all.get_miss),
        ("set", "none", &all.set),
        ("invalidate", "none", &all.invalidate),
        ("batch_get", "none", &all.batch_get),
        ("batch_set", "none", &all.batch_set),
        ("batch_invalidate", "none", &all.batch_invalidate),
        ("barrier", "none", &all.barrier),
    ] {
        tell(&[operation, tier], histogram.snapshot());
    }
}

fn l2(observed: &ReplicaHandles, tell: &mut Tell<'_, Snapshot>) {
    let all = observed.cache.latencies();
    tell(&["read"], all.l2_read.snapshot());
    tell(&["write"], all.l2_write.snapshot());
}

fn rpcs(observed: &ReplicaHandles, tell: &mut Tell<'_, Snapshot>) {
    for (method, status, snapshot) in observed.rpcs.iter().flat_map(|rpcs| rpcs.snapshots()) {
        let error = if SERVER_ERRORS.contains(&status) { status } else { "" };
        tell(&[error, method, status, "grpc"], snapshot);
    }
}

fn commands(observed: &ReplicaHandles, tell: &mut Tell<'_, Snapshot>) {
    for (name, error, snapshot) in observed.l2.operations().iter().flat_map(|operations| operations.snapshots()) {
        tell(&[name, "redis", error], snapshot);
    }
}
