//! Metrics of leases and watches.

use super::{each, instrument};
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::{Count, Counter};

pub static INSTRUMENTS: &[Instrument] = &[
    instrument(
        "twintier.leases",
        "",
        &["event"],
        "Leases: `granted`, granted by this replica alone because Redis was unavailable (`granted_alone`), used (`filled`), found void (`voided`), released (`released`)",
        Counter(|at, emit| {
            let leases = at.leases();
            each(
                emit,
                [
                    ("granted", leases.granted.get()),
                    ("granted_alone", leases.granted_alone.get()),
                    ("filled", leases.filled.get()),
                    ("voided", leases.voided.get()),
                    ("released", leases.released.get()),
                ],
            );
        }),
    ),
    instrument(
        "twintier.lease.waits",
        "",
        &["outcome"],
        "Gets that waited for another caller to fill an entry: answered with it (`served`), or without it (`left`)",
        Counter(|at, emit| each(emit, [("served", at.leases().served.get()), ("left", at.leases().left.get())])),
    ),
    instrument(
        "twintier.lease.waiting",
        "{get}",
        &[],
        "Gets that wait for another caller to fill an entry",
        Count(|at, emit| emit(&[], at.leases().waiting.get())),
    ),
    instrument(
        "twintier.watchers",
        "{watch}",
        &[],
        "Watches open",
        Count(|at, emit| emit(&[], at.replica.cache.coherence().watches.open() as u64)),
    ),
    instrument(
        "twintier.watch.events",
        "",
        &["event"],
        "Events sent to watches: `change`, `discontinuity`",
        Counter(|at, emit| {
            let watches = &at.replica.cache.coherence().watches;
            each(emit, [("change", watches.changes.get()), ("discontinuity", watches.discontinuities.get())]);
        }),
    ),
];
