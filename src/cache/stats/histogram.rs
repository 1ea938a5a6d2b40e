//! Histograms of durations: logarithmic buckets, an atomic add for each observation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets per doubling: quantiles are exact to 1/16 and better.
const PER_OCTAVE: u64 = 8;
const BUCKETS: usize = 40 * PER_OCTAVE as usize;

/// Durations in logarithmic buckets of nanoseconds, from 1 ns to 18 minutes.
pub struct Histogram {
    buckets: Box<[AtomicU64; BUCKETS]>,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: Box::new([const { AtomicU64::new(0) }; BUCKETS]), max: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Records a duration.
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        if nanos > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    /// Returns the current counts.
    pub fn snapshot(&self) -> Snapshot {
        let buckets: Vec<u64> = self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        let max = Duration::from_nanos(self.max.load(Ordering::Relaxed));
        Snapshot { count: buckets.iter().sum(), buckets, max }
    }
}

/// A histogram at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Number of durations.
    pub count: u64,
    /// Largest duration.
    pub max: Duration,
    buckets: Vec<u64>,
}

impl Snapshot {
    /// Returns every bucket in the order of durations, also empty ones: its middle, which is at
    /// most a sixteenth off, and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.buckets.iter().enumerate().map(|(bucket, count)| (Duration::from_nanos(middle(bucket as u64)), *count))
    }

    /// Returns what was recorded since `before`. The largest is exact to a bucket only.
    pub fn since(&self, before: &Snapshot) -> Snapshot {
        let earlier = before.buckets.iter().copied().chain(std::iter::repeat(0));
        let buckets: Vec<u64> = self.buckets.iter().zip(earlier).map(|(now, before)| now - before.min(*now)).collect();
        let largest = buckets.iter().rposition(|count| *count > 0).map(|bucket| middle(bucket as u64 + 1));
        let max =
            if self.max > before.max { self.max } else { Duration::from_nanos(largest.unwrap_or(0)).min(self.max) };
        Snapshot { count: buckets.iter().sum(), buckets, max }
    }

    /// Returns the sum of both.
    pub fn plus(&self, other: &Snapshot) -> Snapshot {
        let (long, short) = if self.buckets.len() < other.buckets.len() { (other, self) } else { (self, other) };
        let more = short.buckets.iter().copied().chain(std::iter::repeat(0));
        let buckets = long.buckets.iter().zip(more).map(|(one, other)| one + other).collect();
        Snapshot { count: self.count + other.count, max: self.max.max(other.max), buckets }
    }

    /// Returns the duration that the share `q` (0 to 1) of recorded durations do not exceed.
    pub fn quantile(&self, q: f64) -> Duration {
        let rank = ((self.count as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(middle(index as u64)).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < PER_OCTAVE {
        return nanos as usize;
    }
    let octave = u64::from(nanos.ilog2()) - u64::from(PER_OCTAVE.ilog2());
    let within = (nanos >> octave) - PER_OCTAVE;
    (((octave + 1) * PER_OCTAVE + within) as usize).min(BUCKETS - 1)
}

fn middle(bucket: u64) -> u64 {
    if bucket < PER_OCTAVE {
        return bucket;
    }
    let octave = bucket / PER_OCTAVE - 1;
    let low = (PER_OCTAVE + bucket % PER_OCTAVE) << octave;
    low + (1 << octave) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_sixteenth() {
        let histogram = Histogram::default();
        for micros in 1..=10_000u64 {
            histogram.observe(Duration::from_micros(micros));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count, 10_000);
        for (q, expected) in [(0.5, 5_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
            let got = snapshot.quantile(q).as_secs_f64() * 1e6;
            assert!((got - expected).abs() / expected < 0.0625 + 1e-3, "{q}: {got}");
        }
        assert_eq!(snapshot.max, Duration::from_millis(10));
    }

    #[test]
    fn buckets_tell_what_was_observed_to_a_sixteenth() {
        let histogram = Histogram::default();
        let observed = [1, 900, 1_000_000, 3_000_000_000].map(Duration::from_nanos);
        observed.iter().for_each(|duration| histogram.observe(*duration));
        let told: Vec<Duration> =
            histogram.snapshot().buckets().flat_map(|(middle, count)| (0..count).map(move |_| middle)).collect();
        assert_eq!(told.len(), observed.len());
        for (told, observed) in told.iter().zip(&observed) {
            assert!(told.abs_diff(*observed) <= *observed / 16, "{told:?} {observed:?}");
        }
    }

    #[test]
    fn what_either_observed_is_in_their_sum() {
        let [one, other] = [Histogram::default(), Histogram::default()];
        one.observe(Duration::from_millis(1));
        other.observe(Duration::from_millis(9));
        let both = one.snapshot().plus(&other.snapshot()).plus(&Snapshot::default());
        assert_eq!((both.count, both.max), (2, Duration::from_millis(9)));
        assert!(both.quantile(0.5) < Duration::from_millis(2) && both.quantile(1.0) > Duration::from_millis(8));
    }

    #[test]
    fn no_duration_falls_outside() {
        for nanos in [0, 1, 7, 8, 9, 1 << 20, u64::MAX] {
            assert!(bucket(nanos) < BUCKETS);
        }
        for nanos in (0..1 << 16).step_by(7) {
            let near = middle(bucket(nanos) as u64) as f64;
            assert!((near - nanos as f64).abs() <= nanos as f64 / 15.0 + 1.0, "{nanos}");
        }
    }
}
