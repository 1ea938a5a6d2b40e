//! Keeps memory coherent: decides what may enter it and what may be answered from it as fresh. Follows the bus; knows no transport.
//!
//! Three rules carry the bound on staleness. A message next in line removes what it names, any other makes its partition suspect
//! (`apply`). What was read before a change was heard of does not enter memory after it (`admit`). Memory answers as fresh only
//! while an audit, echoed through the subscription itself, proves that nothing was missed (`echo`, `judge`).

use super::fence::FillGuard;
use super::partition::ShownPosition;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::fence::Stripe;

use super::partition::{Partition, PartitionState};
use super::safeguards::{Safeguard, Safeguards};
use super::watch::Watches;
use crate::cache::clock::{Clock, Moment};
use crate::cache::entry::{CachedEntry, Content, CoverageMemo, Entry};
use crate::cache::invalidation::log::{Coverage, EntryFacts};
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::{Key, KeyRef};
use crate::cache::lease::waiters::{End, Rounds};
use crate::cache::namespace::{Namespace, Namespaces};
use crate::cache::single_flight::{FetchCompletion, FetchWaiter, Flight};
use crate::cache::stats::CoherenceCounters;
use crate::cache::tier::bus::Effect;
use crate::cache::tier::{L1, NotTaken};
use crate::cache::version::Version;

/// What coherence is configured by.
#[derive(Clone, Copy, Debug)]
pub struct CoherenceConfig {
    /// Partitions of the deployment.
    pub partitions: u16,
    /// The staleness bound.
    pub max_staleness: Duration,
    /// Whether recent changes are remembered, to invalidate again those that a failover lost.
    pub repair: bool,
    /// Protections that are on.
    pub safeguards: Safeguards,
}

/// The coherence of one replica's memory.
pub struct Coherence {
    pub(super) config: CoherenceConfig,
    pub(crate) partitions: Box<[Partition]>,
    pub(super) fence: super::fence::Fence,
    pub(super) audits: super::audit::Audits,
    pub(super) l1: Arc<dyn L1>,
    pub(super) namespaces: Arc<Namespaces>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Told when a partition has an epoch of which the takeover is not settled.
    pub(super) failover_pending: Notify,
    pub(super) unswept: Mutex<super::sweep::Unswept>,
    /// Notified when memory is to be swept.
    pub(super) sweep_wanted: Notify,
    /// Watches.
    pub watches: Watches,
    /// Counts.
    pub counters: CoherenceCounters,
}

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
        if self.generation == cached_entry.generation {
            cached_entry.position.max(self.watermark)
        } else {
            cached_entry.position
        }
    }
}

/// A Get's way to the shared tier.
pub enum FetchSlot {
    /// A fetch under way that may be waited for.
    Joined(FetchWaiter),
    /// A fetch that this Get has to begin.
    Started(StartedFetch),
}

/// A fetch to be made, and what was known before.
pub struct StartedFetch {
    /// Number of the flight.
    pub id: u64,
    /// What was known before.
    pub guard: FillGuard,
    /// Where the result goes.
    pub completion: FetchCompletion,
    /// Where it comes from.
    pub waiter: FetchWaiter,
}

// === impl Coherence: answering from memory ===

impl Coherence {
    /// Nothing is proven yet.
    pub fn new(
        config: CoherenceConfig,
        l1: Arc<dyn L1>,
        namespaces: Arc<Namespaces>,
        clock: Arc<dyn Clock>,
    ) -> Coherence {
        Coherence {
            config,
            partitions: (0..config.partitions).map(|_| Partition::default()).collect(),
            fence: super::fence::Fence::new(config.partitions),
            audits: super::audit::Audits::default(),
            l1,
            namespaces,
            clock,
            failover_pending: Notify::new(),
            unswept: Mutex::default(),
            sweep_wanted: Notify::new(),
            watches: Watches::default(),
            counters: CoherenceCounters::default(),
        }
    }

