//! Messages of other deployments on this deployment's channels: their number, and warnings of them.

use std::time::Duration;

use crate::cache::clock::Moment;
use crate::cache::stats::Counter;
use crate::sync::Mutex;

/// Shortest time between two warnings in the log.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// Time after a foreign message for which Stats warns.
const REPORTED_FOR: Duration = Duration::from_secs(300);

/// Foreign messages: their number, and the last warning.
#[derive(Default)]
pub struct ForeignMessages {
    /// Messages since the start.
    pub count: Counter,
    reported: Mutex<Reported>,
}

#[derive(Default)]
struct Reported {
    /// Time of the last warning.
    warned_at: Option<Moment>,
    /// Time of the last message.
    received_at: Option<Moment>,
    /// Messages that no warning has counted.
    unreported: u64,
}

// === impl ForeignMessages ===

impl ForeignMessages {
    /// Counts `messages` of another deployment on `channel`. Logs a warning, at most once a minute.
    pub fn record(&self, messages: u64, channel: &str, now: Moment) {
        if let Some(messages) = self.add(messages, now) {
            tracing::warn!(
                channel,
                messages,
                "bus: another deployment publishes here: change redis.prefix, or the database in redis.url"
            );
        }
    }

    /// Returns the warning for Stats if such a message came within the last minutes.
    pub fn warning(&self, now: Moment) -> Option<String> {
        let received_at = self.reported.lock().received_at;
        received_at.filter(|at| now.since(*at) < REPORTED_FOR).map(|_| {
            "another deployment publishes on the channels of this one, which makes L1 suspect again and again: \
             give each its own redis.prefix, or its own database in redis.url"
                .to_owned()
        })
    }

    /// Returns the number of messages to warn of now, if any.
    fn add(&self, messages: u64, now: Moment) -> Option<u64> {
        self.count.add(messages);
        let mut reported = self.reported.lock();
        reported.received_at = Some(now);
        reported.unreported += messages;
        if reported.warned_at.is_some_and(|at| now.since(at) < WARNING_INTERVAL) {
            return None;
        }
        reported.warned_at = Some(now);
        Some(std::mem::take(&mut reported.unreported))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_warning_a_minute_with_a_count() {
        let foreign = ForeignMessages::default();
        let at = |seconds| Moment(1).plus(Duration::from_secs(seconds));
        assert_eq!(foreign.warning(at(0)), None);
        assert_eq!(foreign.add(1, at(0)), Some(1));
        for second in 1..60 {
            assert_eq!(foreign.add(100, at(second)), None);
        }
        assert_eq!(foreign.add(1, at(60)), Some(5901));
        assert_eq!(foreign.count.get(), 5902);
        assert!(foreign.warning(at(61)).is_some_and(|text| text.contains("redis.prefix")));
        assert_eq!(foreign.warning(at(60 + 300)), None);
    }
}
