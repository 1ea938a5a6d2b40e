//! Parts of the tables: an instrument, counts by a label, counts by namespace, and bounds of ages.

use crate::telemetry::metrics::instrument::{Instrument, InstrumentSource};
use crate::telemetry::metrics::scrape::Emit;

/// Emits counts of every namespace, by the labels that follow the namespace.
macro_rules! by_namespace {
    ($kind:ident: $([$($label:literal),*] => $count:ident),+) => {
        $kind(|at, emit| at.by_namespace(emit, [$(&[$($label),*]),+], |counts| [$(counts.$count),+]))
    };
}

/// Bucket bounds of ages, in seconds.
pub(super) const AGE: &[f64] =
    &[1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

pub(super) const fn instrument(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    description: &'static str,
    source: InstrumentSource,
) -> Instrument {
    Instrument { name, unit, description, labels, source }
}

pub(super) fn each<const N: usize>(emit: &mut Emit<'_, u64>, counts: [(&str, u64); N]) {
    counts.into_iter().for_each(|(label, count)| emit(&[label], count));
}