    /// The staleness bound.
    pub fn max_staleness(&self) -> Duration {
        self.config.max_staleness
    }

    /// Number of partitions.
    pub fn partitions(&self) -> u16 {
        self.config.partitions
    }

    /// The partition of `key`.
    pub fn partition_of(&self, key: KeyRef<'_>) -> u16 {
        key.partition(self.config.partitions)
    }

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
        if self.covers(key, cached_entry) {
            return Freshness::Invalidated;
        }
        let bound = bound
            .min(self.config.max_staleness)
            .saturating_sub(super::audit::dispatch_margin(self.config.max_staleness));
        let current = self.partition(partition).generation() == cached_entry.generation;
        if current && (now <= proof.plus(bound) || !self.config.safeguards.on(Safeguard::Audit)) {
            return Freshness::Fresh;
        }
        let known_at = self.partition(partition).last_proof(cached_entry.generation).max(cached_entry.known_at);
        Freshness::Unproven(now.since(known_at))
    }

    /// With what `held` was invalidated, as far as that is remembered.
    pub fn cause(&self, key: KeyRef<'_>, held: &CachedEntry) -> Option<Selector> {
        cached_entry.namespace.tombstones().cause(&self.entry_facts(key, cached_entry))
    }

    /// Whether `held` was invalidated with what selects it. One atomic read, unless something was since this was asked the last time. What
    /// was only marked stale is not covered, if stale entries are kept; it says so itself from now on.
    pub fn covers(&self, key: KeyRef<'_>, held: &CachedEntry) -> bool {
        let partition = self.partition_of(key);
        let tombstones = cached_entry.namespace.tombstones();
        if cached_entry.covered.is_known(tombstones.changes(partition)) {
            return false;
        }
        let (cover, changes) = tombstones.judge(&self.entry_facts(key, cached_entry));
        match cover {
            // When it was read it was not marked, or says so itself.
            Coverage::Marked(at) if !cached_entry.entry.stale_window.is_zero() => {
                cached_entry.covered.know(changes, Some(at.max(cached_entry.known_at)));
            }
            Coverage::Gone | Coverage::Marked(_) => cached_entry.covered.end(),
            // Between the lookup and this it may have been swept out of memory, and what it was covered by forgotten.
            Coverage::Clear if cached_entry.covered.has_ended() => {}
            Coverage::Clear => cached_entry.covered.know(changes, None),
        }
        cached_entry.covered.has_ended()
    }

    fn entry_facts<'a>(&self, key: KeyRef<'a>, held: &'a CachedEntry) -> EntryFacts<'a> {
        let Entry { tags, version, .. } = &cached_entry.entry;
        let (version, position, known_at) = (*version, cached_entry.position, cached_entry.known_at);
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

    pub(crate) fn partition(&self, partition: u16) -> &Partition {
        &self.partitions[usize::from(partition)]
    }
}

// === impl Coherence: entering memory ===

impl Coherence {
    /// What is known before the shared tier is asked to write `key`.
    pub fn begin_fill(&self, key: KeyRef<'_>) -> FillGuard {
        let partition = self.partition_of(key);
        let stripe = self.fence.lock(partition, key);
        FillGuard { generation: self.partition(partition).generation(), applied: stripe.applied, shown: stripe.reads }
    }

    /// Joins the fetch of `key` under way, when its answer will be fresh enough for a caller who accepts `bound`, or begins one.
    pub fn fetch_slot(&self, key: &Key, bound: Duration) -> FetchSlot {
        let index = self.partition_of(key.as_ref());
        let now = self.clock.now();
        let changes = key.namespace().tombstones().changes(index);
        let mut stripe = self.fence.lock(index, key.as_ref());
        let generation = self.partition(index).generation();
        if let Some(flight) = stripe.flights.get(key)
            && flight.generation == generation
            && flight.changes == changes
            && now.since(flight.begun_at) <= bound.min(self.config.max_staleness)
        {
            return FetchSlot::Joined(flight.join());
        }
        let note = FillGuard { generation, applied: stripe.applied, shown: stripe.reads };
        let (flight, landing) = Flight::begin(now, generation, changes);
        let begun = StartedFetch { id: flight.id, guard: note, completion: landing, waiter: flight.join() };
        stripe.flights.insert(key.clone(), flight);
        FetchSlot::Started(begun)
    }

