//! Meters: counter, gauge, and the table that declares them together with their report.
//!
//! Each counts with an atomic add, without locks.

use std::sync::atomic::{AtomicU64, Ordering};

use super::histogram::{Histogram, Snapshot};

/// A counter. It only grows.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Returns the count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A count of what exists now.
#[derive(Default, Debug)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds `n` and returns true, unless the sum would exceed `limit`. 0: no limit.
    pub fn add_within(&self, n: u64, limit: u64) -> bool {
        let add = |count: u64| Some(count + n).filter(|sum| limit == 0 || *sum <= limit);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Subtracts `n`.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Sets the count.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Adds one for as long as the guard lives.
    pub fn inc_guard(&self) -> IncGuard<'_> {
        self.inc();
        IncGuard(self)
    }

    /// Returns the count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counted thing. Dropping it subtracts one.
pub struct IncGuard<'a>(&'a Gauge);

impl Drop for IncGuard<'_> {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

/// A number of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Count since the start, or since an earlier report.
    Count(u64),
    /// Count of what exists now.
    Gauge(u64),
}

/// A meter that reports read.
pub trait Meter {
    /// Its value at one instant.
    type Reading: Clone + Default;

    /// Reads the meter.
    fn read(&self) -> Self::Reading;
    /// Returns what happened between two readings.
    fn since(now: &Self::Reading, earlier: &Self::Reading) -> Self::Reading;
    /// Returns the sum of the readings of two meters.
    fn plus(one: &Self::Reading, other: &Self::Reading) -> Self::Reading;
    /// Returns the reading as a number; `None` for a histogram.
    fn number(reading: &Self::Reading) -> Option<Number>;
}

impl Meter for Counter {
    type Reading = u64;

    fn read(&self) -> u64 {
        self.get()
    }

    fn since(now: &u64, earlier: &u64) -> u64 {
        now.saturating_sub(*earlier)
    }

    fn plus(one: &u64, other: &u64) -> u64 {
        one.saturating_add(*other)
    }

    fn number(reading: &u64) -> Option<Number> {
        Some(Number::Count(*reading))
    }
}

impl Meter for Gauge {
    type Reading = u64;

    fn read(&self) -> u64 {
        self.get()
    }

    fn since(now: &u64, _: &u64) -> u64 {
        *now
    }

    fn plus(one: &u64, other: &u64) -> u64 {
        one.saturating_add(*other)
    }

    fn number(reading: &u64) -> Option<Number> {
        Some(Number::Gauge(*reading))
    }
}

impl Meter for Histogram {
    type Reading = Snapshot;

    fn read(&self) -> Snapshot {
        self.snapshot()
    }

    fn since(now: &Snapshot, earlier: &Snapshot) -> Snapshot {
        now.since(earlier)
    }

    fn plus(one: &Snapshot, other: &Snapshot) -> Snapshot {
        one.plus(other)
    }

    fn number(_: &Snapshot) -> Option<Number> {
        None
    }
}

/// Declares meters and the form in which a report has them, so that a meter is named once.
macro_rules! meters {
    ($($(#[$doc:meta])+ $meters:ident reported as $counts:ident { $($field:ident: $meter:ty,)+ })+) => {$(
        $(#[$doc])+
        #[derive(Default)]
        #[allow(missing_docs)]
        pub struct $meters {
            $(pub $field: $meter,)+
        }

        $(#[$doc])+
        ///
        /// The values at one instant.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub struct $counts {
            $(pub $field: <$meter as Meter>::Reading,)+
        }

        impl $meters {
            /// Reads all meters.
            pub fn read(&self) -> $counts {
                $counts { $($field: Meter::read(&self.$field),)+ }
            }
        }

        impl $counts {
            /// Returns the counts since `earlier`, with the gauges of now.
            pub fn since(&self, earlier: &$counts) -> $counts {
                $counts { $($field: <$meter as Meter>::since(&self.$field, &earlier.$field),)+ }
            }

            /// Returns the sum of both.
            pub fn plus(&self, other: &$counts) -> $counts {
                $counts { $($field: <$meter as Meter>::plus(&self.$field, &other.$field),)+ }
            }

            /// Returns the numbers with their names, without the histograms.
            pub fn numbers(&self) -> impl Iterator<Item = (&'static str, Number)> {
                let all = [$((stringify!($field), <$meter as Meter>::number(&self.$field)),)+];
                all.into_iter().filter_map(|(name, number)| Some((name, number?)))
            }
        }
    )+};
}

pub(super) use meters;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cache::stats::{LeaseCounters, SelfAuditCounters};

    #[test]
    fn a_report_has_counts_since_an_earlier_one_and_gauges_of_now() {
        let counters = LeaseCounters::default();
        counters.granted.add(3);
        let _waiter = counters.waiting.inc_guard();
        let earlier = counters.read();
        counters.granted.add(4);
        let lately = counters.read().since(&earlier);
        assert_eq!((lately.granted, lately.waiting), (4, 1));
        let both = lately.plus(&earlier);
        assert_eq!((both.granted, both.waiting), (7, 2));
        let numbers: Vec<_> = lately.numbers().filter(|(_, number)| *number != Number::Count(0)).collect();
        assert_eq!(numbers, [("granted", Number::Count(4)), ("waiting", Number::Gauge(1))]);
    }

    #[test]
    fn a_histogram_is_reported_without_a_number() {
        let audit = SelfAuditCounters::default();
        let earlier = audit.read();
        audit.staleness.observe(Duration::from_millis(1));
        assert_eq!(audit.read().since(&earlier).staleness.count, 1);
        assert!(audit.read().numbers().all(|(name, _)| name != "staleness"));
    }
}
