//! Leases and watches.

use super::{each, of};
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::{Count, Counter};

pub static INSTRUMENTS: &[Instrument] = &[
    of(
        "twintier.leases",
        "",
        &["event"],
        "Leases: `granted`, granted by this replica alone because Redis could not be asked (`granted_alone`), used (`filled`), found void (`voided`), given back (`released`)",
        Counter(|at, tell| {
            let leases = at.leases();
            each(
                tell,
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
    of(
        "twintier.lease.waits",
        "",
        &["outcome"],
        "Gets that waited for an entry to be made: they got it (`served`), or left without (`left`)",
        Counter(|at, tell| each(tell, [("served", at.leases().served.get()), ("left", at.leases().left.get())])),
    ),
    of(
        "twintier.lease.waiting",
        "{get}",
        &[],
        "Gets that wait for an entry to be made",
        Count(|at, tell| tell(&[], at.leases().waiting.get())),
    ),
    of(
        "twintier.watchers",
        "{watch}",
        &[],
        "Watches open",
        Count(|at, tell| tell(&[], at.observed.cache.coherence().watches.open() as u64)),
    ),
    of(
        "twintier.watch.events",
        "",
        &["event"],
        "What watchers were told: `change`, `discontinuity`",
        Counter(|at, tell| {
            let watches = &at.observed.cache.coherence().watches;
            each(tell, [("change", watches.changes.get()), ("discontinuity", watches.discontinuities.get())]);
        }),
    ),
];