    /// No Get may join the flight `id` of `key` any more.
    pub fn close_fetch(&self, key: &Key, id: u64) {
        let mut stripe = self.fence.lock(self.partition_of(key.as_ref()), key.as_ref());
        if stripe.flights.get(key).is_some_and(|flight| flight.id == id) {
            stripe.flights.remove(key);
        }
    }

    /// How far answers of the shared tier have shown the number line of `partition`. To be read before it is asked.
    pub fn shown(&self, partition: u16) -> ShownPosition {
        self.partition(partition).shown()
    }

    /// An answer to a question that was asked after `before` was read shows that `partition` has reached `position`: no answer to a later
    /// question may be from before that.
    pub fn show(&self, partition: u16, before: ShownPosition, position: Version) {
        if self.config.safeguards.on(Safeguard::Monotonic) {
            self.partition(partition).show(before, position);
        }
    }

    /// Lets what was read from the shared tier after `note` enter memory, unless something newer was applied or read meanwhile, the
    /// partition moved on, or the answer is of another epoch. What it shows to be outdated leaves memory all the same.
    pub fn admit(&self, key: &Key, held: &Arc<CachedEntry>, note: FillGuard) -> bool {
        let partition = self.partition_of(key.as_ref());
        let mut stripe = self.fence.lock(partition, key.as_ref());
        let is_guest = key.namespace().is_guest();
        let admitted =
            !is_guest && self.passes(&stripe, key.as_ref(), note, cached_entry.position, cached_entry.entry.version);
        if admitted {
            _ = self.insert(key, cached_entry);
        } else if !is_guest {
            self.counters.fills_fenced.inc();
        }
        self.follow_read(&mut stripe, key.as_ref(), cached_entry.position, Some(&cached_entry.entry), !admitted);
        admitted
    }

    /// A read of the shared tier, of which nothing enters memory, has found `entry` or that there is none, where the partition stood at
    /// `position`. What that shows to be outdated leaves memory. To be called before anybody is answered with it.
    pub fn observe_read(&self, key: &Key, position: Version, entry: Option<&Entry>) {
        let partition = self.partition_of(key.as_ref());
        let position = match position {
            // There is no number line: everything is gone that was on one so far.
            Version::ZERO => {
                let partition = self.partition(partition);
                let last = partition.known_epoch().max(partition.shown().position.epoch);
                Version::new(last, Version::LAST_SEQUENCE)
            }
            position => position,
        };
        let mut stripe = self.fence.lock(partition, key.as_ref());
        self.follow_read(&mut stripe, key.as_ref(), position, entry, true);
    }

    /// The shared tier has said that `key` was written at `version`. What is older leaves memory.
    pub fn observe_newer(&self, key: &Key, version: Version) {
        if self.config.safeguards.on(Safeguard::Monotonic) {
            let mut stripe = self.fence.lock(self.partition_of(key.as_ref()), key.as_ref());
            self.drop_below(key.as_ref(), version, |_| true);
            stripe.show(key.as_ref(), version);
        }
    }

    /// Follows what a read showed of `key`; with what memory holds of it only if that is not what was read. To be called under the key's
    /// stripe.
    fn follow_read(
        &self,
        stripe: &mut Stripe,
        key: KeyRef<'_>,
        position: Version,
        entry: Option<&Entry>,
        memory_differs: bool,
    ) {
        if !self.config.safeguards.on(Safeguard::Monotonic) {
            return;
        }
        let now = self.clock.now();
        let least = match entry {
            Some(entry) if entry.lives(now) => entry.version,
            other => other.map_or(position, |entry| position.max(entry.version)).next(),
        };
        if memory_differs && !entry.is_some_and(|entry| self.limit_life(key, entry, now)) {
            // One that has outlived its time is absent elsewhere for that; it is kept to be answered flagged.
            let is_outdated = |held: &CachedEntry| {
                entry.is_some() || (cached_entry.entry.lives(now) && cached_entry.marked_at().is_none())
            };
            self.drop_below(key, least, is_outdated);
        }
        stripe.show(key, least);
    }

