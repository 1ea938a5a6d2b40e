//! Freshness of an entry in L1: the decision whether it may be answered, and how.

use std::time::Duration;

use super::audit::dispatch_margin;
use super::coherence::Coherence;
use super::safeguards::Safeguard;
use crate::cache::clock::Moment;
use crate::cache::entry::CachedEntry;
use crate::cache::invalidation::selector::Selector;
use crate::cache::invalidation::{Coverage, EntryFacts};
use crate::cache::key::KeyRef;
use crate::cache::version::Version;

/// How an entry in L1 may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Fresh.
    Fresh,
    /// Only flagged stale; it may have been out of date for this long.
    Unproven(Duration),
    /// Never: it was invalidated.
    Invalidated,
}

/// Position of the subscription in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionPosition {
    generation: u64,
    watermark: Version,
}

impl SubscriptionPosition {
    /// Returns the position up to which `held`, looked up after this position was taken, is known
    /// to be current.
    ///
    /// At least the position of its read; the position of the subscription, if no message was
    /// missed since.
    pub fn of(self, held: &CachedEntry) -> Version {
        if self.generation == held.generation { held.position.max(self.watermark) } else { held.position }
    }
}

// === impl Coherence ===

impl Coherence {
    /// Returns when the partition was last proven.
    ///
    /// Call it *before* the lookup in L1: an entry found afterwards has lived through every change
    /// that this proof covers.
    pub fn proof(&self, partition: u16) -> Moment {
        self.partition(partition).proved_at()
    }

    /// Decides how `held`, looked up after `proof` was read, may be answered to a caller that
    /// accepts `bound`.
    pub fn freshness(
        &self,
        key: KeyRef<'_>,
        held: &CachedEntry,
        proof: Moment,
        bound: Duration,
        now: Moment,
    ) -> Freshness {
        let partition = self.partition_of(key);
        if self.covers(key, held) {
            return Freshness::Invalidated;
        }
        let bound = bound.min(self.config.max_staleness).saturating_sub(dispatch_margin(self.config.max_staleness));
        let current = self.partition(partition).generation() == held.generation;
        if current && (now <= proof.plus(bound) || !self.config.safeguards.on(Safeguard::Audit)) {
            return Freshness::Fresh;
        }
        let known_at = self.partition(partition).last_proof(held.generation).max(held.known_at);
        Freshness::Unproven(now.since(known_at))
    }

    /// Returns the selector that invalidated `held`, as far as it is remembered.
    pub fn cause(&self, key: KeyRef<'_>, held: &CachedEntry) -> Option<Selector> {
        held.namespace.invalidation_log().cause(&self.entry_facts(key, held))
    }

    /// Returns true if `held` was invalidated by a selector.
    ///
    /// One atomic read, unless there was an invalidation since the last call. An entry that was
    /// only marked stale is not covered if stale entries are kept; from now on it carries the mark
    /// itself.
    pub fn covers(&self, key: KeyRef<'_>, held: &CachedEntry) -> bool {
        let partition = self.partition_of(key);
        let tombstones = held.namespace.invalidation_log();
        if held.covered.is_known(tombstones.changes(partition)) {
            return false;
        }
        let (cover, changes) = tombstones.judge(&self.entry_facts(key, held));
        match cover {
            // It was not marked when it was read, or carries the mark itself.
            Coverage::Marked(at) if !held.entry.stale_window.is_zero() => {
                held.covered.know(changes, Some(at.max(held.known_at)));
            }
            Coverage::Gone | Coverage::Marked(_) => held.covered.end(),
            // Between the lookup and this call it may have been swept from L1, and the invalidation
            // forgotten.
            Coverage::Clear if held.covered.has_ended() => {}
            Coverage::Clear => held.covered.know(changes, None),
        }
        held.covered.has_ended()
    }

    fn entry_facts<'a>(&self, key: KeyRef<'a>, held: &'a CachedEntry) -> EntryFacts<'a> {
        let (version, position, known_at) = (held.entry.version, held.position, held.known_at);
        let partition = self.partition_of(key);
        EntryFacts { partition, key: key.bytes, tags: held.entry.tags.as_slice(), version, position, known_at }
    }

    /// Returns the position of the subscription.
    ///
    /// Call it *before* the lookup in L1, like `proof`: an entry found afterwards has lived through
    /// every change up to that position.
    pub fn subscription_position(&self, partition: u16) -> SubscriptionPosition {
        let partition = self.partition(partition);
        let state = partition.state();
        let watermark = if state.synced { state.watermark } else { Version::ZERO };
        SubscriptionPosition { generation: partition.generation(), watermark }
    }

    /// Returns the position up to which this replica has applied everything; zero if it is unknown.
    pub fn watermark(&self, partition: u16) -> Version {
        let state = self.partition(partition).state();
        if state.synced { state.watermark } else { Version::ZERO }
    }
}
