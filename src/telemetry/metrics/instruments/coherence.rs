//! Metrics of the coherence protocol.

use super::{AGE, each, instrument};
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::{Count, Counter, Histogram, Measure};

pub static INSTRUMENTS: &[Instrument] = &[
    instrument(
        "twintier.bus.messages",
        "",
        &["outcome"],
        "Messages received: `applied`, `own`, out of sequence (`gap`), damaged (`undecodable`), of another deployment (`foreign`, also counted in `gap`)",
        Counter(|at, emit| {
            let counts = at.coherence();
            each(
                emit,
                [
                    ("applied", counts.messages_applied.get()),
                    ("own", counts.messages_own.get()),
                    ("gap", counts.gaps.get()),
                    ("undecodable", counts.undecodable.get()),
                    ("foreign", at.l2.foreign_messages),
                ],
            );
        }),
    ),
    instrument(
        "twintier.bus.overruns",
        "",
        &[],
        "Times the subscription's queue overran",
        Counter(|at, emit| emit(&[], at.coherence().lagged.get())),
    ),
    instrument(
        "twintier.bus.disconnects",
        "",
        &[],
        "Times a subscription was lost",
        Counter(|at, emit| emit(&[], at.coherence().disconnects.get())),
    ),
    instrument(
        "twintier.bus.lag",
        "s",
        &[],
        "Time from publishing a message in Redis to applying it here, estimated from Redis's clock; absent before the first",
        Histogram(AGE, |replica, emit| emit(&[], replica.l2.report().bus_lag)),
    ),
    instrument(
        "twintier.partitions",
        "{partition}",
        &["state"],
        "Partitions whose entries in memory may be answered as fresh (`proven`), and the others (`unproven`)",
        Count(|at, emit| {
            let proven = u64::from(at.proofs.proven);
            let all = u64::from(at.replica.cache.coherence().partitions());
            each(emit, [("proven", proven), ("unproven", all - proven.min(all))]);
        }),
    ),
    instrument(
        "twintier.partition.bumps",
        "",
        &[],
        "Times a partition's entries in memory became unproven",
        Counter(|at, emit| emit(&[], at.coherence().bumps.get())),
    ),
    instrument(
        "twintier.fills.fenced",
        "",
        &[],
        "Fills kept out of memory because a newer change was applied meanwhile",
        Counter(|at, emit| emit(&[], at.coherence().fills_fenced.get())),
    ),
    instrument(
        "twintier.takeovers",
        "",
        &[],
        "Failovers: times a partition began a new epoch because Redis failed over, restarted or lost data",
        Counter(|at, emit| emit(&[], at.coherence().failovers.get())),
    ),
    instrument(
        "twintier.repairs",
        "",
        &[],
        "Changes invalidated again after a failover",
        Counter(|at, emit| emit(&[], at.coherence().repaired.get())),
    ),
    instrument(
        "twintier.audit.age",
        "s",
        &[],
        "Age of the oldest valid proof; absent while a partition has none",
        Measure(|at, emit| at.proofs.oldest.iter().for_each(|age| emit(&[], age.as_secs_f64()))),
    ),
    instrument(
        "twintier.audits",
        "",
        &["outcome"],
        "Audits `sent`, those whose echo came back (`echoed`), and partitions that an echo found `behind`",
        Counter(|at, emit| {
            let counts = at.coherence();
            each(
                emit,
                [
                    ("sent", counts.audits_sent.get()),
                    ("echoed", counts.audits_echoed.get()),
                    ("behind", counts.audits_failed.get()),
                ],
            );
        }),
    ),
    instrument(
        "twintier.max_staleness",
        "s",
        &[],
        "The bound on staleness (coherence.max_staleness)",
        Measure(|at, emit| emit(&[], at.replica.cache.coherence().max_staleness().as_secs_f64())),
    ),
    instrument(
        "twintier.staleness",
        "s",
        &[],
        "Staleness of the hits in memory that the self-audit compared with Redis; absent before the first",
        Histogram(AGE, |replica, emit| emit(&[], replica.cache.self_audit().staleness.snapshot())),
    ),
    instrument(
        "twintier.staleness.violations",
        "",
        &[],
        "Hits staler than the bound by more than the clocks' uncertainty: broken promises",
        Counter(|at, emit| emit(&[], at.self_audit().violations.get())),
    ),
    instrument(
        "twintier.self_audits",
        "",
        &["outcome"],
        "Hits of the self-audit: compared (`checked`), not compared because the entry is `gone`, Redis could not be queried (`failed`) or too many were queued (`dropped`)",
        Counter(|at, emit| {
            let counts = at.self_audit();
            each(
                emit,
                [
                    ("checked", counts.checked.get()),
                    ("gone", counts.gone.get()),
                    ("failed", counts.failed.get()),
                    ("dropped", counts.dropped.get()),
                ],
            );
        }),
    ),
];
