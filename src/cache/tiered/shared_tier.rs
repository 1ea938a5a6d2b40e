//! `SharedTier`: L2, with L1 as a cache of it.
//!
//! Each reply is applied to the coherence of L1 before it is answered: what it shows limits what
//! later answers may be, and what it brings enters L1 if nothing newer was applied meanwhile.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::replica_parts::ReplicaParts;
use super::types::SetAnswer;
use crate::cache::clock::Moment;
use crate::cache::coherence;
use crate::cache::coherence::{FillGuard, ShownPosition};
use crate::cache::entry::{CachedEntry, Entry};
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::{Key, KeyRef};
use crate::cache::namespace::Namespace;
use crate::cache::single_flight::{FetchResult, Fetched};
use crate::cache::tier::bus::{Change, Effect};
use crate::cache::tier::{
    CallContext, L2, L2Error, Mode, ReadResult, Removal, RemoveResult, Timeout, Touch, Touched, TtlChange, Write,
    WriteResult,
};
use crate::cache::version::Version;

/// L2 behind the L1 of this replica.
pub(super) struct SharedTier {
    l2: Arc<dyn L2>,
    parts: ReplicaParts,
}

/// State before a read.
#[derive(Clone, Copy)]
struct ReadContext {
    partition: u16,
    guard: FillGuard,
    /// Position up to which all messages were applied.
    watermark: Version,
    /// Position that answers had shown.
    shown: ShownPosition,
    started_at: Moment,
}

/// State before a step of writes.
#[derive(Clone, Copy)]
struct StepContext {
    partition: u16,
    /// Position that answers had shown.
    shown: ShownPosition,
    started_at: Moment,
}

// === impl SharedTier ===

impl SharedTier {
    pub fn new(l2: Arc<dyn L2>, parts: ReplicaParts) -> SharedTier {
        SharedTier { l2, parts }
    }

    pub fn l2(&self) -> &Arc<dyn L2> {
        &self.l2
    }

    /// Returns the state of the fence before a read of `key`.
    pub fn begin_fill(&self, key: &Key) -> FillGuard {
        self.parts.coherence.begin_fill(key.as_ref())
    }

    /// Removes from L1 an entry that was found to be invalidated.
    pub fn remove_dead(&self, key: KeyRef<'_>, held: &Arc<CachedEntry>) {
        self.parts.coherence.remove_dead(key, held);
    }

    /// Records a change that L2 has acknowledged. Fails if its epoch has ended meanwhile: the
    /// change may be lost.
    fn record_acknowledged(&self, partition: u16, version: Version, change: &Change) -> Result<(), L2Error> {
        // In this order: a failover that does not find the change remembered is detected here.
        self.parts.coherence.record_acknowledged(partition, version, change);
        if !self.parts.coherence.has_ended(partition, version.epoch) {
            return Ok(());
        }
        Err(L2Error::Unavailable {
            reason: "failover before the write was acknowledged",
            outcome_unknown_for: Some(Duration::ZERO),
        })
    }
}

// === impl SharedTier: reads ===

impl SharedTier {
    /// Reads one key, and stores the reply in L1 if nothing newer was applied since `guard`.
    pub async fn read(&self, key: &Key, guard: FillGuard, timeout: Timeout) -> FetchResult {
        let context = self.begin_read(key, guard);
        let read = self.l2.read(key, timeout).await;
        if read.is_ok() {
            self.parts.latencies.l2_read.observe(self.parts.clock.now().since(context.started_at));
        }
        self.admit(key, context, read?)
    }

    /// Reads many keys of one namespace, in their order. Stores each reply as `read` does.
    pub async fn read_many(&self, keys: &[Key], timeout: Timeout) -> Vec<FetchResult> {
        let started_at = self.parts.clock.now();
        // Before the request is sent.
        let contexts: Vec<_> = keys.iter().map(|key| self.begin_read(key, self.begin_fill(key))).collect();
        let reads = self.l2.read_many(keys, timeout).await;
        self.parts.latencies.l2_read.observe(self.parts.clock.now().since(started_at));
        keys.iter().zip(contexts).zip(reads).map(|((key, context), read)| self.admit(key, context, read?)).collect()
    }

    /// Records the state before a read of `key`.
    fn begin_read(&self, key: &Key, guard: FillGuard) -> ReadContext {
        let coherence = &self.parts.coherence;
        let partition = coherence.partition_of(key.as_ref());
        let (watermark, shown) = (coherence.watermark(partition), coherence.shown(partition));
        ReadContext { partition, guard, watermark, shown, started_at: self.parts.clock.now() }
    }

