//! Figures of one measurement, and of the same row over all rounds.

use std::collections::BTreeMap;

use crate::client::Measured;
use crate::plan::Row;

/// Figures of a row in one round.
#[derive(Clone, Debug)]
pub struct Sample {
    pub requests: u64,
    /// True if there were too few answers for the percentiles.
    pub is_sparse: bool,
    /// Microseconds of CPU of the server for a request.
    pub cpu: f64,
    /// The same of the service's Redis.
    pub redis_cpu: Option<f64>,
    /// Requests in a second.
    pub rate: f64,
    /// Microseconds within which that share of the answers came.
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    /// Share of the entries that the service read from Redis.
    pub from_redis: f64,
    pub wrong: u64,
}

impl Sample {
    /// `spent` and `of_redis` are in nanoseconds.
    pub fn new(row: &Row, measured: &Measured, spent: u64, of_redis: Option<u64>) -> Sample {
        let requests = measured.requests.max(1) as f64;
        let each = |spent: u64| spent as f64 / 1e3 / requests;
        let quantile = |share: f64| {
            let last = measured.latencies.len().saturating_sub(1);
            let at = (last as f64 * share).round() as usize;
            measured.latencies.get(at).map_or(0.0, |latency| f64::from(*latency) / 1e3)
        };
        Sample {
            requests: measured.requests,
            is_sparse: false,
            cpu: each(spent),
            redis_cpu: of_redis.map(each),
            rate: requests / measured.time.as_secs_f64(),
            p50: quantile(0.5),
            p99: quantile(0.99),
            p999: quantile(0.999),
            from_redis: measured.from_redis as f64 / requests / row.operation.entries() as f64,
            wrong: measured.wrong,
        }
    }
}

/// Samples of all rows, one for each round.
#[derive(Default)]
pub struct Samples(BTreeMap<Row, Vec<Sample>>);

/// Smallest and median figure over the rounds.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Samples {
    pub fn add(&mut self, row: Row, sample: Sample) {
        self.0.entry(row).or_default().push(sample);
    }

    pub fn of(&self, row: &Row) -> &[Sample] {
        self.0.get(row).map_or(&[], Vec::as_slice)
    }

    /// A figure of a row. `None` if the row was not measured.
    pub fn figure(&self, row: &Row, value: impl Fn(&Sample) -> Option<f64>) -> Option<Figure> {
        Figure::of(self.of(row).iter().filter_map(value).collect())
    }

    /// Ratio of a figure of `row` to the CPU of `floor` in the same round.
    pub fn ratio(&self, row: &Row, value: impl Fn(&Sample) -> Option<f64>, floor: &Row) -> Option<Figure> {
        let rounds = self.of(row).iter().zip(self.of(floor));
        Figure::of(rounds.filter_map(|(sample, floor)| Some(value(sample)? / floor.cpu)).collect())
    }
}

impl Figure {
    fn of(mut values: Vec<f64>) -> Option<Figure> {
        values.sort_by(f64::total_cmp);
        Some(Figure { min: *values.first()?, median: values[values.len() / 2], max: *values.last()? })
    }
}
