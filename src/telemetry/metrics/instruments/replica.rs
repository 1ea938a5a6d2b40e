//! The load of this replica, and what it is.

use super::{each, of};
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::{Count, Counter, Measure};

pub static INSTRUMENTS: &[Instrument] = &[
    of(
        "twintier.requests.in_flight",
        "{request}",
        &[],
        "Requests in flight",
        Count(|at, tell| tell(&[], at.observed.admission.in_flight() as u64)),
    ),
    of(
        "twintier.requests.in_flight.limit",
        "{request}",
        &[],
        "Most requests in flight (server.max_in_flight)",
        Count(|at, tell| tell(&[], at.observed.admission.limit() as u64)),
    ),
    of(
        "twintier.in_flight",
        "By",
        &[],
        "Bytes of requests and responses in flight",
        Count(|at, tell| tell(&[], at.observed.admission.bytes() as u64)),
    ),
    of(
        "twintier.in_flight.limit",
        "By",
        &[],
        "Most bytes in flight (server.max_bytes_in_flight)",
        Count(|at, tell| tell(&[], at.observed.admission.bytes_limit() as u64)),
    ),
    of(
        "twintier.requests.shed",
        "",
        &[],
        "Requests refused because a limit of requests or bytes in flight was reached",
        Counter(|at, tell| tell(&[], at.observed.admission.shed())),
    ),
    of(
        "twintier.connections",
        "{connection}",
        &[],
        "Connections of clients",
        Count(|at, tell| tell(&[], at.observed.admission.connections() as u64)),
    ),
    of(
        "twintier.connections.limit",
        "{connection}",
        &[],
        "Most connections of clients (server.max_connections)",
        Count(|at, tell| tell(&[], at.observed.admission.connections_limit() as u64)),
    ),
    of(
        "twintier.ready",
        "",
        &[],
        "1 while callers should come here, else 0",
        Count(|at, tell| tell(&[], u64::from(at.observed.health.borrow().is_ready()))),
    ),
    of(
        "twintier.warm_start.entries",
        "{entry}",
        &["state"],
        "Keys that a warm start found `listed`, and entries it `loaded`; absent when none was made",
        Count(|at, tell| {
            if let Some(warmed) = at.observed.warm_start.as_ref().and_then(|warm| warm.outcome()) {
                each(tell, [("listed", warmed.listed), ("loaded", warmed.loaded)]);
            }
        }),
    ),
    of(
        "twintier.warm_start.duration",
        "s",
        &[],
        "How long the warm start took; absent when none was made",
        Measure(|at, tell| {
            if let Some(warmed) = at.observed.warm_start.as_ref().and_then(|warm| warm.outcome()) {
                tell(&[], warmed.took.as_secs_f64());
            }
        }),
    ),
    of(
        "twintier.build.info",
        "",
        &["revision", "rustc", "version"],
        "1, with what this program was built from; `revision` is `unknown` where there was no repository to ask",
        Count(|_, tell| tell(&[env!("BUILD_REVISION"), env!("BUILD_RUSTC"), env!("CARGO_PKG_VERSION")], 1)),
    ),
];
