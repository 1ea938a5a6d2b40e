//! What memory holds and lets go.

use super::of;
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::{Count, Counter};

pub static INSTRUMENTS: &[Instrument] = &[
    of(
        "twintier.quota.rejections",
        "",
        &["namespace"],
        "Entries not taken into memory because of the namespace's max_bytes",
        by_namespace!(Counter: [] => over_quota),
    ),
    of("twintier.l1.entries", "{entry}", &["namespace"], "Entries in memory", by_namespace!(Count: [] => entries)),
    of(
        "twintier.l1.memory.usage",
        "By",
        &["namespace"],
        "Bytes in memory, with overhead",
        by_namespace!(Count: [] => bytes),
    ),
    of(
        "twintier.l1.memory.limit",
        "By",
        &[],
        "Bytes that memory may hold (l1.size)",
        Count(|at, tell| tell(&[], at.l1.max_bytes)),
    ),
    of(
        "twintier.l1.evictions",
        "",
        &["cause", "namespace"],
        "Entries that left memory: for want of room (`size`), past their time (`expired`), `invalidated`, or for a newer one (`replaced`)",
        Counter(|at, tell| {
            at.by_namespace(
                &mut |labels, count| tell(&[labels[1], labels[0]], count),
                [&["size"], &["expired"], &["invalidated"], &["replaced"]],
                |counts| {
                    [
                        counts.evicted_size.get(),
                        counts.evicted_expired.get(),
                        counts.removed.get(),
                        counts.replaced.get(),
                    ]
                },
            );
        }),
    ),
    of("twintier.l1.rejections", "", &[], "Values too large for memory", Counter(|at, tell| tell(&[], at.l1.rejected))),
];