    /// Marks the entry of `key` in memory, and ends it no later, as `entry` does; false: it is of another version, or not kept. To be called
    /// under the key's stripe.
    fn limit_life(&self, key: KeyRef<'_>, entry: &Entry, now: Moment) -> bool {
        let is_kept = entry.lives(now) || !entry.stale_window.is_zero();
        let is_same = |held: &Arc<CachedEntry>| {
            cached_entry.entry.version == entry.version && !cached_entry.is_alone() && is_kept
        };
        let Some(held) = self.l1.get(key).filter(is_same) else { return false };
        let marked_at = cached_entry.entry.marked_at.into_iter().chain(entry.marked_at).min();
        let expires_at = cached_entry.entry.expires_at.min(entry.expires_at);
        if (marked_at, expires_at) != (cached_entry.entry.marked_at, cached_entry.entry.expires_at) {
            let kept_until = cached_entry.entry.kept_until.min(entry.kept_until);
            self.put(
                &key.to_key(),
                &cached_entry,
                Entry { marked_at, expires_at, kept_until, ..cached_entry.entry.clone() },
            );
        }
        true
    }

    /// Removes what memory holds of `key` from before `least`, if `is_outdated`. To be called under the key's stripe.
    fn drop_below(&self, key: KeyRef<'_>, least: Version, is_outdated: impl Fn(&CachedEntry) -> bool) {
        if self.l1.get(key).is_some_and(|held| cached_entry.entry.version < least && is_outdated(&cached_entry)) {
            self.l1.remove(key);
        }
    }

    /// This replica's own write of `key` was taken by the shared tier: whatever memory holds from before goes, at once and even if the
    /// new entry does not enter. To be called before the write is acknowledged.
    pub fn apply_own_set(&self, key: &Key, version: Version, held: &Arc<CachedEntry>, note: FillGuard) {
        let partition = self.partition_of(key.as_ref());
        self.check_epoch(partition, version);
        let mut stripe = self.fence.lock(partition, key.as_ref());
        let admitted = self.passes(&stripe, key.as_ref(), note, version, version);
        stripe.apply(key.as_ref(), version);
        match admitted {
            true => _ = self.insert(key, cached_entry),
            false => self.drop_older(key.as_ref(), version, Effect::Set),
        }
        drop(stripe);
        self.end_round(key.as_ref(), End::LookAgain);
    }

    /// This replica's own change of `key` was taken by the shared tier: whatever memory holds from before goes, or is marked. To be called
    /// before the change is acknowledged.
    pub fn apply_own_change(&self, key: &Key, version: Version, effect: Effect) {
        let partition = self.partition_of(key.as_ref());
        self.check_epoch(partition, version);
        let mut stripe = self.fence.lock(partition, key.as_ref());
        stripe.apply(key.as_ref(), version);
        self.drop_older(key.as_ref(), version, effect);
        drop(stripe);
        self.end_round(key.as_ref(), End::LookAgain);
    }

    /// The entry of `key` was found after `note` to live longer than memory knows: so does what memory holds, if it is the same.
    pub fn extend_ttl(&self, key: &Key, version: Version, expires_at: Moment, note: FillGuard) {
        let partition = self.partition_of(key.as_ref());
        let stripe = self.fence.lock(partition, key.as_ref());
        // A change that came later may have shortened it again.
        if !stripe.admits(note, Version::ZERO) {
            return;
        }
        let Some(held) = self.l1.get(key.as_ref()) else { return };
        let entry = &cached_entry.entry;
        if entry.version == version && entry.expires_at < expires_at {
            self.put(
                key,
                &cached_entry,
                Entry { expires_at, kept_until: expires_at.plus(entry.stale_window), ..entry.clone() },
            );
        }
    }