    /// Judges the reply to a read, and stores it in L1 if nothing newer was applied since the
    /// request.
    fn admit(&self, key: &Key, context: ReadContext, read: ReadResult) -> FetchResult {
        let ReadContext { partition, guard, watermark, shown, started_at } = context;
        let coherence = &self.parts.coherence;
        if read.position > Version::ZERO && read.position < watermark.max(shown.position) {
            // A stale primary: it lacks changes that were announced, or shown by an answer, before
            // the request.
            self.l2.is_behind(partition);
            return Err(L2Error::unavailable("L2 returned data older than its own messages (stale primary)"));
        }
        let Some(entry) = read.entry else { return self.admit_absence(key, context, read.position) };
        if !coherence.counts(partition, entry.version, read.position) {
            return Err(L2Error::unavailable("failover repair is not complete"));
        }
        if entry.version > watermark {
            // A caller that gets this answer must not get an older one later, even if L2 loses
            // this entry.
            let change = Change::of_keys(Effect::Set, std::slice::from_ref(key));
            coherence.record_acknowledged(partition, entry.version, &change);
        }
        if coherence.has_ended(partition, read.position.epoch) {
            // From before a failover that may have been repaired meanwhile, without this entry.
            return Err(L2Error::unavailable("failover before L2 answered"));
        }
        // The entry may be newer than the position, which is read before it: a caller that sees the
        // entry has seen that far.
        let position = read.position.max(entry.version);
        let held = coherence::cached_entry(entry, position, guard, started_at, key.namespace());
        coherence.show(partition, shown, position);
        if self.parts.switches(key.namespace()).l1 {
            coherence.admit(key, &held, guard);
        } else {
            coherence.observe_read(key, position, Some(&held.entry));
        }
        Ok(Fetched { position, held: Some(held) })
    }

    /// Judges a reply that there is no entry.
    fn admit_absence(&self, key: &Key, context: ReadContext, position: Version) -> FetchResult {
        let ReadContext { partition, watermark, shown, .. } = context;
        let coherence = &self.parts.coherence;
        if position > watermark {
            // The change that removed it may be lost, too.
            let change = Change::of_keys(Effect::Removed, std::slice::from_ref(key));
            coherence.record_acknowledged(partition, position, &change);
        }
        // Without a counter the partition is empty: a miss.
        if position > Version::ZERO && coherence.has_ended(partition, position.epoch) {
            return Err(L2Error::unavailable("failover before L2 answered"));
        }
        coherence.show(partition, shown, position);
        coherence.observe_read(key, position, None);
        Ok(Fetched { position, held: None })
    }
}

// === impl SharedTier: changes ===

impl SharedTier {
    /// Makes writes of `partition` in one step, and applies their results to L1.
    pub async fn write(
        &self,
        partition: u16,
        writes: &[Write],
        context: CallContext,
    ) -> Result<Vec<Result<SetAnswer, L2Error>>, L2Error> {
        let coherence = &self.parts.coherence;
        let step = StepContext { partition, started_at: self.parts.clock.now(), shown: coherence.shown(partition) };
        let guards: Vec<FillGuard> = writes.iter().map(|write| self.begin_fill(&write.key)).collect();
        let written = self.l2.write(partition, writes, context).await?;
        self.parts.latencies.l2_write.observe(self.parts.clock.now().since(step.started_at));
        for (write, written) in writes.iter().zip(&written) {
            self.show_written(step, write, written);
        }
        let stored = |(write, written): (&Write, &WriteResult)| match written {
            WriteResult::Stored(entry) => Some((write.key.clone(), entry.version)),
            _ => None,
        };
        let (keys, versions): (Vec<Key>, Vec<Version>) = writes.iter().zip(&written).filter_map(stored).unzip();
        if let Some(version) = versions.first() {
            self.record_acknowledged(partition, *version, &Change::of_keys(Effect::Set, &keys))?;
        }
        let done = writes.iter().zip(guards).zip(written);
        Ok(done.map(|((write, guard), written)| self.apply_written(step, write, guard, written)).collect())
    }

