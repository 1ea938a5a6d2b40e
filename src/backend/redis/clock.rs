//! Redis's clock as this replica knows it, from samples. Used to refuse writes that arrive too late and to show ages; never for freshness.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cache::clock::Moment;

/// Farthest that an epoch may lie ahead of Redis's clock: a hundred years.
const HORIZON_MICROS: u64 = 3_155_760_000_000_000;

/// The last sample of Redis's clock.
#[derive(Default)]
pub struct RedisClock(Mutex<Option<Sample>>);

#[derive(Clone, Copy)]
struct Sample {
    micros: u64,
    sent: Moment,
    received: Moment,
}

impl RedisClock {
    /// Redis's clock stood at `micros` at some moment between `sent` and `received`.
    pub fn sample(&self, micros: u64, sent: Moment, received: Moment) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Sample { micros, sent, received });
    }

    /// The latest that Redis's clock may show at `moment`, and for how long after `moment` it may take to show it.
    pub fn at(&self, moment: Moment) -> Option<(u64, Duration)> {
        let sample = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let micros = sample.micros.saturating_add(moment.since(sample.sent).as_micros() as u64);
        Some((micros, sample.received.since(sample.sent)))
    }

    /// Whether an epoch may have begun by this clock, or by one that was wrong by a hundred years: as scripts judge it.
    pub fn may_begin(&self, epoch: u64, now: Moment) -> bool {
        self.at(now).is_none_or(|(micros, _)| epoch <= micros.saturating_add(HORIZON_MICROS))
    }

    /// How long before `now` Redis's clock stood at `micros`, about; zero when that lies ahead or the clock is unknown.
    pub fn age(&self, micros: u64, now: Moment) -> Duration {
        let present =
            self.at(now).map_or(0, |(present, uncertainty)| present.saturating_sub(uncertainty.as_micros() as u64 / 2));
        Duration::from_micros(present.saturating_sub(micros))
    }

    /// How long before `now` Redis's clock stood at `micros`, at most, as long as nobody sets it.
    pub fn age_at_most(&self, micros: u64, now: Moment) -> Duration {
        let latest = self.at(now).map_or(0, |(latest, _)| latest);
        Duration::from_micros(latest.saturating_sub(micros))
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
}
