//! Audits under way: which nonce was sent when.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cache::clock::Moment;

/// Audits that may be under way at once; older ones are given up.
const UNDER_WAY: usize = 16;

/// Audits in a staleness bound. More keep the proof younger, fewer cost Redis less.
pub const AUDITS_PER_BOUND: u32 = 8;

/// The part of the staleness bound kept back, for the time between judging an entry and the clocks' unequal rates.
pub fn dispatch_margin(max_staleness: Duration) -> Duration {
    max_staleness / 20
}

#[derive(Default)]
pub(super) struct Audits(Mutex<State>);

#[derive(Default)]
struct State {
    last_nonce: u64,
    sent: VecDeque<(u64, Moment)>,
}

impl Audits {
    /// An audit is about to be sent, now.
    pub fn begin(&self, now: Moment) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.last_nonce += 1;
        let nonce = state.last_nonce;
        if state.sent.len() == UNDER_WAY {
            state.sent.pop_front();
        }
        state.sent.push_back((nonce, now));
        nonce
    }

    /// The echo of `nonce` came back: when the audit was begun, if it is one that still counts.
    pub fn end(&self, nonce: u64) -> Option<Moment> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = state.sent.iter().position(|(sent, _)| *sent == nonce)?;
        let (_, begun) = state.sent[index];
        state.sent.drain(..=index);
        Some(begun)
    }

    /// Echoes of audits sent so far count no longer.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_counts_once_and_ends_the_audits_before_it() {
        let audits = Audits::default();
        let first = audits.begin(Moment(1));
        let second = audits.begin(Moment(2));
        assert_eq!(audits.end(second), Some(Moment(2)));
        assert_eq!(audits.end(second), None);
        assert_eq!(audits.end(first), None);
    }

    #[test]
    fn an_echo_of_a_lost_subscription_does_not_count() {
        let audits = Audits::default();
        let nonce = audits.begin(Moment(1));
        audits.forget();
        assert_eq!(audits.end(nonce), None);
    }
}
