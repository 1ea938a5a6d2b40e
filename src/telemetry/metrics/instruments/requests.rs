//! Metrics of requests, by namespace and outcome.

use super::table::instrument;
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::{Counter, Measure};

pub static INSTRUMENTS: &[Instrument] = &[
    instrument(
        "twintier.gets",
        "",
        &["namespace", "outcome", "tier"],
        "Gets, by outcome (`hit`, `stale`, `miss`) and by the tier that answered (`l1`, `l2`; `none` for a miss)",
        by_namespace!(Counter:
            ["hit", "l1"] => l1_hits, ["hit", "l2"] => l2_hits,
            ["stale", "l1"] => stale_l1_hits, ["stale", "l2"] => stale_l2_hits, ["miss", "none"] => misses),
    ),
    instrument(
        "twintier.gets.negative",
        "",
        &["namespace"],
        "Gets answered with a negative entry; also counted in gets",
        by_namespace!(Counter: [] => negative_hits),
    ),
    instrument(
        "twintier.gets.degraded",
        "",
        &["namespace"],
        "Gets answered while Redis was unavailable; also counted in gets",
        by_namespace!(Counter: [] => degraded),
    ),
    instrument(
        "twintier.gets.coalesced",
        "",
        &["namespace"],
        "Gets that waited for a fetch started by another Get",
        by_namespace!(Counter: [] => coalesced),
    ),
    instrument(
        "twintier.sets",
        "",
        &["namespace", "outcome"],
        "Sets: `stored`, `condition_failed`, `void` (the lease or the version of the source was outdated), `error`",
        by_namespace!(Counter:
            ["stored"] => sets_stored, ["condition_failed"] => sets_condition_failed, ["void"] => sets_void, ["error"] => set_errors),
    ),
    instrument(
        "twintier.invalidations",
        "",
        &["namespace", "outcome"],
        "Invalidates: `ok`, `error`",
        by_namespace!(Counter: ["ok"] => invalidations, ["error"] => invalidate_errors),
    ),
    instrument(
        "twintier.touches",
        "",
        &["namespace", "outcome"],
        "Touches that changed a time to live (`ok`), and those that failed (`error`)",
        by_namespace!(Counter: ["ok"] => touches, ["error"] => touch_errors),
    ),
    instrument(
        "twintier.throttled",
        "",
        &["namespace"],
        "Requests refused because of the namespace's max_requests_per_second",
        by_namespace!(Counter: [] => throttled),
    ),
    instrument(
        "twintier.quota.refusals",
        "",
        &["namespace", "quota"],
        "Requests refused because of a quota of the namespace, by its setting",
        by_namespace!(
            Counter: ["max_requests_per_second"] => throttled,
            ["max_bytes_per_second"] => over_byte_rate,
            ["max_in_flight"] => over_in_flight,
            ["max_leases"] => over_leases,
            ["max_l2_bytes"] => over_l2_bytes
        ),
    ),
    instrument(
        "twintier.hot_key.rate",
        "{get}.s-1",
        &[],
        "Gets per second of the hottest key of this replica, estimated",
        Measure(|at, emit| emit(&[], at.hottest)),
    ),
];
