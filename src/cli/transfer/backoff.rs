//! Pauses between the attempts of a call.

use std::time::Duration;

/// Pause after the first attempt, and the longest one.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// Pauses that double, within a number of retries.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryBackoff {
    limit: u32,
    retries: u32,
}

// === impl RetryBackoff ===

impl RetryBackoff {
    /// Creates a backoff of at most `limit` retries.
    pub fn new(limit: u32) -> RetryBackoff {
        RetryBackoff { limit, retries: 0 }
    }

    /// Returns the pause before the next attempt, at least `least`. `None` if there is none left.
    pub fn next(&mut self, least: Duration) -> Option<Duration> {
        if self.retries == self.limit {
            return None;
        }
        let pause = PAUSES[0].saturating_mul(1 << self.retries.min(16)).min(PAUSES[1]);
        self.retries += 1;
        // Callers that failed together do not come back together.
        Some(pause.mul_f64(rand::random_range(0.5..=1.0)).max(least))
    }

    /// Begins again, after a success.
    pub fn reset(&mut self) {
        self.retries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_end() {
        let mut backoff = RetryBackoff::new(9);
        let pauses: Vec<_> = std::iter::from_fn(|| backoff.next(Duration::ZERO)).collect();
        assert_eq!(pauses.len(), 9);
        assert!(pauses[0] <= PAUSES[0] && pauses[8] >= PAUSES[1] / 2, "{pauses:?}");
        backoff.reset();
        assert_eq!(backoff.next(Duration::from_secs(60)), Some(Duration::from_secs(60)));
        assert_eq!(RetryBackoff::new(0).next(Duration::ZERO), None);
    }
}
