//! Metrics of L1.

use super::table::instrument;
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::{Count, Counter};

pub static INSTRUMENTS: &[Instrument] = &[
    instrument(
        "twintier.quota.rejections",
        "",
        &["namespace"],
        "Entries not stored in memory because each is larger than the namespace's max_bytes",
        by_namespace!(Counter: [] => over_quota),
    ),
    instrument(
        "twintier.l1.entries",
        "{entry}",
        &["namespace"],
        "Entries in memory",
        by_namespace!(Count: [] => entries),
    ),
    instrument(
        "twintier.l1.memory.usage",
        "By",
        &["namespace"],
        "Bytes in memory, with overhead",
        by_namespace!(Count: [] => bytes),
    ),
    instrument(
        "twintier.l1.memory.quota",
        "By",
        &["namespace"],
        "Quota of the namespace in memory (max_bytes); 0: none",
        by_namespace!(Count: [] => quota_bytes),
    ),
    instrument(
        "twintier.l1.memory.reserved",
        "By",
        &["namespace"],
        "Bytes of memory that the namespace reserves (reserved_bytes)",
        by_namespace!(Count: [] => reservation),
    ),
    instrument(
        "twintier.tombstones.overflows",
        "",
        &["namespace"],
        "Times that remembered invalidations were dropped for want of room (limits.tombstones, limits.tombstone_bytes); older entries count as invalidated since then",
        by_namespace!(Counter: [] => tombstone_overflows),
    ),
    instrument(
        "twintier.l1.memory.limit",
        "By",
        &[],
        "Bytes that memory may hold (l1.size)",
        Count(|at, emit| emit(&[], at.report.l1.max_bytes)),
    ),
    instrument(
        "twintier.l1.evictions",
        "",
        &["cause", "namespace"],
        "Entries removed from memory: to make room (`size`), `expired`, `invalidated`, or replaced by a newer one (`replaced`)",
        Counter(|at, emit| {
            at.by_namespace(
                &mut |labels, count| emit(&[labels[1], labels[0]], count),
                [&["size"], &["expired"], &["invalidated"], &["replaced"]],
                |counts| [counts.evicted_size, counts.evicted_expired, counts.removed, counts.replaced],
            );
        }),
    ),
    instrument(
        "twintier.l1.rejections",
        "",
        &[],
        "Values too large for memory",
        Counter(|at, emit| emit(&[], at.report.l1.counts.rejected)),
    ),
];
