//! Detection of messages of another deployment on this deployment's channels, by their epochs.
//!
//! A counter is in one epoch at a time, epochs only rise, and an echo follows every message that
//! was published before it.

use std::collections::HashMap;

/// Epochs of the counters behind one subscription, by partition.
#[derive(Default)]
pub struct ForeignEpochs(HashMap<u16, Epoch>);

#[derive(Default)]
struct Epoch {
    /// Epoch of the counter in the last echo; 0 before the first.
    proven: u64,
    /// Highest epoch of the messages since then, if it is above `proven`.
    ahead: u64,
    /// Number of messages of that epoch.
    messages: u64,
}

// === impl ForeignEpochs ===

impl ForeignEpochs {
    /// Records a message of `epoch`.
    ///
    /// Returns true if it cannot be of this deployment: its epoch has ended before.
    pub fn record_message(&mut self, partition: u16, epoch: u64) -> bool {
        let known = self.0.entry(partition).or_default();
        if epoch > known.proven.max(known.ahead) {
            (known.ahead, known.messages) = (epoch, 0);
        }
        // A higher epoch may have begun just now. The next echo decides.
        known.messages += u64::from(epoch > known.proven && epoch == known.ahead);
        epoch < known.proven
    }

    /// Records an echo that showed the counter in `epoch`.
    ///
    /// Returns the number of messages before it whose epoch the counter has not reached.
    pub fn record_echo(&mut self, partition: u16, epoch: u64) -> u64 {
        let known = self.0.entry(partition).or_default();
        let foreign = if known.ahead > epoch { known.messages } else { 0 };
        *known = Epoch { proven: epoch, ..Epoch::default() };
        foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_below_the_proven_one_is_foreign() {
        let mut epochs = ForeignEpochs::default();
        // Before the first echo nothing is known: a takeover may be under way.
        assert!(!epochs.record_message(0, 5));
        assert_eq!(epochs.record_echo(0, 10), 0);
        assert!(!epochs.record_message(0, 10));
        assert!(epochs.record_message(0, 9));
        assert!(!epochs.record_message(1, 9), "another partition");
    }

    #[test]
    fn a_new_epoch_is_foreign_only_if_the_counter_has_not_reached_it() {
        let mut epochs = ForeignEpochs::default();
        assert_eq!(epochs.record_echo(0, 10), 0);
        // A takeover of this deployment: epoch 11, then 12, and the echo confirms it.
        assert!(!epochs.record_message(0, 11) && !epochs.record_message(0, 12));
        assert_eq!(epochs.record_echo(0, 12), 0);
        assert!(epochs.record_message(0, 11));
        // Another deployment, whose counter began later.
        for _ in 0..3 {
            assert!(!epochs.record_message(0, 20) && !epochs.record_message(0, 12));
        }
        assert_eq!(epochs.record_echo(0, 12), 3);
        assert_eq!(epochs.record_echo(0, 12), 0, "counted once");
    }
}
