//! Transfers durations from the core's histograms to those of the OpenTelemetry SDK.
//!
//! An observation costs the core an atomic add, and the SDK a lock. So the core counts in buckets
//! of its own. A transfer records each new observation in the SDK with the middle of its bucket.
//! Counts are exact. Durations and their sum are off by a sixteenth at most.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry::metrics::{BoundHistogram, Histogram, Meter};

use super::instrument::{Instrument, InstrumentSource};
use super::scrape::Emit;
use crate::cache::fleet::replica::ReplicaHandles;
use crate::cache::stats::Snapshot;
use crate::sync::Mutex;

type ReadHistogram = fn(&ReplicaHandles, &mut Emit<'_, Snapshot>);

/// The histograms of both sides, and the counts that were transferred already.
pub struct HistogramBridge {
    replica: Arc<ReplicaHandles>,
    histograms: Vec<(&'static Instrument, ReadHistogram, Histogram<f64>)>,
    /// Series by index of the histogram and values of its labels.
    series: Mutex<HashMap<(usize, Vec<String>), BridgedSeries>>,
}

struct BridgedSeries {
    target: BoundHistogram<f64>,
    /// Transferred count of each bucket.
    transferred: Vec<u64>,
}

// === impl HistogramBridge ===

impl HistogramBridge {
    /// Creates an SDK histogram for each histogram instrument.
    pub fn new(
        replica: Arc<ReplicaHandles>,
        meter: &Meter,
        instruments: impl Iterator<Item = &'static Instrument>,
    ) -> HistogramBridge {
        let histograms = instruments.filter_map(|instrument| {
            let InstrumentSource::Histogram(bounds, read) = instrument.source else { return None };
            let histogram = meter.f64_histogram(instrument.name).with_unit(instrument.unit);
            let histogram = histogram.with_description(instrument.description).with_boundaries(bounds.to_vec());
            Some((instrument, read, histogram.build()))
        });
        HistogramBridge { replica, histograms: histograms.collect(), series: Mutex::default() }
    }

    /// Transfers at most `max` observations. Returns true if there may be more.
    pub fn transfer(&self, max: u64) -> bool {
        let mut series = self.series.lock();
        let mut left = max;
        for (index, (instrument, read, histogram)) in self.histograms.iter().enumerate() {
            read(&self.replica, &mut |labels, snapshot| {
                let name = (index, labels.iter().map(|label| (*label).to_owned()).collect());
                let series = series.entry(name).or_insert_with(|| BridgedSeries::new(histogram, instrument, labels));
                left -= series.transfer(&snapshot, left);
            });
        }
        left == 0
    }
}

// === impl BridgedSeries ===

impl BridgedSeries {
    fn new(histogram: &Histogram<f64>, instrument: &Instrument, labels: &[&str]) -> BridgedSeries {
        BridgedSeries { target: histogram.bind(&instrument.attributes(labels)), transferred: Vec::new() }
    }

    /// Transfers at most `max` new observations of `snapshot`. Returns how many.
    fn transfer(&mut self, snapshot: &Snapshot, max: u64) -> u64 {
        let mut left = max;
        for (bucket, (middle, count)) in snapshot.buckets().enumerate() {
            if bucket == self.transferred.len() {
                self.transferred.push(0);
            }
            let new = (count - self.transferred[bucket].min(count)).min(left);
            (0..new).for_each(|_| self.target.record(middle.as_secs_f64()));
            self.transferred[bucket] += new;
            left -= new;
        }
        max - left
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use prometheus::Registry;

    use super::*;
    use crate::cache::stats;

    static INSTRUMENT: Instrument = Instrument {
        name: "plain",
        unit: "s",
        description: "",
        labels: &["label"],
        source: InstrumentSource::Histogram(&[], |_, _| {}),
    };

    /// A series, and a function that returns count and sum of its target.
    fn series() -> (BridgedSeries, impl Fn() -> (u64, f64)) {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build().expect("built");
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        let histogram = provider.meter("test").f64_histogram("plain").with_boundaries(vec![1.0]).build();
        let arrived = move || {
            let _lives = &provider;
            let families = registry.gather();
            let family = families.iter().find(|family| family.name() == "plain").expect("there");
            let histogram = family.get_metric()[0].get_histogram();
            (histogram.get_sample_count(), histogram.get_sample_sum())
        };
        (BridgedSeries::new(&histogram, &INSTRUMENT, &["x"]), arrived)
    }

    #[test]
    fn a_series_exists_before_the_first_observation() {
        let (_series, arrived) = series();
        assert_eq!(arrived(), (0, 0.0));
    }

    #[test]
    fn each_observation_is_transferred_once_within_the_limit() {
        let (mut series, arrived) = series();
        let observed = stats::Histogram::default();
        (1..=100).for_each(|millis| observed.observe(Duration::from_millis(millis)));
        assert_eq!(series.transfer(&observed.snapshot(), 30), 30);
        assert_eq!(arrived().0, 30);
        assert_eq!(series.transfer(&observed.snapshot(), 1000), 70);
        assert_eq!(series.transfer(&observed.snapshot(), 1000), 0);
        observed.observe(Duration::from_secs(9));
        assert_eq!(series.transfer(&observed.snapshot(), 1000), 1);
        let (count, sum) = arrived();
        let exact = 5.05 + 9.0;
        assert!(count == 101 && (sum - exact).abs() < exact / 16.0, "{count} {sum}");
    }

    #[test]
    fn no_observation_is_lost_or_counted_twice_under_concurrency() {
        let (mut series, arrived) = series();
        let observed = stats::Histogram::default();
        std::thread::scope(|scope| {
            let observers: Vec<_> = (0..3u64)
                .map(|n| {
                    let observed = &observed;
                    scope.spawn(move || (0..50_000).for_each(|m| observed.observe(Duration::from_nanos(n + 7 * m))))
                })
                .collect();
            while !observers.iter().all(|observer| observer.is_finished()) {
                series.transfer(&observed.snapshot(), 1000);
            }
        });
        while series.transfer(&observed.snapshot(), 1000) > 0 {}
        assert_eq!(arrived().0, 150_000);
    }
}
