//! Lookup in L1: whether an entry there may be answered, fresh or flagged stale.

use std::sync::Arc;

use super::cache::TieredInner;
use super::types::{Consistency, Get, GetAnswer, GetOutcome, Stale, StaleReason, Tier};
use crate::cache::clock::Moment;
use crate::cache::coherence::Freshness;
use crate::cache::entry::{CachedEntry, Entry};
use crate::cache::policy::Switches;
use crate::cache::version::Version;

/// A Get in progress.
#[derive(Clone, Copy)]
pub(super) struct GetContext<'a> {
    pub(super) get: &'a Get<'a>,
    /// Switches of the namespace when it began.
    pub(super) switches: Switches,
    /// The partition of the key.
    pub(super) partition: u16,
    pub(super) started_at: Moment,
}

/// Result of a lookup in L1.
pub(super) enum L1Lookup {
    Nothing,
    Fresh(Arc<CachedEntry>),
    Stale(Arc<CachedEntry>, Stale),
}

// === impl TieredInner ===

impl TieredInner {
    /// Returns the answer that L1 allows at `now`, if any. On the hot path: no lock that all keys
    /// share, no wait.
    pub(super) fn answer_from_l1(&self, context: GetContext<'_>, now: Moment) -> Option<GetAnswer> {
        let GetContext { get, switches, partition, .. } = context;
        let Consistency::Bounded(bound) = get.consistency else { return None };
        let accepts_stale = bound.filter(|bound| *bound > self.coherence.max_staleness());
        match self.lookup_l1(context, now) {
            L1Lookup::Fresh(held) => {
                if switches.l2 {
                    self.sampler.hit(get.key, held.entry.version, now);
                }
                Some(hit_in_l1(partition, held, None, now))
            }
            L1Lookup::Stale(held, stale) if accepts_stale.is_some() => {
                Some(hit_in_l1(partition, held, Some(stale), now))
            }
            _ => None,
        }
    }

    /// Looks up L1 for an entry that is not older than the token of `get`, and not staler than
    /// namespace and caller allow.
    pub(super) fn lookup_l1(&self, context: GetContext<'_>, now: Moment) -> L1Lookup {
        let GetContext { get, switches, partition, .. } = context;
        let Consistency::Bounded(accepted) = get.consistency else { return L1Lookup::Nothing };
        let bound = accepted.unwrap_or(self.coherence.max_staleness());
        // Before the lookup: see `Coherence::proof` and `Coherence::subscription_position`.
        let proof = self.coherence.proof(partition);
        let token = get.token.position(partition);
        let subscription = (token > Version::ZERO).then(|| self.coherence.subscription_position(partition));
        let Some(held) = self.l1.get(get.key).filter(|_| switches.l1) else { return L1Lookup::Nothing };
        let (window, l1_ttl) = {
            let policy = get.key.namespace.policy();
            (policy.stale_window, policy.l1_ttl)
        };
        if now.since(held.known_at) > l1_ttl || (switches.l2 && held.is_local_only()) {
            return L1Lookup::Nothing;
        }
        if held.position < token && subscription.is_none_or(|subscription| subscription.of(&held) < token) {
            return L1Lookup::Nothing;
        }
        let judgement = self.coherence.freshness(get.key, &held, proof, bound, now);
        let unproven = match judgement {
            Freshness::Invalidated => {
                self.backing.remove_dead(get.key, &held);
                return L1Lookup::Nothing;
            }
            Freshness::Fresh => None,
            // No freshness promise applies, so no proof is needed.
            Freshness::Unproven(_) if !switches.l2 => None,
            Freshness::Unproven(staleness) => Some(Stale { reason: StaleReason::Unproven, staleness }),
        };
        let Some(stale) = worst(outlived(&held.entry, held.marked_at(), now), unproven) else {
            return L1Lookup::Fresh(held);
        };
        let window = accepted.map_or(window, |accepted| accepted.min(window));
        if stale.staleness <= window { L1Lookup::Stale(held, stale) } else { L1Lookup::Nothing }
    }
}

/// Builds the answer of an entry in L1.
pub(super) fn hit_in_l1(partition: u16, held: Arc<CachedEntry>, stale: Option<Stale>, at: Moment) -> GetAnswer {
    let position = held.position;
    GetAnswer::new(GetOutcome::Hit { held, tier: Tier::L1, stale }, partition, position, at)
}

/// Returns how an entry is stale by its expiry or a mark. `None` if it is not.
pub(super) fn outlived(entry: &Entry, marked_at: Option<Moment>, now: Moment) -> Option<Stale> {
    let since = |reason, at| Stale { reason, staleness: now.since(at) };
    let expired = (now >= entry.expires_at).then(|| since(StaleReason::Expired, entry.expires_at));
    worst(marked_at.map(|at| since(StaleReason::Marked, at)), expired)
}

/// Combines both: the first reason, and the longer staleness.
fn worst(one: Option<Stale>, other: Option<Stale>) -> Option<Stale> {
    match (one, other) {
        (Some(one), Some(other)) => Some(Stale { staleness: one.staleness.max(other.staleness), ..one }),
        (one, other) => one.or(other),
    }
}
