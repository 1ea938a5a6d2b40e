//! State of one peer: what its connections hold together, and its budget for overhead.
//!
//! Overhead is what a peer sends that carries no request, such as control frames of HTTP/2.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, Quota};

use super::resource::RESOURCES;
use crate::sync::Mutex;

/// Tokens per second for the overhead of one peer, over all of its connections.
const TOKENS_PER_SECOND: NonZeroU32 = NonZeroU32::new(5_000).expect("above 0");
/// Most tokens that a peer saves up.
const MAX_TOKENS: NonZeroU32 = NonZeroU32::new(10_000).expect("above 0");
/// Time after which a budget that nothing was taken from is whole again.
const REFILL_TIME: Duration = Duration::from_secs(MAX_TOKENS.get() as u64 / TOKENS_PER_SECOND.get() as u64);

/// Amounts by resource.
pub(super) type Amounts = [AtomicUsize; RESOURCES];

/// The state that the connections of one peer share.
pub(super) struct PeerState {
    /// The amounts that its connections hold.
    pub used: Amounts,
    overhead: DefaultDirectRateLimiter,
    /// Time of the last token that was taken. `None` if there was none.
    taken_at: Mutex<Option<Instant>>,
}

/// The peers that are connected, or were until a moment ago.
#[derive(Default)]
pub(super) struct Peers(Mutex<HashMap<IpAddr, Arc<PeerState>>>);

impl Default for PeerState {
    fn default() -> Self {
        let overhead = DefaultDirectRateLimiter::direct(Quota::per_second(TOKENS_PER_SECOND).allow_burst(MAX_TOKENS));
        PeerState { used: Amounts::default(), overhead, taken_at: Mutex::default() }
    }
}

// === impl PeerState ===

impl PeerState {
    /// Takes tokens for overhead. Returns false if there are not as many.
    pub fn take_overhead(&self, tokens: NonZeroU32) -> bool {
        *self.taken_at.lock() = Some(Instant::now());
        matches!(self.overhead.check_n(tokens), Ok(Ok(())))
    }

    /// Returns true if its budget may not be whole, so that a new connection must not begin with
    /// another one.
    pub fn is_short_of_tokens(&self) -> bool {
        self.taken_at.lock().is_some_and(|taken_at| taken_at.elapsed() < REFILL_TIME)
    }
}

// === impl Peers ===

impl Peers {
    /// Returns the state of a peer for a new connection.
    ///
    /// Peers without a connection stay while they are short of tokens, unless there are more than
    /// `most` peers.
    pub fn enter(&self, address: IpAddr, most: usize) -> Arc<PeerState> {
        let mut peers = self.0.lock();
        if peers.len() > most {
            peers.retain(|_, peer| Arc::strong_count(peer) > 1);
        }
        peers.entry(address).or_default().clone()
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Forgets a peer if `state` is that of its last connection, and it is not short of tokens.
    pub fn leave(&self, address: IpAddr, state: &Arc<PeerState>) {
        let mut peers = self.0.lock();
        // One for the table, and one for the connection.
        if Arc::strong_count(state) == 2 && !state.is_short_of_tokens() {
            peers.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUNDRED: NonZeroU32 = NonZeroU32::new(100).expect("above 0");

    #[test]
    fn a_peer_has_a_burst_of_overhead_and_not_more() {
        let peer = PeerState::default();
        assert!(!peer.is_short_of_tokens());
        let taken = std::iter::from_fn(|| peer.take_overhead(HUNDRED).then_some(())).take(1000).count();
        // Tokens come back while they are taken.
        assert!((100..1000).contains(&taken), "{taken}");
        assert!(peer.is_short_of_tokens());
    }

    #[test]
    fn a_peer_that_is_short_of_tokens_is_remembered_without_a_connection() {
        let (peers, address) = (Peers::default(), IpAddr::from([10, 0, 0, 1]));
        let state = peers.enter(address, 8);
        peers.leave(address, &state);
        assert!(!Arc::ptr_eq(&state, &peers.enter(address, 8)), "forgotten");
        let state = peers.enter(address, 8);
        while state.take_overhead(HUNDRED) {}
        let weak = Arc::downgrade(&state);
        peers.leave(address, &state);
        drop(state);
        assert!(weak.upgrade().is_some());
        // Too many peers.
        peers.enter([10, 0, 0, 2].into(), 0);
        assert!(weak.upgrade().is_none());
    }
}
