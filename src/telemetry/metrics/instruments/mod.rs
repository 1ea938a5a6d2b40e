//! Every instrument: the one place where names, units, labels and words of metrics are. docs/metrics.md is made of it.

use super::instrument::{Instrument, InstrumentSource};
use super::scrape::Tell;

/// Counts of every namespace, by the labels that follow the namespace.
macro_rules! by_namespace {
    ($kind:ident: $([$($label:literal),*] => $count:ident),+) => {
        $kind(|at, tell| at.by_namespace(tell, [$(&[$($label),*]),+], |counts| [$(counts.$count.get()),+]))
    };
}

mod coherence;
mod durations;
mod leases;
mod memory;
mod redis;
mod replica;
mod requests;

/// All, by what they are about, in the order of the page.
pub static TOPICS: [(&str, &[Instrument]); 7] = [
    ("Requests", requests::INSTRUMENTS),
    ("Memory", memory::INSTRUMENTS),
    ("Leases and watches", leases::INSTRUMENTS),
    ("Coherence", coherence::INSTRUMENTS),
    ("Durations", durations::INSTRUMENTS),
    ("Redis", redis::INSTRUMENTS),
    ("The replica", replica::INSTRUMENTS),
];

/// All.
pub fn all() -> impl Iterator<Item = &'static Instrument> {
    TOPICS.iter().flat_map(|(_, instruments)| instruments.iter())
}

/// Bounds for how old something may be.
const AGE: &[f64] =
    &[1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

const fn of(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    description: &'static str,
    source: InstrumentSource,
) -> Instrument {
    Instrument { name, unit, description, labels, source }
}

fn each<const N: usize>(tell: &mut Tell<'_, u64>, counts: [(&str, u64); N]) {
    counts.into_iter().for_each(|(label, count)| tell(&[label], count));
}
