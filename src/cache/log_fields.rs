//! Values of log fields in one form: durations are milliseconds, in fields that end with `_ms`.

use std::time::Duration;

/// Target of the log lines of slow requests. The limit on log lines treats them as one cause.
pub const SLOW_REQUESTS: &str = "twintier::slow_request";

/// Target of the audit log. Its lines have a limit of their own.
pub const AUDIT: &str = "twintier::audit";

/// Returns milliseconds, to the microsecond.
pub fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_milliseconds_with_three_digits_at_most() {
        assert_eq!(millis(Duration::from_nanos(336_306)).to_string(), "0.336");
        assert_eq!(millis(Duration::from_millis(2000)).to_string(), "2000");
        assert_eq!(millis(Duration::ZERO).to_string(), "0");
    }
}
