//! Estimate of Redis's clock, from samples.
//!
//! Used to refuse writes that arrive too late, to show ages, and to detect that the clock was set
//! back: then Redis keeps entries for longer than it should. Never used for freshness.

use std::collections::HashMap;
use std::sync::MutexGuard;
use std::time::Duration;

use crate::cache::clock::Moment;
use crate::cache::version::Version;
use crate::sync::Mutex;

/// Farthest that an epoch may lie ahead of Redis's clock: a day.
const HORIZON_MICROS: u64 = 86_400_000_000;

/// Smaller steps back cannot be told from clocks that run at different rates.
const MIN_STEP: Duration = Duration::from_millis(100);
/// Limit of remembered steps. Beyond it, two steps are merged.
const MAX_STEPS: usize = 8;
/// Echoes of a partition after a step until one was certainly published after it.
const ECHOES_AFTER_STEP: u8 = 2;

/// The clock of one primary. A primary that takes over begins with its predecessor's clock.
#[derive(Default)]
pub struct RedisClock(Mutex<ClockState>);

#[derive(Clone, Default)]
struct ClockState {
    sample: Option<ClockSample>,
    steps: Vec<ClockStep>,
}

#[derive(Clone, Copy)]
struct ClockSample {
    micros: u64,
    sent_at: Moment,
    received_at: Moment,
}

/// A step of the clock back.
#[derive(Clone)]
struct ClockStep {
    back: Duration,
    /// Echoes since the step, and the last position that may be from before it, by partition.
    last: HashMap<u16, (u8, Version)>,
}

/// Returns true if an epoch is more than a day ahead of a clock that shows `micros`.
pub fn is_ahead(epoch: u64, micros: u64) -> bool {
    epoch > micros.saturating_add(HORIZON_MICROS)
}

impl RedisClock {
    /// Creates a clock from the state of its predecessor.
    pub fn after(other: &RedisClock) -> RedisClock {
        RedisClock(Mutex::new(other.lock().clone()))
    }

    /// Adds a sample: Redis's clock showed `micros` at some time between `sent_at` and `received_at`.
    ///
    /// Returns how far the clock was set back since the last sample.
    pub fn sample(&self, micros: u64, sent_at: Moment, received_at: Moment) -> Option<Duration> {
        let mut known = self.lock();
        let before = known.sample.replace(ClockSample { micros, sent_at, received_at });
        let before = before?;
        // A request that was sent before the last answer may have been answered before it.
        let later = sent_at.since(before.received_at).as_micros() as u64;
        let overlap = before.received_at.since(sent_at).as_micros() as u64;
        let earliest = before.micros.saturating_add(later).saturating_sub(overlap);
        let back = Duration::from_micros(earliest.saturating_sub(micros));
        if back < MIN_STEP {
            return None;
        }
        known.steps.push(ClockStep { back, last: HashMap::new() });
        if known.steps.len() > MAX_STEPS {
            // The next step covers everything that the oldest one covers.
            let oldest = known.steps.remove(0);
            known.steps[0].back += oldest.back;
        }
        Some(back)
    }

    /// Records an echo of a partition.
    pub fn echoed(&self, partition: u16, position: Version) {
        let mut known = self.lock();
        for step in &mut known.steps {
            let (echoes, last) = step.last.entry(partition).or_default();
            if *echoes < ECHOES_AFTER_STEP {
                (*echoes, *last) = (*echoes + 1, position);
            }
        }
    }

    /// Returns how much longer than it should Redis keeps an entry of `version`, because its clock
    /// was set back since.
    pub fn kept_too_long(&self, partition: u16, version: Version) -> Duration {
        let known = self.lock();
        let covers = |step: &&ClockStep| match step.last.get(&partition) {
            Some((ECHOES_AFTER_STEP, last)) => version <= *last,
            _ => true,
        };
        known.steps.iter().filter(covers).map(|step| step.back).sum()
    }

    /// Returns the latest time that Redis's clock may show at `moment`, and for how long after
    /// `moment` it may take to show it.
    pub fn at(&self, moment: Moment) -> Option<(u64, Duration)> {
        let sample = self.lock().sample?;
        let micros = sample.micros.saturating_add(moment.since(sample.sent_at).as_micros() as u64);
        Some((micros, sample.received_at.since(sample.sent_at)))
    }

    /// Returns the earliest time that Redis's clock may show at `moment`, microseconds.
    pub fn at_least(&self, moment: Moment) -> Option<u64> {
        self.at(moment).map(|(latest, uncertainty)| latest.saturating_sub(uncertainty.as_micros() as u64))
    }

