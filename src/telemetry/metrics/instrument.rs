//! `Instrument`: name, description, labels and read function of one metric.

use opentelemetry::KeyValue;

use super::scrape::{Emit, Scrape};
use crate::cache::fleet::replica::ReplicaHandles;
use crate::cache::stats::Snapshot;

/// One instrument.
pub struct Instrument {
    /// Name in OpenTelemetry.
    pub name: &'static str,
    /// Unit, in UCUM.
    pub unit: &'static str,
    /// Description in the reference.
    pub description: &'static str,
    /// Labels, in the order of their names.
    pub labels: &'static [&'static str],
    /// Read function.
    pub source: InstrumentSource,
}

/// Kind of an instrument, with its read function.
#[derive(Clone, Copy)]
pub enum InstrumentSource {
    /// A count that only grows.
    Counter(fn(&Scrape, &mut Emit<'_, u64>)),
    /// A current whole number.
    Count(fn(&Scrape, &mut Emit<'_, u64>)),
    /// A current number.
    Measure(fn(&Scrape, &mut Emit<'_, f64>)),
    /// Durations that the core counts in its own buckets, transferred to buckets with these bounds,
    /// in seconds.
    Histogram(&'static [f64], fn(&ReplicaHandles, &mut Emit<'_, Snapshot>)),
}

// === impl Instrument ===

impl Instrument {
    /// Name in Prometheus, as its exporter builds it.
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

// === impl InstrumentSource ===

impl InstrumentSource {
    /// Name of this kind in Prometheus.
    pub fn kind(self) -> &'static str {
        match self {
            InstrumentSource::Counter(_) => "counter",
            InstrumentSource::Count(_) | InstrumentSource::Measure(_) => "gauge",
            InstrumentSource::Histogram(..) => "histogram",
        }
    }
}
