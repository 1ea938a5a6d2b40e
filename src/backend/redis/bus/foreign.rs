//! Messages of another deployment on this deployment's channels. Their epochs give them away: a counter is in one epoch
//! at a time, epochs only rise, and an echo follows every message that was published before it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cache::clock::Moment;
use crate::cache::stats::Counter;

/// Shortest time between two warnings in the log.
const EVERY: Duration = Duration::from_secs(60);
/// Time after a foreign message for which Stats warns.
const RECENT: Duration = Duration::from_secs(300);

/// Epochs of the counters behind one subscription, by partition.
#[derive(Default)]
pub struct Epochs(HashMap<u16, Epoch>);

#[derive(Default)]
struct Epoch {
    /// Epoch of the counter in the last echo; 0 before the first.
    proven: u64,
    /// Highest epoch of the messages since then, if it is above that.
    ahead: u64,
    /// Number of messages of that epoch.
    messages: u64,
}

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
    heard_at: Option<Moment>,
    /// Messages that no warning has counted.
    unreported: u64,
}

// === impl Epochs ===

impl Epochs {
    /// A message of `epoch` arrived. Returns true if it cannot be of this deployment: its epoch has ended before.
    pub fn heard(&mut self, partition: u16, epoch: u64) -> bool {
        let known = self.0.entry(partition).or_default();
        if epoch > known.proven.max(known.ahead) {
            (known.ahead, known.messages) = (epoch, 0);
        }
        // A higher one may have begun just now. The next echo decides.
        known.messages += u64::from(epoch > known.proven && epoch == known.ahead);
        epoch < known.proven
    }

    /// An echo showed the counter in `epoch`. Returns the number of messages before it whose epoch the counter has
    /// not reached.
    pub fn proven(&mut self, partition: u16, epoch: u64) -> u64 {
        let known = self.0.entry(partition).or_default();
        let foreign = if known.ahead > epoch { known.messages } else { 0 };
        *known = Epoch { proven: epoch, ..Epoch::default() };
        foreign
    }
}

// === impl ForeignMessages ===

impl ForeignMessages {
    /// `messages` of another deployment came on `channel`. Logs a warning, at most once a minute.
    pub fn heard(&self, messages: u64, channel: &str, now: Moment) {
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
        let heard_at = self.reported.lock().unwrap_or_else(PoisonError::into_inner).heard_at;
        heard_at.filter(|at| now.since(*at) < RECENT).map(|_| {
            "another deployment publishes on the channels of this one, so that memory is suspect over and over: \
             give each its own redis.prefix, or its own database in redis.url"
                .to_owned()
        })
    }

    /// Returns the number of messages to warn of now, if any.
    fn add(&self, messages: u64, now: Moment) -> Option<u64> {
        self.count.add(messages);
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.heard_at = Some(now);
        reported.unreported += messages;
        if reported.warned_at.is_some_and(|at| now.since(at) < EVERY) {
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
    fn an_epoch_below_the_proven_one_is_foreign() {
        let mut epochs = Epochs::default();
        // Before the first echo nothing is known: a takeover may be under way.
        assert!(!epochs.heard(0, 5));
        assert_eq!(epochs.proven(0, 10), 0);
        assert!(!epochs.heard(0, 10));
        assert!(epochs.heard(0, 9));
        assert!(!epochs.heard(1, 9), "another partition");
    }

    #[test]
    fn a_new_epoch_is_foreign_only_if_the_counter_has_not_reached_it() {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.proven(0, 10), 0);
        // A takeover of this deployment: epoch 11, then 12, and the echo confirms it.
        assert!(!epochs.heard(0, 11) && !epochs.heard(0, 12));
        assert_eq!(epochs.proven(0, 12), 0);
        assert!(epochs.heard(0, 11));
        // Another deployment, whose counter began later.
        for _ in 0..3 {
            assert!(!epochs.heard(0, 20) && !epochs.heard(0, 12));
        }
        assert_eq!(epochs.proven(0, 12), 3);
        assert_eq!(epochs.proven(0, 12), 0, "counted once");
    }

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