    /// Returns at most how long after `moment` Redis's clock shows `micros`.
    pub fn until(&self, micros: u64, moment: Moment) -> Duration {
        self.at_least(moment).map_or(Duration::MAX, |now| Duration::from_micros(micros.saturating_sub(now)))
    }

    /// Returns true if an epoch may have begun by this clock, or by one that was wrong by up to a
    /// day.
    ///
    /// Scripts apply the same rule.
    pub fn may_begin(&self, epoch: u64, now: Moment) -> bool {
        self.at(now).is_none_or(|(micros, _)| !is_ahead(epoch, micros))
    }

    /// Returns approximately how long before `now` Redis's clock showed `micros`; zero if that is
    /// in the future or the clock is unknown.
    pub fn age(&self, micros: u64, now: Moment) -> Duration {
        let present =
            self.at(now).map_or(0, |(present, uncertainty)| present.saturating_sub(uncertainty.as_micros() as u64 / 2));
        Duration::from_micros(present.saturating_sub(micros))
    }

    /// Returns at most how long before `now` Redis's clock showed `micros`, unless the clock was
    /// set.
    pub fn age_at_most(&self, micros: u64, now: Moment) -> Duration {
        let latest = self.at(now).map_or(0, |(latest, _)| latest);
        Duration::from_micros(latest.saturating_sub(micros))
    }

    fn lock(&self) -> MutexGuard<'_, ClockState> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_after_is_never_too_early_and_the_uncertainty_is_the_round_trip() {
        let clock = RedisClock::default();
        assert_eq!(clock.at(Moment(1)), None);
        clock.sample(5_000_000, Moment(1_000_000), Moment(3_000_000));
        assert_eq!(clock.at(Moment(11_000_000)), Some((5_010_000, Duration::from_millis(2))));
        assert!(clock.may_begin(5_010_000 + HORIZON_MICROS, Moment(11_000_000)));
        assert!(!clock.may_begin(5_010_001 + HORIZON_MICROS, Moment(11_000_000)));
        assert_eq!(clock.age(5_000_000, Moment(11_000_000)), Duration::from_millis(9));
        assert_eq!(clock.age_at_most(5_000_000, Moment(11_000_000)), Duration::from_millis(10));
    }

    const SECOND: u64 = 1_000_000_000;

    fn seconds(seconds: u64) -> Moment {
        Moment(seconds * SECOND)
    }

    #[test]
    fn what_was_written_before_a_step_back_is_kept_too_long_by_as_much() {
        let clock = RedisClock::default();
        assert_eq!(clock.sample(100_000_000, seconds(10), seconds(11)), None);
        // It lost 3 s of the second between the answer and the next question, and 2 s more.
        assert_eq!(clock.sample(98_000_000, seconds(12), seconds(13)), Some(Duration::from_secs(3)));
        let (before, after) = (Version::new(7, 40), Version::new(7, 41));
        assert_eq!(clock.kept_too_long(1, after), Duration::from_secs(3), "nothing tells yet which is later");
        clock.echoed(1, Version::new(7, 39));
        clock.echoed(1, before);
        clock.echoed(1, Version::new(7, 90));
        assert_eq!(clock.kept_too_long(1, before), Duration::from_secs(3));
        assert_eq!(clock.kept_too_long(1, after), Duration::ZERO);
        assert_eq!(clock.kept_too_long(2, after), Duration::from_secs(3), "of another partition nothing was heard");
        assert_eq!(RedisClock::after(&clock).kept_too_long(1, before), Duration::from_secs(3));
    }

    #[test]
    fn only_a_step_back_is_one() {
        let clock = RedisClock::default();
        clock.sample(100_000_000, seconds(10), seconds(11));
        assert_eq!(clock.sample(101_950_000, seconds(13), seconds(14)), None, "too small");
        assert_eq!(clock.sample(500_000_000, seconds(15), seconds(16)), None, "forward");
        assert_eq!(clock.sample(499_000_000, seconds(15), seconds(17)), None, "asked before the last answer");
        let overlapping = clock.sample(490_000_000, seconds(16), seconds(18));
        assert_eq!(overlapping, Some(Duration::from_secs(8)), "more than the requests overlap");
        assert_eq!(clock.kept_too_long(1, Version::new(1, 1)), Duration::from_secs(8));
    }

    #[test]
    fn steps_add_up_and_their_number_is_bounded() {
        let clock = RedisClock::default();
        for n in 1..=20 {
            clock.sample(1_000_000_000 - n * 1_000_000, seconds(n), seconds(n));
        }
        assert_eq!(clock.lock().steps.len(), MAX_STEPS);
        assert_eq!(clock.kept_too_long(1, Version::new(1, 1)), Duration::from_secs(2 * 19));
    }
}