    /// Puts what `make` makes of what memory holds of `key` and of the position, as an entry that the shared tier does not know. Without a
    /// shared tier to ask there is no promise; but what is invalidated afterwards is gone.
    pub fn put_local_only(
        &self,
        key: &Key,
        make: impl FnOnce(Option<&CachedEntry>, Version) -> Option<Entry>,
    ) -> Result<(), NotTaken> {
        let partition = self.partition_of(key.as_ref());
        // Not under the stripe: messages take effect with the line locked.
        let position = self.watermark(partition).max(key.namespace().tombstones().latest(partition));
        let note = self.begin_fill(key.as_ref());
        let _stripe = self.fence.lock(partition, key.as_ref());
        let before = self.l1.get(key.as_ref());
        match make(before.as_deref(), position) {
            Some(entry) => {
                let held = cached_entry(entry, CachedEntry::LOCAL_ONLY, note, self.clock.now(), key.namespace());
                self.insert(key, &cached_entry)
            }
            None => Ok(()),
        }
    }

    /// This replica's own invalidation of what `selectors` select was taken.
    pub fn apply_own_invalidation(
        &self,
        namespace: &Namespace,
        partition: u16,
        selectors: &[Selector],
        version: Version,
        effect: Effect,
    ) {
        self.check_epoch(partition, version);
        self.record_invalidation(namespace, partition, selectors, version, effect);
    }

    pub(super) fn record_invalidation(
        &self,
        namespace: &Namespace,
        partition: u16,
        selectors: &[Selector],
        version: Version,
        effect: Effect,
    ) {
        if selectors.is_empty() {
            return;
        }
        let marked_at = (effect == Effect::Marked).then(|| self.not_before(partition));
        selectors.iter().for_each(|selector| namespace.tombstones().add(partition, selector, version, marked_at));
        self.partition(partition).rounds.end_all(Some(namespace.id));
        self.want_sweep(namespace);
    }

    /// The rounds of those who want a lease in `partition`. Every change that is applied ends those it may be about.
    pub fn rounds(&self, partition: u16) -> &Rounds {
        &self.partition(partition).rounds
    }

    /// Something was heard of `key`: who waits for it looks again.
    pub fn end_round(&self, key: KeyRef<'_>, end: End) {
        self.partition(self.partition_of(key)).rounds.end(key, end);
    }

    /// Whether messages of `partition` are heard now.
    pub fn is_followed(&self, partition: u16) -> bool {
        self.partition(partition).live_epoch() != 0
    }

    /// Whether an entry of `key` of `version`, known at `position` and asked for after `note`, may enter memory.
    fn passes(&self, stripe: &Stripe, key: KeyRef<'_>, note: FillGuard, position: Version, version: Version) -> bool {
        let partition = self.partition(self.partition_of(key));
        let stands = partition.generation() == note.generation && partition.live_epoch() == position.epoch;
        let fenced = !stands || !stripe.admits(note, version);
        let on = |protection| self.config.safeguards.on(protection);
        !(fenced && on(Safeguard::Fence) || stripe.is_outdated(key, note, version) && on(Safeguard::Monotonic))
    }

    /// An answer to an own write shows another epoch than the subscription's: the number line has another life. Between subscriptions
    /// that matters when the epoch went back: memory holds greater versions then, which the write would not remove.
    fn check_epoch(&self, index: u16, version: Version) {
        let partition = self.partition(index);
        let live = partition.live_epoch();
        if live == version.epoch {
            return;
        }
        let mut line = partition.state();
        if live != 0 || version.epoch < line.watermark.epoch {
            self.bump(partition, &mut line);
            partition.unsync(&mut line);
        }
    }

