//! Messages of other deployments on this deployment's channels: their number, and warnings of them.

use std::time::Duration;

use crate::backend::redis::schema::log_interval::LogInterval;
use crate::cache::clock::Moment;
use crate::cache::stats::Counter;
use crate::sync::Mutex;

/// Time after a foreign message for which Stats warns.
const REPORTED_FOR: Duration = Duration::from_secs(300);

/// Foreign messages: their number, and the last warning.
#[derive(Default)]
pub struct ForeignMessages {
    /// Messages since the start.
    pub count: Counter,
    log: LogInterval,
    /// Time of the last message.
    received_at: Mutex<Option<Moment>>,
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
        let received_at = *self.received_at.lock();
        received_at.filter(|at| now.since(*at) < REPORTED_FOR).map(|_| {
            "another deployment publishes on the channels of this one, which makes L1 suspect again and again: \
             give each its own redis.prefix, or its own database in redis.url"
                .to_owned()
        })
    }

    /// Returns the number of messages to warn of now, if any.
    fn add(&self, messages: u64, now: Moment) -> Option<u64> {
        self.count.add(messages);
        *self.received_at.lock() = Some(now);
        self.log.add(messages, now)
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
