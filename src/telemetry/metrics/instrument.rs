//! What an instrument is: its name, what it says, its labels, and how it is read from what the core counts.

use opentelemetry::KeyValue;

use super::scrape::{Scrape, Tell};
use crate::cache::fleet::replica::ReplicaHandles;
use crate::cache::stats::Snapshot;

/// One instrument.
pub struct Instrument {
    /// Name in OpenTelemetry.
    pub name: &'static str,
    /// Unit, in UCUM.
    pub unit: &'static str,
    /// What it says.
    pub description: &'static str,
    /// Labels, in the order of their names.
    pub labels: &'static [&'static str],
    /// How it is read.
    pub source: InstrumentSource,
}

/// How an instrument is read.
#[derive(Clone, Copy)]
pub enum InstrumentSource {
    /// What only grows.
    Counter(fn(&Scrape, &mut Tell<'_, u64>)),
    /// What is there now, as a whole number.
    Count(fn(&Scrape, &mut Tell<'_, u64>)),
    /// What is there now.
    Measure(fn(&Scrape, &mut Tell<'_, f64>)),
    /// Durations that the core counts in buckets of its own, handed on into buckets with these bounds, in seconds.
    Histogram(&'static [f64], fn(&ReplicaHandles, &mut Tell<'_, Snapshot>)),
}

// === impl Instrument ===

impl Instrument {
    /// What Prometheus calls it: as its exporter does.
    pub fn prometheus_name(&self) -> String {
        let unit = match self.unit {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "",
        };
        let total = if matches!(self.source, InstrumentSource::Counter(_)) { "_total" } else { "" };
        format!("{}{unit}{total}", self.name.replace('.', "_"))
    }

    /// Labels with their values.
    pub fn attributes(&self, values: &[&str]) -> Vec<KeyValue> {
        let pairs = self.labels.iter().zip(values).filter(|(_, value)| !value.is_empty());
        pairs.map(|(label, value)| KeyValue::new(*label, (*value).to_owned())).collect()
    }
}

// === impl Source ===

impl InstrumentSource {
    /// What Prometheus calls this kind.
    pub fn kind(self) -> &'static str {
        match self {
            InstrumentSource::Counter(_) => "counter",
            InstrumentSource::Count(_) | InstrumentSource::Measure(_) => "gauge",
            InstrumentSource::Histogram(..) => "histogram",
        }
    }
}