    /// Removes what is older than a change at `version`, or marks it. To be called under the key's stripe.
    pub(super) fn drop_older(&self, key: KeyRef<'_>, version: Version, effect: Effect) {
        let Some(held) = self.l1.get(key).filter(|held| cached_entry.entry.version < version) else { return };
        let now = self.clock.now();
        let window = cached_entry.entry.stale_window;
        let kept = now < cached_entry.entry.kept_until && !window.is_zero() && !self.covers(key, &cached_entry);
        if effect == Effect::Marked && kept {
            let marked_at =
                cached_entry.marked_at().unwrap_or(self.not_before(self.partition_of(key)).max(cached_entry.known_at));
            let kept_until = cached_entry.entry.kept_until.min(marked_at.plus(window));
            self.put(
                &key.to_key(),
                &cached_entry,
                Entry { marked_at: Some(marked_at), kept_until, ..cached_entry.entry.clone() },
            );
        } else {
            self.l1.remove(key);
        }
    }

    /// When a change that is heard of now was made in the shared tier, at the earliest: after the last audit that found all changes heard.
    fn not_before(&self, partition: u16) -> Moment {
        self.partition(partition).proved_at().min(self.clock.now())
    }

    /// Puts `entry` in the place of `held`, of which it is a variant. To be called under the key's stripe, or what stands for it.
    pub fn put(&self, key: &Key, held: &CachedEntry, entry: Entry) {
        let CachedEntry { position, generation, known_at, ref namespace, .. } = *cached_entry;
        let (namespace, covered) = (namespace.clone(), CoverageMemo::default());
        let held = CachedEntry { entry, position, generation, known_at, namespace, covered };
        // If it is not taken, it is gone, which any entry may be at any time.
        let _ = self.l1.insert(key.clone(), Arc::new(cached_entry));
    }

    pub(super) fn bump(&self, partition: &Partition, line: &mut PartitionState) {
        partition.bump(line);
        line.watchers.report_gap();
        self.counters.bumps.inc();
    }
}

// === impl Coherence: reporting ===

/// The proofs of all partitions at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proofs {
    /// Partitions whose entries may be answered as fresh.
    pub proven: u16,
    /// Age of the oldest proof; none when a partition was never proven.
    pub oldest: Option<Duration>,
}

impl Coherence {
    /// How far memory is proven now.
    pub fn proofs(&self) -> Proofs {
        let now = self.clock.now();
        let bound = self.config.max_staleness - super::audit::dispatch_margin(self.config.max_staleness);
        let proven = |partition: &&Partition| now <= partition.proved_at().plus(bound);
        let oldest = self.partitions.iter().map(Partition::proved_at).min().unwrap_or(Moment::NEVER);
        Proofs {
            proven: self.partitions.iter().filter(proven).count() as u16,
            oldest: (oldest != Moment::NEVER).then(|| now.since(oldest)),
        }
    }

    /// Proves every partition for good, from position `at`: for a service without a shared tier, where memory is all there is.
    pub fn prove_forever(&self, at: Version) {
        for partition in &self.partitions {
            partition.sync(&mut partition.state(), at);
            partition.prove(Moment::FOREVER);
        }
    }
}

/// An entry with what its freshness is judged by, as read or written under `note`. Its value gets memory of its own: as it came it is a
/// slice of a larger buffer of the connection, which it would keep alive.
pub fn cached_entry(
    mut entry: Entry,
    position: Version,
    note: FillGuard,
    known_at: Moment,
    namespace: &Arc<Namespace>,
) -> Arc<CachedEntry> {
    if let Content::Value(value) = &mut entry.content {
        *value = Bytes::copy_from_slice(value);
    }
    let (generation, namespace, covered) = (note.generation, namespace.clone(), CoverageMemo::default());
    Arc::new(CachedEntry { entry, position, generation, known_at, namespace, covered })
}

#[cfg(test)]
#[path = "coherence_tests.rs"]
mod tests;
