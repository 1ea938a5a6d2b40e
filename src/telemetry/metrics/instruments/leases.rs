//! Metrics of leases and watches.

use super::table::{each, instrument};
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::{Count, Counter};

pub static INSTRUMENTS: &[Instrument] = &[
    instrument(
        "twintier.leases",
        "",
        &["event"],
        "Leases: `granted`, granted by this replica alone because Redis was unavailable (`granted_alone`), used (`filled`), found void (`voided`), released (`released`)",
        Counter(|at, emit| {
            let leases = &at.report.leases;
            each(
                emit,
                [
                    ("granted", leases.granted),
                    ("granted_alone", leases.granted_alone),
                    ("filled", leases.filled),
                    ("voided", leases.voided),
                    ("released", leases.released),
                ],
            );
        }),
    ),
    instrument(
        "twintier.lease.waits",
        "",
        &["outcome"],
        "Gets that waited for another caller to fill an entry: answered with it (`served`), or without it (`left`)",
        Counter(|at, emit| each(emit, [("served", at.report.leases.served), ("left", at.report.leases.left)])),
    ),
    instrument(
        "twintier.lease.waiting",
        "{get}",
        &[],
        "Gets that wait for another caller to fill an entry",
        Count(|at, emit| emit(&[], at.report.leases.waiting)),
    ),
    instrument(
        "twintier.watchers",
        "{watch}",
        &[],
        "Watches open",
        Count(|at, emit| emit(&[], at.report.watches.watchers as u64)),
    ),
    instrument(
        "twintier.watch.events",
        "",
        &["event"],
        "Events sent to watches: `change`, `discontinuity`",
        Counter(|at, emit| {
            let watches = &at.report.watches.counts;
            each(emit, [("change", watches.changes), ("discontinuity", watches.discontinuities)]);
        }),
    ),
];
