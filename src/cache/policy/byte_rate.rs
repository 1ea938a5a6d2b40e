//! Rate limit in bytes per second, whose account may be overdrawn.
//!
//! The size of an answer is known only when it is there, and one value may be larger than what a
//! second allows. So bytes are charged when they are known, and requests wait until the account is
//! within its burst again. `governor` refuses what is above a burst, so it cannot do that.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Nanoseconds for which the account may be ahead: a burst of a second's bytes passes.
const BURST_NANOS: u64 = 1_000_000_000;

/// A rate limit in bytes per second.
pub struct ByteRate {
    started_at: Instant,
    nanos_per_byte: f64,
    /// Nanoseconds since the start at which everything is paid for.
    paid_at: AtomicU64,
}

// === impl ByteRate ===

impl ByteRate {
    /// Creates a limit of `rate` bytes per second, which is not 0.
    pub fn new(rate: u64) -> ByteRate {
        let nanos_per_byte = 1e9 / rate.max(1) as f64;
        ByteRate { started_at: Instant::now(), nanos_per_byte, paid_at: AtomicU64::new(0) }
    }

    /// Admits a request, or returns how long to wait until earlier bytes are paid for.
    pub fn admit(&self) -> Result<(), Duration> {
        self.admit_at(self.now())
    }

    /// Charges bytes that were received or are about to be sent.
    pub fn charge(&self, bytes: usize) {
        self.charge_at(self.now(), bytes);
    }

    fn admit_at(&self, now: u64) -> Result<(), Duration> {
        match self.paid_at.load(Relaxed).saturating_sub(now) {
            ahead if ahead <= BURST_NANOS => Ok(()),
            ahead => Err(Duration::from_nanos(ahead - BURST_NANOS)),
        }
    }

    fn charge_at(&self, now: u64, bytes: usize) {
        let cost = (bytes as f64 * self.nanos_per_byte) as u64;
        let charged = |paid_at: u64| Some(paid_at.max(now).saturating_add(cost));
        // It always stores a value.
        _ = self.paid_at.fetch_update(Relaxed, Relaxed, charged);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started_at.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_long_run_rate_holds_for_small_and_large_values() {
        for size in [10, 1000, 5000] {
            let (rate, mut sent) = (ByteRate::new(1000), 0);
            for now in (0..100 * SECOND).step_by(10_000_000) {
                if rate.admit_at(now).is_ok() {
                    rate.charge_at(now, size);
                    sent += size;
                }
            }
            assert!((100_000..=101_000 + size).contains(&sent), "{sent} bytes in values of {size}");
        }
    }

    #[test]
    fn a_refusal_names_the_time_after_which_a_request_passes() {
        let rate = ByteRate::new(1000);
        rate.charge_at(0, 4000);
        let wait = rate.admit_at(SECOND).expect_err("overdrawn");
        assert_eq!(wait, Duration::from_secs(2));
        assert_eq!(rate.admit_at(3 * SECOND), Ok(()));
        assert!(rate.admit_at(3 * SECOND - 1).is_err());
    }
}
