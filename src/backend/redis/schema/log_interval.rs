//! One log line a minute for each cause, with a count: Redis can be made to cause any number.

use std::time::Duration;

use crate::cache::clock::Moment;
use crate::sync::Mutex;

/// Time of the last line of one cause, and the events since then.
#[derive(Default)]
pub struct LogInterval(Mutex<Unlogged>);

#[derive(Default)]
struct Unlogged {
    logged_at: Option<Moment>,
    count: u64,
}

// === impl LogInterval ===

impl LogInterval {
    /// Shortest time between two lines.
    pub const EVERY: Duration = Duration::from_secs(60);

    /// Adds `events`. Returns the number of events to log now, if a line is due.
    pub fn add(&self, events: u64, now: Moment) -> Option<u64> {
        let mut unlogged = self.0.lock();
        unlogged.count += events;
        if unlogged.logged_at.is_some_and(|at| now.since(at) < LogInterval::EVERY) {
            return None;
        }
        unlogged.logged_at = Some(now);
        Some(std::mem::take(&mut unlogged.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_minute_with_a_count() {
        let log = LogInterval::default();
        let at = |seconds| Moment(1).plus(Duration::from_secs(seconds));
        assert_eq!(log.add(1, at(0)), Some(1));
        for second in 1..60 {
            assert_eq!(log.add(100, at(second)), None);
        }
        assert_eq!(log.add(1, at(60)), Some(5901));
    }
}