    /// Records the position that the reply to a write shows, so that no older answer follows it.
    fn show_written(&self, step: StepContext, write: &Write, written: &WriteResult) {
        let StepContext { partition, shown, .. } = step;
        let coherence = &self.parts.coherence;
        match written {
            WriteResult::Stored(entry) => coherence.show(partition, shown, entry.version),
            WriteResult::Repeated { position, .. } => coherence.show(partition, shown, *position),
            WriteResult::Refused { current, position, .. } => {
                coherence.show(partition, shown, *position);
                if let Some(current) = current {
                    coherence.observe_newer(&write.key, *current);
                }
            }
            WriteResult::Failed(_) => {}
        }
    }

    /// Applies the result of a write to L1 of this replica.
    fn apply_written(
        &self,
        step: StepContext,
        write: &Write,
        guard: FillGuard,
        written: WriteResult,
    ) -> Result<SetAnswer, L2Error> {
        let partition = step.partition;
        match written {
            WriteResult::Stored(entry) => {
                let version = entry.version;
                self.apply_stored(step, write, guard, entry);
                Ok(SetAnswer::stored(partition, version, version))
            }
            WriteResult::Repeated { version, position } => {
                let change = Change::of_keys(Effect::Set, std::slice::from_ref(&write.key));
                self.parts.coherence.record_acknowledged(partition, version, &change);
                // The current position: the version may be of an earlier epoch.
                self.record_acknowledged(partition, position, &change)?;
                self.parts.coherence.apply_own_change(&write.key, position, Effect::Set);
                Ok(SetAnswer::stored(partition, version, position))
            }
            other => SetAnswer::of(partition, other),
        }
    }

    fn apply_stored(&self, step: StepContext, write: &Write, guard: FillGuard, entry: Entry) {
        let (version, namespace) = (entry.version, write.key.namespace());
        if self.parts.switches(namespace).l1 {
            let held = coherence::cached_entry(entry, version, guard, step.started_at, namespace);
            self.parts.coherence.apply_own_set(&write.key, version, &held, guard);
        } else {
            self.parts.coherence.apply_own_change(&write.key, version, Effect::Set);
        }
    }

    /// Removes keys of `partition` in one step, and applies that to L1.
    pub async fn remove(
        &self,
        partition: u16,
        removals: &[Removal],
        mode: Mode,
        context: CallContext,
    ) -> Result<RemoveResult, L2Error> {
        let coherence = &self.parts.coherence;
        let shown = coherence.shown(partition);
        let done = self.l2.remove(partition, removals, mode, context).await?;
        coherence.show(partition, shown, done.version);
        let keys: Vec<Key> = removals.iter().map(|removal| removal.key.clone()).collect();
        self.record_acknowledged(partition, done.version, &Change::of_keys(mode.effect(), &keys))?;
        keys.iter().for_each(|key| coherence.apply_own_change(key, done.version, mode.effect()));
        Ok(done)
    }

    /// Invalidates the entries that `selectors` select: one step for each partition, all
    /// concurrently.
    pub async fn invalidate(
        &self,
        namespace: &Arc<Namespace>,
        selectors: &[Selector],
        mode: Mode,
        context: CallContext,
    ) -> Vec<Result<(u16, Version), L2Error>> {
        let coherence = &self.parts.coherence;
        let change = &Change::of_selected(mode.effect(), namespace, selectors);
        let steps = (0..coherence.partitions()).map(|partition| async move {
            let shown = coherence.shown(partition);
            let version = self.l2.invalidate(partition, namespace, selectors, mode, context).await?;
            coherence.show(partition, shown, version);
            self.record_acknowledged(partition, version, change)?;
            coherence.apply_own_invalidation(namespace, partition, selectors, version, mode.effect());
            Ok((partition, version))
        });
        join_all(steps).await
    }

    /// Changes the time to live of an entry, also in L1.
    pub async fn touch(&self, key: &Key, touch: Touch, deadline: Moment) -> Result<Touched, L2Error> {
        let coherence = &self.parts.coherence;
        let partition = coherence.partition_of(key.as_ref());
        let (guard, shown) = (self.begin_fill(key), coherence.shown(partition));
        let touched = self.l2.touch(key, touch, deadline).await?;
        coherence.show(partition, shown, touched.position);
        let Some(entry) = touched.entry else { return Ok(touched) };
        coherence.observe_newer(key, entry.version);
        if entry.change == TtlChange::Shortened {
            let change = Change::of_keys(Effect::Shortened, std::slice::from_ref(key));
            self.record_acknowledged(partition, touched.position, &change)?;
            coherence.apply_own_change(key, touched.position, Effect::Shortened);
        } else {
            coherence.extend_ttl(key, entry.version, entry.expires_at, guard);
        }
        Ok(touched)
    }
}
