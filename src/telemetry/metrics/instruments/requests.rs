//! What was asked, by namespace and by what it came to.

use super::of;
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::{Counter, Measure};

pub static INSTRUMENTS: &[Instrument] = &[
    of(
        "twintier.gets",
        "",
        &["namespace", "outcome", "tier"],
        "Gets, by what they were answered (`hit`, `stale`, `miss`) and by the tier that answered (`l1`, `l2`; a miss: `none`)",
        by_namespace!(Counter:
            ["hit", "l1"] => l1_hits, ["hit", "l2"] => l2_hits,
            ["stale", "l1"] => stale_l1_hits, ["stale", "l2"] => stale_l2_hits, ["miss", "none"] => misses),
    ),
    of(
        "twintier.gets.negative",
        "",
        &["namespace"],
        "Gets answered with an entry that says that there is nothing; also counted in gets",
        by_namespace!(Counter: [] => negative_hits),
    ),
    of(
        "twintier.gets.degraded",
        "",
        &["namespace"],
        "Gets answered while Redis could not be asked; also counted in gets",
        by_namespace!(Counter: [] => degraded),
    ),
    of(
        "twintier.gets.coalesced",
        "",
        &["namespace"],
        "Gets that waited for a fetch another Get had begun",
        by_namespace!(Counter: [] => coalesced),
    ),
    of(
        "twintier.sets",
        "",
        &["namespace", "outcome"],
        "Sets: `stored`, `condition_failed`, `void` (the lease or the version of the source was outdated), `error`",
        by_namespace!(Counter:
            ["stored"] => sets_stored, ["condition_failed"] => sets_condition_failed, ["void"] => sets_void, ["error"] => set_errors),
    ),
    of(
        "twintier.invalidations",
        "",
        &["namespace", "outcome"],
        "Invalidates: `ok`, `error`",
        by_namespace!(Counter: ["ok"] => invalidations, ["error"] => invalidate_errors),
    ),
    of(
        "twintier.touches",
        "",
        &["namespace", "outcome"],
        "Touches that changed a time to live (`ok`), and those that failed (`error`)",
        by_namespace!(Counter: ["ok"] => touches, ["error"] => touch_errors),
    ),
    of(
        "twintier.throttled",
        "",
        &["namespace"],
        "Requests refused because of the namespace's max_requests_per_second",
        by_namespace!(Counter: [] => throttled),
    ),
    of(
        "twintier.hot_key.rate",
        "{get}.s-1",
        &[],
        "Gets a second of the key read most at this replica, estimated",
        Measure(|at, tell| tell(&[], at.hottest)),
    ),
];
