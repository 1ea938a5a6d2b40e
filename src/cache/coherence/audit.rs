//! Audits in flight: the start time of each nonce.

use std::collections::VecDeque;
use std::sync::MutexGuard;
use std::time::Duration;

use crate::cache::clock::Moment;
use crate::sync::Mutex;

/// Most audits that are remembered. Echoes of older ones do not count.
const MAX_AUDITS: usize = 512;

/// Bits of a nonce that cannot be guessed, below the bits that keep nonces in order.
const RANDOM_BITS: u32 = 32;

/// Audits in a staleness bound. More keep the proof younger, fewer cost Redis less.
pub const AUDITS_PER_BOUND: u32 = 8;

/// Part of the staleness bound that is kept back: for the time between judging an entry and
/// answering, and for clocks of unequal rates.
pub fn dispatch_margin(max_staleness: Duration) -> Duration {
    max_staleness / 20
}

#[derive(Default)]
pub(super) struct Audits(Mutex<AuditsInFlight>);

#[derive(Default)]
struct AuditsInFlight {
    last_nonce: u64,
    sent: VecDeque<(u64, Moment)>,
}

impl Audits {
    /// Registers an audit that is sent at `now`, and returns its nonce.
    pub fn begin(&self, now: Moment) -> u64 {
        let mut state = self.lock();
        let number = (state.last_nonce >> RANDOM_BITS) + 1;
        let nonce = number << RANDOM_BITS | rand::random::<u64>() >> (64 - RANDOM_BITS);
        state.last_nonce = nonce;
        if state.sent.len() == MAX_AUDITS {
            state.sent.pop_front();
        }
        state.sent.push_back((nonce, now));
        nonce
    }

    /// Returns the start time of the audit of `nonce`, if it is remembered.
    pub fn started_at(&self, nonce: u64) -> Option<Moment> {
        let state = self.lock();
        let index = state.sent.binary_search_by_key(&nonce, |(sent, _)| *sent).ok()?;
        Some(state.sent[index].1)
    }

    /// Returns the latest nonce.
    pub fn latest(&self) -> u64 {
        self.lock().last_nonce
    }

    fn lock(&self) -> MutexGuard<'_, AuditsInFlight> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_start_is_found_by_its_nonce_for_a_while() {
        let audits = Audits::default();
        let nonces: Vec<u64> = (0..MAX_AUDITS as u64 + 1).map(|at| audits.begin(Moment(at))).collect();
        assert_eq!(audits.started_at(nonces[0]), None);
        assert_eq!(audits.started_at(nonces[1]), Some(Moment(1)));
        assert_eq!(audits.started_at(audits.latest() + 1), None);
        assert_ne!(nonces[1] - nonces[0], nonces[2] - nonces[1], "the next nonce is not predictable");
    }
}
