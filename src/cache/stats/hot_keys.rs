//! Hot keys: a sample of the Gets, counted in a sketch of bounded size whose counts fade.
//!
//! The sampling rate follows the load, so that about a thousand Gets per second are sampled,
//! however many there are.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::sketch::Sketch;
use crate::cache::clock::Moment;
use crate::cache::key::{Key, KeyRef};
use crate::sync::Mutex;

pub use super::sketch::HotKey;

/// Target number of samples per second.
const SAMPLES_PER_SECOND: u64 = 1000;
/// Largest number of Gets per sample.
const MAX_SAMPLING_INTERVAL: u64 = 1 << 16;
/// Interval at which the sampling rate is fitted to the load.
const FIT_INTERVAL: Duration = Duration::from_secs(1);

thread_local! {
    /// Gets of this thread up to and including the next sample.
    static LEFT: Cell<u64> = const { Cell::new(0) };
    static RANDOM: Cell<u64> = Cell::new(RandomState::new().hash_one(0u8) | 1);
}

/// The hot keys of a replica.
pub struct HotKeys {
    /// Number of Gets per sample.
    every: AtomicU64,
    /// Time of the next fit to the load.
    fit_at: AtomicU64,
    counted: Mutex<SampledKey>,
}

struct SampledKey {
    sketch: Sketch,
    /// Samples since the last fit.
    samples: u64,
    fitted_at: Moment,
}

// === impl HotKeys ===

impl HotKeys {
    /// Creates an empty sketch for at most `capacity` keys.
    pub fn new(capacity: usize, now: Moment) -> HotKeys {
        let counted = SampledKey { sketch: Sketch::new(capacity, now), samples: 0, fitted_at: now };
        HotKeys {
            every: AtomicU64::new(1),
            fit_at: AtomicU64::new(now.plus(FIT_INTERVAL).0),
            counted: Mutex::new(counted),
        }
    }

    /// Counts a read of `key`. On the hot path: two loads of values that rarely change and a
    /// countdown of this thread, unless this Get is sampled.
    #[inline]
    pub fn read(&self, key: KeyRef<'_>, now: Moment) {
        if now.0 >= self.fit_at.load(Ordering::Relaxed) {
            self.fit(now);
        }
        let every = self.every.load(Ordering::Relaxed);
        if is_next(every) && !key.namespace.is_unregistered() {
            self.sample(key.to_key(), every, now);
        }
    }

    /// Returns at most `limit` keys that `of` accepts, the hottest first.
    pub fn top(&self, limit: usize, now: Moment, of: impl Fn(&Key) -> bool) -> Vec<HotKey> {
        let mut hottest = self.lock().sketch.rates(now);
        hottest.retain(|hot| of(&hot.key));
        hottest.sort_by(|one, other| other.rate.total_cmp(&one.rate));
        hottest.truncate(limit);
        hottest
    }

    /// Counts a Get that stands for `every`. It is dropped if another thread holds the lock: no
    /// caller waits here.
    #[cold]
    fn sample(&self, key: Key, every: u64, now: Moment) {
        let Some(mut counted) = self.try_lock() else { return };
        counted.sketch.add(key, every as f64, now);
        counted.samples += 1;
        if counted.samples >= 2 * SAMPLES_PER_SECOND {
            self.sample_one_in((2 * every).min(MAX_SAMPLING_INTERVAL), &mut counted, now);
        }
    }

    /// Fits the sampling rate to the load since the last fit.
    #[cold]
    fn fit(&self, now: Moment) {
        let Some(mut counted) = self.try_lock() else { return };
        let took = now.since(counted.fitted_at);
        if took < FIT_INTERVAL {
            return;
        }
        let a_second = (counted.samples * self.every.load(Ordering::Relaxed)) as f64 / took.as_secs_f64();
        self.sample_one_in(
            ((a_second / SAMPLES_PER_SECOND as f64) as u64).clamp(1, MAX_SAMPLING_INTERVAL),
            &mut counted,
            now,
        );
    }

