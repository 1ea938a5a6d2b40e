//! Inspection of one key without side effects: both tiers, and the answer a Get would get.

use std::sync::Arc;
use std::time::Duration;

use super::cache::{Tiered, TieredInner};
use super::lookup::{GetContext, L1Lookup, outlived};
use super::types::{Consistency, Get, Stale, StaleReason};
use crate::cache::clock::Moment;
use crate::cache::coherence::Freshness;
use crate::cache::entry::{CachedEntry, Entry};
use crate::cache::key::Key;
use crate::cache::namespace::Namespace;
use crate::cache::policy::{DefaultConsistency, Switches};
use crate::cache::tier::L2Error;
use crate::cache::tier::inspect::{Inspected, InvalidationCause, NotServed, Off};
use crate::cache::token::Token;
use crate::cache::version::Version;

/// Result of an inspection.
pub struct Inspection {
    /// Time of the inspection.
    pub at: Moment,
    /// The partition of the key.
    pub partition: u16,
    /// Position up to which this replica has applied all messages. Zero if not known.
    pub watermark: Version,
    /// Age of the partition's last proof. `None` if it was never proven.
    pub proof_age: Option<Duration>,
    /// Entry in L1.
    pub l1: Option<L1Entry>,
    /// Entry in L2, or the reason why L2 is unavailable.
    pub l2: Result<Inspected, L2Error>,
    /// Answer that a Get without conditions would get.
    pub verdict: Verdict,
}

/// An entry in L1.
pub struct L1Entry {
    /// The entry.
    pub held: Arc<CachedEntry>,
    /// Reason why it is not served.
    pub not_served: Option<NotServed>,
}

/// Answer that a Get without conditions would get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A fresh hit in L1.
    Memory,
    /// A hit in L2.
    Shared,
    /// A hit in L1, flagged stale because L2 is unavailable.
    Stale,
    /// A miss.
    Miss,
    /// A flagged miss, because L2 is unavailable.
    Degraded,
    /// A miss, because something is switched off.
    Off(Off),
    /// An error: only L2 may answer, and it is unavailable.
    Unavailable,
    /// An error: this replica must not serve.
    Halted(String),
}

impl Tiered {
    /// Inspects `key` in both tiers.
    pub async fn inspect(&self, key: &Key, deadline: Moment) -> Inspection {
        let shared = &*self.0;
        let partition = shared.coherence.partition_of(key.as_ref());
        let deadline = shared.clock.now().plus(shared.config.read_timeout).min(deadline);
        let switches = shared.switches(key.namespace());
        let off = shared.off(key.namespace());
        let mut l2 = shared.backing.inspect(key, deadline).await;
        let at = shared.clock.now();
        if let Ok(Inspected { stored: Some(stored), position, .. }) = &mut l2 {
            let off = off.or((!switches.l2).then_some(Off::L2)).map(NotServed::Off);
            let here = stored.entry.as_ref().and_then(|entry| shared.why_not_from_l2(entry, partition, *position, at));
            stored.not_served = off.or(stored.not_served.take()).or(here);
        }
        let proof = shared.coherence.proof(partition);
        let l1 = shared.l1.get(key.as_ref()).map(|held| {
            let off = off.or((!switches.l1).then_some(Off::L1)).map(NotServed::Off);
            let not_served = off.or_else(|| shared.why_not_from_memory(key, &held, switches, proof, at));
            L1Entry { held, not_served }
        });
        let verdict = match off {
            Some(off) => Verdict::Off(off),
            None => shared.verdict(key, switches, partition, &l2, at),
        };
        Inspection {
            at,
            partition,
            watermark: shared.coherence.watermark(partition),
            proof_age: (proof != Moment::NEVER).then(|| at.since(proof)),
            l1,
            l2,
            verdict,
        }
    }
}

impl TieredInner {
    /// Returns the switch that makes the namespace miss, whatever the tiers hold.
    fn off(&self, namespace: &Namespace) -> Option<Off> {
        match (self.switches.load().enabled, namespace.policy().enabled) {
            (false, _) => Some(Off::Service),
            (true, false) => Some(Off::Namespace),
            // No tier is left.
            (true, true) => (!self.switches(namespace).enabled).then_some(Off::L1),
        }
    }

    fn verdict(
        &self,
        key: &Key,
        switches: Switches,
        partition: u16,
        l2: &Result<Inspected, L2Error>,
        now: Moment,
    ) -> Verdict {
        let strong = key.namespace().policy().consistency == DefaultConsistency::Strong;
        let consistency = if strong { Consistency::Strong } else { Consistency::Bounded(None) };
        let (token, deadline) = (&Token::default(), Moment::FOREVER);
        let get = Get { key: key.as_ref(), consistency, token, deadline, lease: None, slot: None };
        let context = GetContext { get: &get, switches, partition, started_at: now };
        match (self.lookup_l1(context, now), l2) {
            (L1Lookup::Fresh(_), _) => Verdict::Memory,
            _ if !switches.l2 => Verdict::Miss,
            (_, Err(L2Error::Halted(why))) => Verdict::Halted(why.clone()),
            (_, Err(_)) if strong => Verdict::Unavailable,
            (_, Ok(found)) => match &found.stored {
                Some(stored) if stored.not_served.is_none() => Verdict::Shared,
                _ => Verdict::Miss,
            },
            (L1Lookup::Stale(..), Err(_)) => Verdict::Stale,
            (L1Lookup::Nothing, Err(_)) => Verdict::Degraded,
        }
    }

    fn why_not_from_l2(&self, entry: &Entry, partition: u16, position: Version, now: Moment) -> Option<NotServed> {
        if !self.coherence.counts(partition, entry.version, position) {
            return Some(NotServed::Epoch);
        }
        outlived(entry, entry.marked_at, now).map(not_served)
    }

    /// Returns why the entry in L1 is not served as fresh.
    fn why_not_from_memory(
        &self,
        key: &Key,
        held: &CachedEntry,
        switches: Switches,
        proof: Moment,
        now: Moment,
    ) -> Option<NotServed> {
        let l1_ttl = held.namespace.policy().l1_ttl;
        match self.coherence.freshness(key.as_ref(), held, proof, self.coherence.max_staleness(), now) {
            _ if switches.l2 && held.is_local_only() => Some(NotServed::Alone),
            _ if now.since(held.known_at) > l1_ttl => Some(NotServed::TooLong(l1_ttl)),
            Freshness::Invalidated => {
                let cause = self.coherence.cause(key.as_ref(), held);
                Some(NotServed::Invalidated(cause.map_or(InvalidationCause::Unknown, InvalidationCause::from)))
            }
            Freshness::Unproven(unproven) if switches.l2 => Some(NotServed::Suspect(unproven)),
            Freshness::Unproven(_) | Freshness::Fresh => outlived(&held.entry, held.marked_at(), now).map(not_served),
        }
    }
}

fn not_served(stale: Stale) -> NotServed {
    match stale.reason {
        StaleReason::Expired => NotServed::Expired(stale.staleness),
        StaleReason::Marked => NotServed::Marked(stale.staleness),
        StaleReason::Unproven => NotServed::Suspect(stale.staleness),
    }
}
