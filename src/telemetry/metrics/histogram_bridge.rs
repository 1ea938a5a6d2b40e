//! Hands durations on from the core's buckets, which cost the hot path an atomic add, to the histograms of the SDK, which cost a lock each time:
//! whatever was counted since the last time is recorded as often as it was, each with the middle of its bucket. Counts are exact, and durations,
//! as well as their sum, are off by a sixteenth at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::metrics::{BoundHistogram, Histogram, Meter};

use super::instrument::{Instrument, InstrumentSource};
use super::scrape::Tell;
use crate::cache::fleet::replica::ReplicaHandles;
use crate::cache::stats::Snapshot;

type ReadHistogram = fn(&ReplicaHandles, &mut Tell<'_, Snapshot>);

/// What was handed on already, and where to.
pub struct HistogramBridge {
    observed: Arc<ReplicaHandles>,
    histograms: Vec<(&'static Instrument, ReadHistogram, Histogram<f64>)>,
    /// By histogram and the values of its labels.
    series: Mutex<HashMap<(usize, Vec<String>), BridgedSeries>>,
}

struct BridgedSeries {
    into: BoundHistogram<f64>,
    /// Of each bucket.
    handed_on: Vec<u64>,
}

// === impl Handover ===

impl HistogramBridge {
    /// Makes a histogram of each instrument that is one. Nothing was handed on yet.
    pub fn new(
        observed: Arc<ReplicaHandles>,
        meter: &Meter,
        instruments: impl Iterator<Item = &'static Instrument>,
    ) -> HistogramBridge {
        let made = instruments.filter_map(|instrument| {
            let InstrumentSource::Histogram(bounds, read) = instrument.source else { return None };
            let histogram = meter.f64_histogram(instrument.name).with_unit(instrument.unit);
            let histogram = histogram.with_description(instrument.description).with_boundaries(bounds.to_vec());
            Some((instrument, read, histogram.build()))
        });
        HistogramBridge { observed, histograms: made.collect(), series: Mutex::default() }
    }

    /// Hands on at most `most` observations; whether there are more. What is left is handed on the next time.
    pub fn turn(&self, most: u64) -> bool {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = most;
        for (place, (instrument, read, histogram)) in self.histograms.iter().enumerate() {
            read(&self.observed, &mut |labels, snapshot| {
                let name = (place, labels.iter().map(|label| (*label).to_owned()).collect());
                let series = series.entry(name).or_insert_with(|| BridgedSeries::new(histogram, instrument, labels));
                left -= series.hand_on(&snapshot, left);
            });
        }
        left == 0
    }
}

// === impl Series ===

impl BridgedSeries {
    fn new(histogram: &Histogram<f64>, instrument: &Instrument, labels: &[&str]) -> BridgedSeries {
        BridgedSeries { into: histogram.bind(&instrument.attributes(labels)), handed_on: Vec::new() }
    }

    /// Hands on at most `most` of what is new in `snapshot`; how many.
    fn hand_on(&mut self, snapshot: &Snapshot, most: u64) -> u64 {
        let mut left = most;
        for (bucket, (middle, count)) in snapshot.buckets().enumerate() {
            if bucket == self.handed_on.len() {
                self.handed_on.push(0);
            }
            let new = (count - self.handed_on[bucket].min(count)).min(left);
            (0..new).for_each(|_| self.into.record(middle.as_secs_f64()));
            self.handed_on[bucket] += new;
            left -= new;
        }
        most - left
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

    static PLAIN: Instrument = Instrument {
        name: "plain",
        unit: "s",
        description: "",
        labels: &["label"],
        source: InstrumentSource::Histogram(&[], |_, _| {}),
    };

    /// A series, and what has arrived where it leads to: how many, and their sum.
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
        (BridgedSeries::new(&histogram, &PLAIN, &["x"]), arrived)
    }

    #[test]
    fn a_series_is_there_before_anything_is_observed() {
        let (_series, arrived) = series();
        assert_eq!(arrived(), (0, 0.0));
    }

    #[test]
    fn each_observation_is_handed_on_once_and_no_more_than_is_allowed_at_a_time() {
        let (mut series, arrived) = series();
        let observed = stats::Histogram::default();
        (1..=100).for_each(|millis| observed.observe(Duration::from_millis(millis)));
        assert_eq!(series.hand_on(&observed.snapshot(), 30), 30);
        assert_eq!(arrived().0, 30);
        assert_eq!(series.hand_on(&observed.snapshot(), 1000), 70);
        assert_eq!(series.hand_on(&observed.snapshot(), 1000), 0);
        observed.observe(Duration::from_secs(9));
        assert_eq!(series.hand_on(&observed.snapshot(), 1000), 1);
        let (count, sum) = arrived();
        let exact = 5.05 + 9.0;
        assert!(count == 101 && (sum - exact).abs() < exact / 16.0, "{count} {sum}");
    }

    #[test]
    fn nothing_is_lost_or_counted_twice_while_others_observe() {
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
                series.hand_on(&observed.snapshot(), 1000);
            }
        });
        while series.hand_on(&observed.snapshot(), 1000) > 0 {}
        assert_eq!(arrived().0, 150_000);
    }
}
