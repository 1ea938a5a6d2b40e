//! Metrics of access: decisions, and failed logins.

use super::table::instrument;
use crate::cache::stats::{DECISIONS, FAILED_LOGINS, VERBS};
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::Counter;

pub static INSTRUMENTS: &[Instrument] = &[
    instrument(
        "twintier.auth.decisions",
        "",
        &["result", "verb"],
        "Decisions on access, by result (`allowed`, `denied`; `would_deny` in mode shadow) and verb; none with auth.mode off",
        Counter(|at, emit| {
            for (verb, counts) in VERBS.iter().zip(at.report.access.decisions) {
                DECISIONS.iter().zip(counts).for_each(|(result, count)| emit(&[result, verb], count));
            }
        }),
    ),
    instrument(
        "twintier.auth.failed_logins",
        "",
        &["reason"],
        "Credentials that were not accepted, and missing ones, by reason",
        Counter(|at, emit| {
            FAILED_LOGINS.iter().zip(at.report.access.failed_logins).for_each(|(reason, count)| emit(&[reason], count));
        }),
    ),
];