    fn sample_one_in(&self, every: u64, counted: &mut SampledKey, now: Moment) {
        (counted.samples, counted.fitted_at) = (0, now);
        self.every.store(every, Ordering::Relaxed);
        self.fit_at.store(now.plus(FIT_INTERVAL).0, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, SampledKey> {
        self.counted.lock()
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, SampledKey>> {
        self.counted.try_lock()
    }
}

/// Counts a Get of this thread. Returns true if it is to be sampled: one in `every` on average. The
/// gaps are random, because Gets in a fixed order would otherwise always be sampled at the same
/// key.
#[inline]
fn is_next(every: u64) -> bool {
    LEFT.with(|left| match left.get().min(2 * every) {
        0 | 1 => {
            left.set(gap(every));
            true
        }
        more => {
            left.set(more - 1);
            false
        }
    })
}

/// Returns a random gap, from 1 to twice `every` less 1.
fn gap(every: u64) -> u64 {
    RANDOM.with(|random| {
        // Marsaglia's xorshift.
        let mut bits = random.get();
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        random.set(bits);
        1 + (bits >> 16) % (2 * every - 1)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::namespace::Namespace;
    use crate::cache::policy::NamespacePolicy;

    const MILLI: Duration = Duration::from_millis(1);

    fn namespace() -> Arc<Namespace> {
        Arc::new(Namespace::new("n", 0, NamespacePolicy::default(), 4))
    }

    /// Reads keys of `names`, `times` each in turn, one every `pace`; returns when it ended.
    fn read_in_turn(hot: &HotKeys, names: &[String], times: usize, pace: Duration, mut now: Moment) -> Moment {
        let namespace = namespace();
        for _ in 0..times {
            for name in names {
                hot.read(KeyRef::new(&namespace, name.as_bytes()), now);
                now = now.plus(pace);
            }
        }
        now
    }

    fn names(range: std::ops::Range<u32>) -> Vec<String> {
        range.map(|n| n.to_string()).collect()
    }

    #[test]
    fn a_few_gets_are_all_counted() {
        let hot = HotKeys::new(16, Moment(1));
        let now = read_in_turn(&hot, &["a".into(), "b".into(), "a".into()], 100, MILLI, Moment(1));
        let top = hot.top(10, now, |_| true);
        assert_eq!(top.iter().map(|hot| hot.key.bytes()).collect::<Vec<_>>(), [b"a", b"b"]);
        assert!((195.0..=206.0).contains(&top[0].rate), "{top:?}");
        assert!((97.0..=103.0).contains(&top[1].rate), "{top:?}");
    }

    #[test]
    fn of_many_gets_a_thousand_a_second_are_sampled_and_the_rates_are_about_right() {
        let hot = HotKeys::new(64, Moment(1));
        // 100,000 a second for 20 seconds: 16 keys in turn.
        let names = names(0..16);
        let now = read_in_turn(&hot, &names, 125_000, Duration::from_micros(10), Moment(1));
        let every = hot.every.load(Ordering::Relaxed);
        assert!((50..=200).contains(&every), "{every}");
        let top = hot.top(100, now, |_| true);
        assert_eq!(top.len(), 16, "none is missed because it always comes in the same turn");
        for hot in top {
            assert!((3_500.0..=9_500.0).contains(&hot.rate), "{hot:?}");
        }
    }

    #[test]
    fn when_the_load_falls_every_get_counts_again() {
        let hot = HotKeys::new(64, Moment(1));
        let now = read_in_turn(&hot, &names(0..16), 20_000, Duration::from_micros(10), Moment(1));
        assert!(hot.every.load(Ordering::Relaxed) > 1);
        let now = read_in_turn(&hot, &["quiet".into()], 8, Duration::from_secs(1), now);
        assert_eq!(hot.every.load(Ordering::Relaxed), 1);
        assert!(hot.top(100, now, |_| true).iter().any(|hot| hot.key.bytes() == b"quiet"));
    }

    #[test]
    fn only_what_is_asked_for_is_listed_and_guests_are_not_counted() {
        let hot = HotKeys::new(16, Moment(1));
        let (known, other) = (namespace(), Arc::new(Namespace::new("o", 1, NamespacePolicy::default(), 4)));
        let guest = Arc::new(Namespace::new("g", u32::MAX, NamespacePolicy::default(), 4));
        for _ in 0..10 {
            [&known, &other, &guest].iter().for_each(|namespace| hot.read(KeyRef::new(namespace, b"k"), Moment(2)));
        }
        let listed = |of: fn(&Key) -> bool| hot.top(10, Moment(3), of).len();
        assert_eq!((listed(|_| true), listed(|key| key.namespace().name() == "o")), (2, 1));
        assert_eq!(hot.top(1, Moment(3), |_| true).len(), 1);
    }
}
