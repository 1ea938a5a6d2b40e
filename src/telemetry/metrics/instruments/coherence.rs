//! Metrics of the coherence protocol.

use super::table::{AGE, each, instrument};
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::{Count, Counter, Histogram, Measure};

pub static INSTRUMENTS: &[Instrument] = &[
    instrument(
        "twintier.bus.messages",
        "",
        &["outcome"],
        "Messages received: `applied`, `own`, out of sequence (`gap`), damaged (`undecodable`), of another deployment (`foreign`, also counted in `gap`)",
        Counter(|at, emit| {
            let counts = &at.report.coherence.counts;
            each(
                emit,
                [
                    ("applied", counts.messages_applied),
                    ("own", counts.messages_own),
                    ("gap", counts.gaps),
                    ("undecodable", counts.undecodable),
                    ("foreign", at.report.l2.foreign_messages),
                ],
            );
        }),
    ),
    instrument(
        "twintier.bus.overruns",
        "",
        &[],
        "Times the subscription's queue overran",
        Counter(|at, emit| emit(&[], at.report.coherence.counts.lagged)),
    ),
    instrument(
        "twintier.bus.disconnects",
        "",
        &[],
        "Times a subscription was lost",
        Counter(|at, emit| emit(&[], at.report.coherence.counts.disconnects)),
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
            let proven = u64::from(at.report.coherence.proven);
            let all = u64::from(at.report.coherence.partitions);
            each(emit, [("proven", proven), ("unproven", all - proven.min(all))]);
        }),
    ),
    instrument(
        "twintier.partition.bumps",
        "",
        &[],
        "Times a partition's entries in memory became unproven",
        Counter(|at, emit| emit(&[], at.report.coherence.counts.bumps)),
    ),
    instrument(
        "twintier.fills.fenced",
        "",
        &[],
        "Fills kept out of memory because a newer change was applied meanwhile",
        Counter(|at, emit| emit(&[], at.report.coherence.counts.fills_fenced)),
    ),
    instrument(
        "twintier.sets.fenced",
        "",
        &[],
        "Sets of this replica kept out of memory because a newer change was applied meanwhile",
        Counter(|at, emit| emit(&[], at.report.coherence.counts.sets_fenced)),
    ),
    instrument(
        "twintier.takeovers",
        "",
        &[],
        "Failovers: times a partition began a new epoch because Redis failed over, restarted or lost data",
        Counter(|at, emit| emit(&[], at.report.coherence.counts.failovers)),
    ),
    instrument(
        "twintier.repairs",
        "",
        &[],
        "Changes invalidated again after a failover",
        Counter(|at, emit| emit(&[], at.report.coherence.counts.repaired)),
    ),
    instrument(
        "twintier.audit.age",
        "s",
        &[],
        "Age of the oldest valid proof; absent while a partition has none",
        Measure(|at, emit| at.report.coherence.proof_age.iter().for_each(|age| emit(&[], age.as_secs_f64()))),
    ),
    instrument(
        "twintier.audits",
        "",
        &["outcome"],
        "Audits `sent`, those whose echo came back (`echoed`), and partitions that an echo found `behind`",
        Counter(|at, emit| {
            let counts = &at.report.coherence.counts;
            each(
                emit,
                [("sent", counts.audits_sent), ("echoed", counts.audits_echoed), ("behind", counts.audits_failed)],
            );
        }),
    ),
    instrument(
        "twintier.max_staleness",
        "s",
        &[],
        "The bound on staleness (coherence.max_staleness)",
        Measure(|at, emit| emit(&[], at.report.coherence.max_staleness.as_secs_f64())),
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
        Counter(|at, emit| emit(&[], at.report.self_audit.violations)),
    ),
    instrument(
        "twintier.self_audits",
        "",
        &["outcome"],
        "Hits of the self-audit: compared (`checked`), not compared because the entry is `gone`, Redis could not be queried (`failed`) or too many were queued (`dropped`)",
        Counter(|at, emit| {
            let counts = &at.report.self_audit;
            each(
                emit,
                [
                    ("checked", counts.checked),
                    ("gone", counts.gone),
                    ("failed", counts.failed),
                    ("dropped", counts.dropped),
                ],
            );
        }),
    ),
];
