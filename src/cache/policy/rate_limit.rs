//! Rate limit in requests per second, which can be changed at run time.

use std::num::NonZeroU32;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, NotUntil, Quota};

/// Longest wait that a refusal names.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// A rate limit, which may be off. A burst of as much as a second allows passes.
#[derive(Default)]
pub struct RateLimit(ArcSwapOption<RateQuota>);

struct RateQuota {
    limiter: DefaultDirectRateLimiter,
    burst: NonZeroU32,
}

impl RateLimit {
    /// Creates a limit of `rate` requests per second. 0: no limit.
    pub fn new(rate: f64) -> RateLimit {
        let throttle = RateLimit::default();
        throttle.set(rate);
        throttle
    }

    /// Sets the limit to `rate` requests per second. 0: no limit.
    pub fn set(&self, rate: f64) {
        let limiter = (rate > 0.0).then(|| {
            let period = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(MAX_WAIT);
            let period = period.clamp(Duration::from_nanos(1), MAX_WAIT);
            let burst = NonZeroU32::new(rate.ceil() as u32).unwrap_or(NonZeroU32::MIN);
            let quota = Quota::with_period(period).map(|quota| quota.allow_burst(burst));
            let limiter = DefaultDirectRateLimiter::direct(quota.unwrap_or(Quota::per_second(burst)));
            RateQuota { limiter, burst }.into()
        });
        self.0.store(limiter);
    }

    /// Admits one request, or returns how long to wait.
    pub fn admit(&self) -> Result<(), Duration> {
        match &*self.0.load() {
            None => Ok(()),
            Some(limit) => limit.limiter.check().map_err(wait),
        }
    }

    /// Admits as many requests at once, all or none. More than a burst count as one burst, because
    /// they would never pass otherwise.
    pub fn admit_many(&self, requests: usize) -> Result<(), Duration> {
        let limit = self.0.load();
        let Some((limit, requests)) = limit.as_ref().zip(NonZeroU32::new(requests.try_into().unwrap_or(u32::MAX)))
        else {
            return Ok(());
        };
        match limit.limiter.check_n(requests.min(limit.burst)) {
            Ok(admitted) => admitted.map_err(wait),
            // Cannot happen: at most a burst was requested.
            Err(_) => Ok(()),
        }
    }
}

fn wait(until: NotUntil<<DefaultClock as Clock>::Instant>) -> Duration {
    until.wait_time_from(DefaultClock::default().now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_second_allows_passes_and_the_next_waits() {
        let throttle = RateLimit::new(2.0);
        assert_eq!((throttle.admit(), throttle.admit()), (Ok(()), Ok(())));
        let wait = throttle.admit().expect_err("one too many");
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(500), "{wait:?}");
        throttle.set(0.0);
        assert!((0..1000).all(|_| throttle.admit().is_ok()));
        throttle.set(10.0);
        assert_eq!(throttle.admit_many(8), Ok(()));
        assert!(throttle.admit_many(8).is_err(), "all or none");
        assert_eq!((throttle.admit_many(1), throttle.admit_many(0)), (Ok(()), Ok(())));
        throttle.set(10.0);
        assert_eq!(throttle.admit_many(1000), Ok(()), "a burst");
        assert!(throttle.admit().is_err());
        throttle.set(1e-300);
        assert_eq!(throttle.admit(), Ok(()));
        assert!(throttle.admit().is_err());
    }
}
