//! Freshness of an entry in L1: the decision whether it may be answered, and how.

use std::time::Duration;

use super::audit::dispatch_margin;
use super::coherence::Coherence;
use super::safeguards::Safeguard;
use crate::cache::clock::Moment;
use crate::cache::entry::{CachedEntry, Entry};
use crate::cache::invalidation::log::{Coverage, EntryFacts};
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::KeyRef;
use crate::cache::version::Version;

/// How an entry in memory may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// As fresh.
    Fresh,
    /// Only flagged; it may have been out of date for as long as this.
    Unproven(Duration),
    /// Not at all: it was invalidated.
    Invalidated,
}

/// Where the subscription stood in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionPosition {
    generation: u64,
    watermark: Version,
}

impl SubscriptionPosition {
    /// The position up to which `held`, looked up after this place was read, is known to be current: at least where it was read; where the
    /// subscription stood, when that was whole since.
    pub fn of(self, held: &CachedEntry) -> Version {
        if self.generation == held.generation { held.position.max(self.watermark) } else { held.position }
    }
}

// === impl Coherence ===

impl Coherence {
    /// When the partition was last proven whole. To be read *before* memory is looked up: an entry found afterwards has lived through
    /// every change that this proof covers.
    pub fn proof(&self, partition: u16) -> Moment {
        self.partition(partition).proved_at()
    }

    /// How `held`, looked up after `proof` was read, may be answered to a caller who accepts `bound`.
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

    /// With what `held` was invalidated, as far as that is remembered.
    pub fn cause(&self, key: KeyRef<'_>, held: &CachedEntry) -> Option<Selector> {
        held.namespace.tombstones().cause(&self.entry_facts(key, held))
    }

    /// Whether `held` was invalidated with what selects it. One atomic read, unless something was since this was asked the last time. What
    /// was only marked stale is not covered, if stale entries are kept; it says so itself from now on.
    pub fn covers(&self, key: KeyRef<'_>, held: &CachedEntry) -> bool {
        let partition = self.partition_of(key);
        let tombstones = held.namespace.tombstones();
        if held.covered.is_known(tombstones.changes(partition)) {
            return false;
        }
        let (cover, changes) = tombstones.judge(&self.entry_facts(key, held));
        match cover {
            // When it was read it was not marked, or says so itself.
            Coverage::Marked(at) if !held.entry.stale_window.is_zero() => {
                held.covered.know(changes, Some(at.max(held.known_at)));
            }
            Coverage::Gone | Coverage::Marked(_) => held.covered.end(),
            // Between the lookup and this it may have been swept out of memory, and what it was covered by forgotten.
            Coverage::Clear if held.covered.has_ended() => {}
            Coverage::Clear => held.covered.know(changes, None),
        }
        held.covered.has_ended()
    }

    fn entry_facts<'a>(&self, key: KeyRef<'a>, held: &'a CachedEntry) -> EntryFacts<'a> {
        let Entry { tags, version, .. } = &held.entry;
        let (version, position, known_at) = (*version, held.position, held.known_at);
        let partition = self.partition_of(key);
        EntryFacts { partition, key: key.bytes, tags: tags.as_slice(), version, position, known_at }
    }

    /// Where the subscription stands. To be read *before* memory is looked up, as the proof is: an entry found afterwards has lived
    /// through every change up to there.
    pub fn subscription_position(&self, partition: u16) -> SubscriptionPosition {
        let partition = self.partition(partition);
        let line = partition.state();
        let watermark = if line.synced { line.watermark } else { Version::ZERO };
        SubscriptionPosition { generation: partition.generation(), watermark }
    }

    /// The position up to which this replica has applied everything, zero when that is not known.
    pub fn watermark(&self, partition: u16) -> Version {
        let line = self.partition(partition).state();
        if line.synced { line.watermark } else { Version::ZERO }
    }
}
