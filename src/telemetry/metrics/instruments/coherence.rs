//! How memory is kept coherent, and how far it is.

use super::{AGE, each, of};
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::{Count, Counter, Histogram, Measure};

pub static INSTRUMENTS: &[Instrument] = &[
    of(
        "twintier.bus.messages",
        "",
        &["outcome"],
        "Messages heard: `applied`, `own`, out of sequence (`gap`), damaged (`undecodable`), of another deployment (`foreign`, counted in `gap` too)",
        Counter(|at, tell| {
            let counts = at.coherence();
            each(
                tell,
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
    of(
        "twintier.bus.overruns",
        "",
        &[],
        "Times the subscription's queue overran",
        Counter(|at, tell| tell(&[], at.coherence().lagged.get())),
    ),
    of(
        "twintier.bus.disconnects",
        "",
        &[],
        "Times a subscription was lost",
        Counter(|at, tell| tell(&[], at.coherence().disconnects.get())),
    ),
    of(
        "twintier.bus.lag",
        "s",
        &[],
        "Time from publishing a message in Redis to applying it here, estimated from Redis's clock; absent before the first",
        Histogram(AGE, |observed, tell| tell(&[], observed.l2.report().bus_lag)),
    ),
    of(
        "twintier.partitions",
        "{partition}",
        &["state"],
        "Partitions whose memory may be answered as fresh now (`proven`), and the others (`unproven`)",
        Count(|at, tell| {
            let proven = u64::from(at.proofs.proven);
            let all = u64::from(at.observed.cache.coherence().partitions());
            each(tell, [("proven", proven), ("unproven", all - proven.min(all))]);
        }),
    ),
    of(
        "twintier.partition.bumps",
        "",
        &[],
        "Times a partition's entries in memory became suspect",
        Counter(|at, tell| tell(&[], at.coherence().bumps.get())),
    ),
    of(
        "twintier.fills.fenced",
        "",
        &[],
        "Fills kept out of memory because something newer was applied meanwhile",
        Counter(|at, tell| tell(&[], at.coherence().fills_fenced.get())),
    ),
    of(
        "twintier.takeovers",
        "",
        &[],
        "Failovers: times a partition began another epoch because Redis failed over, restarted or lost data",
        Counter(|at, tell| tell(&[], at.coherence().failovers.get())),
    ),
    of(
        "twintier.repairs",
        "",
        &[],
        "Changes invalidated again after a takeover",
        Counter(|at, tell| tell(&[], at.coherence().repaired.get())),
    ),
    of(
        "twintier.audit.age",
        "s",
        &[],
        "Age of the oldest valid proof; absent while a partition has none",
        Measure(|at, tell| at.proofs.oldest.iter().for_each(|age| tell(&[], age.as_secs_f64()))),
    ),
    of(
        "twintier.audits",
        "",
        &["outcome"],
        "Audits `sent`, those whose echo came back (`echoed`), and partitions that an echo found `behind`",
        Counter(|at, tell| {
            let counts = at.coherence();
            each(
                tell,
                [
                    ("sent", counts.audits_sent.get()),
                    ("echoed", counts.audits_echoed.get()),
                    ("behind", counts.audits_failed.get()),
                ],
            );
        }),
    ),
    of(
        "twintier.max_staleness",
        "s",
        &[],
        "The bound on staleness (coherence.max_staleness)",
        Measure(|at, tell| tell(&[], at.observed.cache.coherence().max_staleness().as_secs_f64())),
    ),
    of(
        "twintier.staleness",
        "s",
        &[],
        "Staleness of the hits in memory that the self-audit compared with Redis; absent before the first",
        Histogram(AGE, |observed, tell| tell(&[], observed.cache.self_audit().staleness.snapshot())),
    ),
    of(
        "twintier.staleness.violations",
        "",
        &[],
        "Hits staler than the bound by more than the clocks' uncertainty: broken promises",
        Counter(|at, tell| tell(&[], at.self_audit().violations.get())),
    ),
    of(
        "twintier.self_audits",
        "",
        &["outcome"],
        "Hits of the self-audit: compared (`checked`), not compared because the entry is `gone`, Redis could not be asked (`failed`) or too many waited (`dropped`)",
        Counter(|at, tell| {
            let counts = at.self_audit();
            each(
                tell,
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
