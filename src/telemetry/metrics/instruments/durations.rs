//! Histograms of durations.

use super::table::instrument;
use crate::cache::fleet::replica::ReplicaHandles;
use crate::cache::stats::Snapshot;
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::Histogram;
use crate::telemetry::metrics::scrape::Emit;

/// Bucket bounds of operations, from a microsecond in memory to a deadline, in seconds.
const OPERATION_BOUNDS: &[f64] = &[
    1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];
/// Bucket bounds of operations that include a network, in seconds.
const REMOTE_BOUNDS: &[f64] = &[
    1e-5, 2.5e-5, 5e-5, 1e-4, 1.5e-4, 2.5e-4, 4e-4, 6e-4, 1e-3, 1.5e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25,
    0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Status codes of RPCs that mean a failure of the service and not of its caller.
const SERVER_ERRORS: [&str; 6] =
    ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];

pub static INSTRUMENTS: &[Instrument] = &[
    instrument(
        "twintier.operation.duration",
        "s",
        &["operation", "tier"],
        "Time of operations inside the service (`get`, `set`, `invalidate`, `batch_get`, `batch_set`, `batch_invalidate`, `barrier`), without Gets that wait for a lease; `tier`: the tier that answered a Get (`l1`, `l2`), else `none`",
        Histogram(OPERATION_BOUNDS, operations),
    ),
    instrument(
        "twintier.l2.duration",
        "s",
        &["operation"],
        "Time from a request to Redis until its answer: `read`, `write`",
        Histogram(REMOTE_BOUNDS, l2),
    ),
    instrument(
        "rpc.server.call.duration",
        "s",
        &["error.type", "rpc.method", "rpc.response.status_code", "rpc.system.name"],
        "Time from the head of a request to the head of its response; for a stream, the time until it starts",
        Histogram(OPERATION_BOUNDS, rpcs),
    ),
    instrument(
        "db.client.operation.duration",
        "s",
        &["db.operation.name", "db.system.name", "error.type"],
        "Time from sending a command to Redis until its answer",
        Histogram(REMOTE_BOUNDS, commands),
    ),
];

fn operations(replica: &ReplicaHandles, emit: &mut Emit<'_, Snapshot>) {
    let all = replica.cache.latencies();
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
        emit(&[operation, tier], histogram.snapshot());
    }
}

fn l2(replica: &ReplicaHandles, emit: &mut Emit<'_, Snapshot>) {
    let all = replica.cache.latencies();
    emit(&["read"], all.l2_read.snapshot());
    emit(&["write"], all.l2_write.snapshot());
}

fn rpcs(replica: &ReplicaHandles, emit: &mut Emit<'_, Snapshot>) {
    for (method, status, snapshot) in replica.rpcs.iter().flat_map(|rpcs| rpcs.snapshots()) {
        let error = if SERVER_ERRORS.contains(&status) { status } else { "" };
        emit(&[error, method, status, "grpc"], snapshot);
    }
}

fn commands(replica: &ReplicaHandles, emit: &mut Emit<'_, Snapshot>) {
    for (name, error, snapshot) in replica.l2.operations().iter().flat_map(|operations| operations.snapshots()) {
        emit(&[name, "redis", error], snapshot);
    }
}
