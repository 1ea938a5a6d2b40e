//! Metrics of the replica: load, readiness, warm start, build.

use super::table::{each, instrument};
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::{Count, Counter, Measure};

pub static INSTRUMENTS: &[Instrument] = &[
    instrument(
        "twintier.requests.in_flight",
        "{request}",
        &[],
        "Requests in flight",
        Count(|at, emit| emit(&[], at.report.load.in_flight as u64)),
    ),
    instrument(
        "twintier.requests.in_flight.limit",
        "{request}",
        &[],
        "Most requests in flight (server.max_in_flight)",
        Count(|at, emit| emit(&[], at.report.load.limit as u64)),
    ),
    instrument(
        "twintier.in_flight",
        "By",
        &[],
        "Bytes of requests and responses in flight",
        Count(|at, emit| emit(&[], at.report.load.bytes as u64)),
    ),
    instrument(
        "twintier.in_flight.limit",
        "By",
        &[],
        "Most bytes in flight (server.max_bytes_in_flight)",
        Count(|at, emit| emit(&[], at.report.load.bytes_limit as u64)),
    ),
    instrument(
        "twintier.requests.shed",
        "",
        &[],
        "Requests refused because a limit of requests or bytes in flight was reached",
        Counter(|at, emit| emit(&[], at.report.load.shed)),
    ),
    instrument(
        "twintier.connections",
        "{connection}",
        &[],
        "Connections of clients",
        Count(|at, emit| emit(&[], at.report.load.connections as u64)),
    ),
    instrument(
        "twintier.connections.limit",
        "{connection}",
        &[],
        "Most connections of clients (server.max_connections)",
        Count(|at, emit| emit(&[], at.report.load.connections_limit as u64)),
    ),
    instrument(
        "twintier.connections.flooded",
        "",
        &[],
        "Connections of clients closed because they sent too many frames that carry no request",
        Counter(|at, emit| emit(&[], at.report.load.floods)),
    ),
    instrument(
        "twintier.ready",
        "",
        &[],
        "1 while the replica is ready, else 0",
        Count(|at, emit| emit(&[], u64::from(at.report.health.is_ready()))),
    ),
    instrument(
        "twintier.warm_start.entries",
        "{entry}",
        &["state"],
        "Keys that a warm start found `listed`, and entries it `loaded`; absent without a warm start",
        Count(|at, emit| {
            if let Some(warmed) = at.report.warm_start {
                each(emit, [("listed", warmed.listed), ("loaded", warmed.loaded)]);
            }
        }),
    ),
    instrument(
        "twintier.warm_start.duration",
        "s",
        &[],
        "Duration of the warm start; absent without one",
        Measure(|at, emit| {
            if let Some(warmed) = at.report.warm_start {
                emit(&[], warmed.took.as_secs_f64());
            }
        }),
    ),
    instrument(
        "twintier.build.info",
        "",
        &["revision", "rustc", "version"],
        "1, with the build in its labels; `revision` is `unknown` if it was built outside a repository",
        Count(|_, emit| emit(&[env!("BUILD_REVISION"), env!("BUILD_RUSTC"), env!("CARGO_PKG_VERSION")], 1)),
    ),
];
