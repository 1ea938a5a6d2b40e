//! Table of all instruments: names, units, labels and descriptions. docs/metrics.md is generated
//! from it.

use super::instrument::{Instrument, InstrumentSource};
use super::scrape::Emit;

/// Emits counts of every namespace, by the labels that follow the namespace.
macro_rules! by_namespace {
    ($kind:ident: $([$($label:literal),*] => $count:ident),+) => {
        $kind(|at, emit| at.by_namespace(emit, [$(&[$($label),*]),+], |counts| [$(counts.$count.get()),+]))
    };
}

mod coherence;
mod durations;
mod leases;
mod memory;
mod redis;
mod replica;
mod requests;

/// All instruments by topic, in the order of docs/metrics.md.
pub static TOPICS: [(&str, &[Instrument]); 7] = [
    ("Requests", requests::INSTRUMENTS),
    ("Memory", memory::INSTRUMENTS),
    ("Leases and watches", leases::INSTRUMENTS),
    ("Coherence", coherence::INSTRUMENTS),
    ("Durations", durations::INSTRUMENTS),
    ("Redis", redis::INSTRUMENTS),
    ("The replica", replica::INSTRUMENTS),
];

/// All instruments.
pub fn all() -> impl Iterator<Item = &'static Instrument> {
    TOPICS.iter().flat_map(|(_, instruments)| instruments.iter())
}

/// Bucket bounds of ages, in seconds.
const AGE: &[f64] =
    &[1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

const fn instrument(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    description: &'static str,
    source: InstrumentSource,
) -> Instrument {
    Instrument { name, unit, description, labels, source }
}

fn each<const N: usize>(emit: &mut Emit<'_, u64>, counts: [(&str, u64); N]) {
    counts.into_iter().for_each(|(label, count)| emit(&[label], count));
}
