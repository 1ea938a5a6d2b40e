//! Rate limits in requests and bytes per second, which can be changed at run time.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, NotUntil, Quota};

use super::byte_rate::ByteRate;

/// Longest wait that a refusal names.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// RateSettings per second. 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RateSettings {
    /// Requests.
    pub requests: f64,
    /// Bytes of keys and values, received and sent.
    pub bytes: u64,
}

/// Reason why a request was refused, and how long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateReached {
    /// Too many requests.
    Requests(Duration),
    /// Too many bytes.
    Bytes(Duration),
}

/// Rate limits, which may be off. A burst of as much as a second allows passes.
#[derive(Default)]
pub struct RateLimit {
    limiters: ArcSwapOption<Limiters>,
    /// True if bytes are limited: then a Get that is not limited reads nothing else.
    counts_bytes: AtomicBool,
}

struct Limiters {
    requests: Option<RequestRate>,
    bytes: Option<ByteRate>,
}

struct RequestRate {
    limiter: DefaultDirectRateLimiter,
    burst: NonZeroU32,
}

impl RateLimit {
    /// Creates limits.
    pub fn new(rates: RateSettings) -> RateLimit {
        let limit = RateLimit::default();
        limit.set(rates);
        limit
    }

    /// Sets the limits.
    pub fn set(&self, rates: RateSettings) {
        let requests = (rates.requests > 0.0).then(|| RequestRate::new(rates.requests));
        let bytes = (rates.bytes > 0).then(|| ByteRate::new(rates.bytes));
        self.counts_bytes.store(bytes.is_some(), Relaxed);
        let limited = requests.is_some() || bytes.is_some();
        self.limiters.store(limited.then(|| Limiters { requests, bytes }.into()));
    }

    /// Admits one request.
    pub fn admit(&self) -> Result<(), RateReached> {
        self.admit_many(1)
    }

    /// Admits as many requests at once, all or none. More than a burst count as one burst, because
    /// they would never pass otherwise.
    pub fn admit_many(&self, requests: usize) -> Result<(), RateReached> {
        match &*self.limiters.load() {
            None => Ok(()),
            Some(limiters) => limiters.admit(requests),
        }
    }

    /// Charges bytes that were received or are about to be sent.
    pub fn charge(&self, bytes: usize) {
        if self.counts_bytes.load(Relaxed)
            && let Some(Limiters { bytes: Some(rate), .. }) = self.limiters.load().as_deref()
        {
            rate.charge(bytes);
        }
    }
}

impl Limiters {
    fn admit(&self, requests: usize) -> Result<(), RateReached> {
        if let Some(bytes) = &self.bytes {
            bytes.admit().map_err(|wait| RateReached::Bytes(wait.min(MAX_WAIT)))?;
        }
        let Some((rate, requests)) =
            self.requests.as_ref().zip(NonZeroU32::new(requests.try_into().unwrap_or(u32::MAX)))
        else {
            return Ok(());
        };
        match rate.limiter.check_n(requests.min(rate.burst)) {
            Ok(admitted) => admitted.map_err(|until| RateReached::Requests(wait(until))),
            // Cannot happen: at most a burst was requested.
            Err(_) => Ok(()),
        }
    }
}

impl RequestRate {
    fn new(rate: f64) -> RequestRate {
        let period = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(MAX_WAIT);
        let period = period.clamp(Duration::from_nanos(1), MAX_WAIT);
        let burst = NonZeroU32::new(rate.ceil() as u32).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(period).map(|quota| quota.allow_burst(burst));
        let limiter = DefaultDirectRateLimiter::direct(quota.unwrap_or(Quota::per_second(burst)));
        RequestRate { limiter, burst }
    }
}

fn wait(until: NotUntil<<DefaultClock as Clock>::Instant>) -> Duration {
    until.wait_time_from(DefaultClock::default().now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(requests: f64) -> RateSettings {
        RateSettings { requests, bytes: 0 }
    }

    #[test]
    fn what_a_second_allows_passes_and_the_next_waits() {
        let limit = RateLimit::new(requests(2.0));
        assert_eq!((limit.admit(), limit.admit()), (Ok(()), Ok(())));
        let Err(RateReached::Requests(wait)) = limit.admit() else { panic!("one too many") };
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(500), "{wait:?}");
        limit.set(requests(0.0));
        assert!((0..1000).all(|_| limit.admit().is_ok()));
        limit.set(requests(10.0));
        assert_eq!(limit.admit_many(8), Ok(()));
        assert!(limit.admit_many(8).is_err(), "all or none");
        assert_eq!((limit.admit_many(1), limit.admit_many(0)), (Ok(()), Ok(())));
        limit.set(requests(10.0));
        assert_eq!(limit.admit_many(1000), Ok(()), "a burst");
        assert!(limit.admit().is_err());
        limit.set(requests(1e-300));
        assert_eq!(limit.admit(), Ok(()));
        assert!(limit.admit().is_err());
    }

    #[test]
    fn bytes_are_limited_beside_requests() {
        let limit = RateLimit::new(RateSettings { requests: 0.0, bytes: 1000 });
        limit.charge(500);
        assert_eq!(limit.admit(), Ok(()));
        limit.charge(100_000);
        assert!(matches!(limit.admit(), Err(RateReached::Bytes(wait)) if wait > Duration::from_secs(90)));
        limit.set(requests(10.0));
        limit.charge(1 << 40);
        assert_eq!(limit.admit(), Ok(()));
    }
}
