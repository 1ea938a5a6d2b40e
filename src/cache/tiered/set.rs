//! Set and Invalidate: L2 applies the change, then L1 of this replica, then it is acknowledged.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use super::cache::{Tiered, TieredInner};
use crate::cache::clock::Moment;
use crate::cache::coherence;
use crate::cache::coherence::{FillGuard, ShownPosition};
use crate::cache::error::CacheError;
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::Key;
use crate::cache::namespace::Namespace;
use crate::cache::stats::NamespaceCounters;
use crate::cache::tier::bus::{Change, Effect};
use crate::cache::tier::{
    CallContext, Condition, ConditionFailure, FleetBarrier, L2Error, Mode, Removal, RemoveResult, Timeout, Write,
    WriteResult,
};
use crate::cache::token::Token;
use crate::cache::version::Version;

/// A write of one entry.
#[derive(Clone)]
pub struct Set {
    /// Content and condition of the write.
    pub write: Write,
    /// Replicas that have to apply it before it is acknowledged.
    pub barrier: Barrier,
    /// The caller's deadline.
    pub deadline: Moment,
}

/// The answer to a Set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAnswer {
    /// Outcome.
    pub outcome: SetOutcome,
    /// Version of the stored entry, or of the entry that made the condition fail.
    pub version: Option<Version>,
    /// Positions that the caller has now seen.
    pub token: Token,
}

/// Outcome of a Set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SetOutcome {
    Stored,
    AlreadyPresent,
    NotPresent,
    VersionMismatch,
    LeaseVoid,
    SourceVersionOlder,
    Disabled,
}

impl SetOutcome {
    /// Returns the outcome as one word.
    pub fn word(self) -> &'static str {
        match self {
            SetOutcome::Stored => "stored",
            SetOutcome::AlreadyPresent => "already_present",
            SetOutcome::NotPresent => "not_present",
            SetOutcome::VersionMismatch => "version_mismatch",
            SetOutcome::LeaseVoid => "lease_void",
            SetOutcome::SourceVersionOlder => "source_version_older",
            SetOutcome::Disabled => "disabled",
        }
    }
}

/// An invalidation.
#[derive(Clone)]
pub struct Invalidate {
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// Entries to invalidate.
    pub target: Target,
    /// Effect on the entries.
    pub mode: Mode,
    /// Replicas that have to apply it before it is acknowledged.
    pub barrier: Barrier,
    /// The caller's deadline.
    pub deadline: Moment,
}

/// Replicas that have to apply a change before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Barrier {
    /// Only this replica.
    #[default]
    None,
    /// Every live replica, unless it has lost its right to answer with the previous value.
    Fleet,
}

/// Entries that an Invalidate covers.
#[derive(Clone)]
pub enum Target {
    /// These keys, each listed once.
    Keys(Vec<Removal>),
    /// Entries that these select.
    Selected(Vec<Selector>),
}

impl Target {
    /// Returns true if it covers nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Target::Keys(keys) => keys.is_empty(),
            Target::Selected(selectors) => selectors.is_empty(),
        }
    }
}

/// The answer to an Invalidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalidated {
    /// Number of keys that had an entry. `None` if it cannot be known.
    pub removed: Option<u64>,
    /// Positions that the caller has now seen.
    pub token: Token,
}

impl SetAnswer {
    /// Answer while the cache is switched off.
    pub(super) const DISABLED: SetAnswer =
        SetAnswer { outcome: SetOutcome::Disabled, version: None, token: Token::EMPTY };
}

impl NamespaceCounters {
    pub(super) fn count_set(&self, answer: &Result<SetAnswer, CacheError>) {
        match answer {
            Ok(SetAnswer { outcome: SetOutcome::Stored, .. }) => self.sets_stored.inc(),
            Ok(SetAnswer { outcome: SetOutcome::Disabled, .. }) => {}
            Ok(SetAnswer { outcome: SetOutcome::LeaseVoid | SetOutcome::SourceVersionOlder, .. }) => {
                self.sets_void.inc();
            }
            Ok(_) => self.sets_condition_failed.inc(),
            Err(_) => self.set_errors.inc(),
        }
    }
}

impl Tiered {
    /// Writes one entry. A caller that disconnects does not interrupt it.
    pub async fn set(&self, set: Set) -> Result<SetAnswer, CacheError> {
        let namespace = set.write.key.namespace().clone();
        let started_at = self.0.clock.now();
        let cache = self.clone();
        let answer = self.owned(async move { cache.write_and_settle(set).await }).await;
        namespace.counters.count_set(&answer);
        self.0.latencies.set.observe(self.0.clock.now().since(started_at));
        answer
    }

    /// Removes entries. A caller that disconnects does not interrupt it.
    pub async fn invalidate(&self, invalidate: Invalidate) -> Result<Invalidated, CacheError> {
        self.invalidate_in_turn(invalidate, None).await
    }

    /// Invalidates like `invalidate`, with one permit of `turns` for its steps.
    pub(super) async fn invalidate_in_turn(
        &self,
        invalidate: Invalidate,
        turns: Option<Arc<Semaphore>>,
    ) -> Result<Invalidated, CacheError> {
        let namespace = invalidate.namespace.clone();
        let started_at = self.0.clock.now();
        let cache = self.clone();
        let answer = self.owned(async move { cache.remove(invalidate, turns).await }).await;
        match &answer {
            Ok(_) => namespace.counters.invalidations.inc(),
            Err(_) => namespace.counters.invalidate_errors.inc(),
        }
        self.0.latencies.invalidate.observe(self.0.clock.now().since(started_at));
        answer
    }

    /// Runs `work` in a task of its own, so that a disconnect does not interrupt it. Without L2 it
    /// cannot be interrupted anyway.
    pub(super) async fn owned<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, CacheError>> + Send + 'static,
    ) -> Result<T, CacheError> {
        if self.0.l2.shares_l1() {
            return work.await;
        }
        match self.0.tasks.spawn(work.in_current_span()).await {
            Ok(answer) => answer,
            Err(panicked) => {
                tracing::error!(error = %panicked, "write task panicked");
                Err(CacheError::Internal)
            }
        }
    }

    async fn write_and_settle(&self, set: Set) -> Result<SetAnswer, CacheError> {
        let Condition::Lease(lease) = set.write.condition else { return self.write(set).await };
        let key = set.write.key.clone();
        let answer = self.write(set).await;
        self.settle_lease(&key, lease, answer.as_ref()).await;
        answer
    }

    async fn write(&self, set: Set) -> Result<SetAnswer, CacheError> {
        let shared = &*self.0;
        let Set { write, barrier, deadline } = set;
        let partition = shared.coherence.partition_of(write.key.as_ref());
        let namespace = write.key.namespace();
        let switches = shared.switches(namespace);
        if !switches.enabled {
            return Ok(SetAnswer::DISABLED);
        }
        namespace.admit()?;
        if !switches.l2 {
            return Ok(shared.write_l1_only(&write)?);
        }
        let timeout = shared.write_timeout(deadline);
        let barrier = self.barrier(barrier);
        let step = shared.write_step(partition, std::slice::from_ref(&write), ticket(&barrier), timeout).await;
        let answer =
            step.and_then(|answers| answers.into_iter().next().unwrap_or(Err(L2Error::unavailable("no answer"))));
        let answer = answer.map_err(|error| shared.error(error, deadline))?;
        if answer.outcome == SetOutcome::Stored {
            shared.await_barrier(barrier, &[partition], deadline).await?;
        }
        Ok(answer)
    }

    async fn remove(&self, invalidate: Invalidate, turns: Option<Arc<Semaphore>>) -> Result<Invalidated, CacheError> {
        let shared = &*self.0;
        invalidate.namespace.admit()?;
        let turn = match turns {
            Some(turns) => turns.acquire_owned().await.ok(),
            None => None,
        };
        let deadline = shared.clock.now().plus(shared.config.write_timeout).min(invalidate.deadline);
        let barrier = self.barrier(invalidate.barrier);
        let (mode, ticket) = (invalidate.mode, ticket(&barrier));
        let removed = match invalidate.target {
            Target::Keys(removals) => self.remove_keys(removals, mode, ticket, deadline).await,
            Target::Selected(selectors) => {
                self.remove_selected(&invalidate.namespace, &selectors, mode, ticket, deadline).await
            }
        };
        drop(turn);
        let removed = removed.map_err(|error| shared.error(error, invalidate.deadline))?;
        let partitions: Vec<u16> = removed.token.partitions().collect();
        shared.await_barrier(barrier, &partitions, invalidate.deadline).await?;
        Ok(removed)
    }

    /// Opens a barrier, if one is requested.
    pub(super) fn barrier(&self, barrier: Barrier) -> Option<Box<dyn FleetBarrier + '_>> {
        (barrier == Barrier::Fleet).then(|| self.0.l2.barrier())
    }

    /// Removes keys: one step for each partition, all concurrently. Steps that succeed take effect
    /// even if another fails.
    async fn remove_keys(
        &self,
        removals: Vec<Removal>,
        mode: Mode,
        ticket: u64,
        deadline: Moment,
    ) -> Result<Invalidated, L2Error> {
        let shared = &*self.0;
        let mut by_partition: BTreeMap<u16, Vec<Removal>> = BTreeMap::new();
        for removal in removals {
            by_partition.entry(shared.coherence.partition_of(removal.key.as_ref())).or_default().push(removal);
        }
        let steps = by_partition.iter().map(|(partition, removals)| async {
            Ok((*partition, shared.remove_step(*partition, removals, mode, ticket, deadline).await?))
        });
        let mut answer = Invalidated { removed: Some(0), token: Token::default() };
        for (partition, done) in all_or_longest_unknown(join_all(steps).await)? {
            let removed = done.removed.iter().filter(|removed| **removed).count() as u64;
            answer.removed = answer.removed.map(|before| before + removed);
            answer.token.add(partition, done.version);
        }
        Ok(answer)
    }

    async fn remove_selected(
        &self,
        namespace: &Arc<Namespace>,
        selectors: &[Selector],
        mode: Mode,
        ticket: u64,
        deadline: Moment,
    ) -> Result<Invalidated, L2Error> {
        let shared = &*self.0;
        let change = &Change::of_selected(mode.effect(), namespace, selectors);
        let context = CallContext { timeout: deadline.into(), ticket };
        let steps = (0..shared.coherence.partitions()).map(|partition| async move {
            let shown = shared.coherence.shown(partition);
            let version = shared.l2.invalidate(partition, namespace, selectors, mode, context).await?;
            if !shared.l2.shares_l1() {
                shared.coherence.show(partition, shown, version);
                shared.record_acknowledged(partition, version, change)?;
            }
            shared.coherence.apply_own_invalidation(namespace, partition, selectors, version, mode.effect());
            Ok((partition, version))
        });
        let mut token = Token::default();
        for (partition, version) in all_or_longest_unknown(join_all(steps).await)? {
            token.add(partition, version);
        }
        Ok(Invalidated { removed: None, token })
    }
}

impl TieredInner {
    /// Runs one step of a partition, and applies its results here. Each write succeeds or fails on
    /// its own.
    pub(super) async fn write_step(
        &self,
        partition: u16,
        writes: &[Write],
        ticket: u64,
        timeout: Timeout,
    ) -> Result<Vec<Result<SetAnswer, L2Error>>, L2Error> {
        let (started_at, shown) = (self.clock.now(), self.coherence.shown(partition));
        let notes: Vec<FillGuard> = writes.iter().map(|write| self.coherence.begin_fill(write.key.as_ref())).collect();
        let written = self.l2.write(partition, writes, CallContext { timeout, ticket }).await?;
        if !self.l2.shares_l1() {
            self.latencies.l2_write.observe(self.clock.now().since(started_at));
            for (write, written) in writes.iter().zip(&written) {
                self.follow_answer(partition, shown, write, written);
            }
            let stored = |(write, written): (&Write, &WriteResult)| match written {
                WriteResult::Stored(entry) => Some((write.key.clone(), entry.version)),
                _ => None,
            };
            let (keys, versions): (Vec<Key>, Vec<Version>) = writes.iter().zip(&written).filter_map(stored).unzip();
            if let Some(version) = versions.first() {
                self.record_acknowledged(partition, *version, &Change::of_keys(Effect::Set, &keys))?;
            }
        }
        let done = writes.iter().zip(notes).zip(written);
        Ok(done
            .map(|((write, note), written)| self.apply_write_result(partition, write, note, started_at, written))
            .collect())
    }

    /// Records the position that the answer to a write shows, so that no older answer follows it.
    fn follow_answer(&self, partition: u16, shown: ShownPosition, write: &Write, written: &WriteResult) {
        match written {
            WriteResult::Stored(entry) => self.coherence.show(partition, shown, entry.version),
            WriteResult::Repeated { position, .. } => self.coherence.show(partition, shown, *position),
            WriteResult::Refused { current, position, .. } => {
                self.coherence.show(partition, shown, *position);
                if let Some(current) = current {
                    self.coherence.observe_newer(&write.key, *current);
                }
            }
            WriteResult::Failed(_) => {}
        }
    }

    /// Applies the result of a write to L1 of this replica.
    fn apply_write_result(
        &self,
        partition: u16,
        write: &Write,
        note: FillGuard,
        started_at: Moment,
        written: WriteResult,
    ) -> Result<SetAnswer, L2Error> {
        match written {
            WriteResult::Stored(entry) => {
                let version = entry.version;
                let namespace = write.key.namespace();
                if !self.l2.shares_l1() && self.switches(namespace).l1 {
                    let held = coherence::cached_entry(entry, version, note, started_at, namespace);
                    self.coherence.apply_own_set(&write.key, version, &held, note);
                } else if !self.l2.shares_l1() {
                    self.coherence.apply_own_change(&write.key, version, Effect::Set);
                }
                let token = Token::at(partition, version);
                Ok(SetAnswer { outcome: SetOutcome::Stored, version: Some(version), token })
            }
            WriteResult::Repeated { version, position } => {
                if !self.l2.shares_l1() {
                    let change = Change::of_keys(Effect::Set, std::slice::from_ref(&write.key));
                    self.coherence.record_acknowledged(partition, version, &change);
                    // The current position: the version may be of an earlier epoch.
                    self.record_acknowledged(partition, position, &change)?;
                    self.coherence.apply_own_change(&write.key, position, Effect::Set);
                }
                let token = Token::at(partition, position);
                Ok(SetAnswer { outcome: SetOutcome::Stored, version: Some(version), token })
            }
            WriteResult::Refused { why, current, position } => {
                let outcome = match why {
                    ConditionFailure::AlreadyPresent => SetOutcome::AlreadyPresent,
                    ConditionFailure::NotPresent => SetOutcome::NotPresent,
                    ConditionFailure::VersionMismatch => SetOutcome::VersionMismatch,
                    ConditionFailure::LeaseVoid => SetOutcome::LeaseVoid,
                    ConditionFailure::SourceVersionOlder => SetOutcome::SourceVersionOlder,
                };
                Ok(SetAnswer { outcome, version: current, token: Token::at(partition, position) })
            }
            WriteResult::Failed(error) => Err(error),
        }
    }

    /// Runs one step that removes keys, and applies it here.
    pub(super) async fn remove_step(
        &self,
        partition: u16,
        removals: &[Removal],
        mode: Mode,
        ticket: u64,
        deadline: Moment,
    ) -> Result<RemoveResult, L2Error> {
        let shown = self.coherence.shown(partition);
        let done = self.l2.remove(partition, removals, mode, CallContext { timeout: deadline.into(), ticket }).await?;
        if !self.l2.shares_l1() {
            self.coherence.show(partition, shown, done.version);
            let keys: Vec<Key> = removals.iter().map(|removal| removal.key.clone()).collect();
            self.record_acknowledged(partition, done.version, &Change::of_keys(mode.effect(), &keys))?;
            keys.iter().for_each(|key| self.coherence.apply_own_change(key, done.version, mode.effect()));
        }
        Ok(done)
    }

    /// Records a change that L2 has acknowledged. Fails if its epoch has ended meanwhile: the
    /// change may be lost.
    pub(super) fn record_acknowledged(&self, partition: u16, version: Version, change: &Change) -> Result<(), L2Error> {
        // In this order: a failover that does not find the change remembered is detected here.
        self.coherence.record_acknowledged(partition, version, change);
        if !self.coherence.has_ended(partition, version.epoch) {
            return Ok(());
        }
        Err(L2Error::Unavailable {
            reason: "failover before the write was acknowledged",
            outcome_unknown_for: Some(Duration::ZERO),
        })
    }

    /// Waits at the barrier, if there is one. The change has taken effect even if this fails.
    pub(super) async fn await_barrier(
        &self,
        barrier: Option<Box<dyn FleetBarrier + '_>>,
        partitions: &[u16],
        deadline: Moment,
    ) -> Result<(), CacheError> {
        let Some(barrier) = barrier else { return Ok(()) };
        let started_at = self.clock.now();
        let passed = barrier.passed(partitions, deadline).await;
        self.latencies.barrier.observe(self.clock.now().since(started_at));
        passed.map_err(|error| self.error(error, deadline))
    }
}

pub(super) fn ticket(barrier: &Option<Box<dyn FleetBarrier + '_>>) -> u64 {
    barrier.as_ref().map_or(0, |barrier| barrier.ticket())
}

/// Returns every result, or the error whose outcome is unknown for longest.
fn all_or_longest_unknown<T>(results: Vec<Result<T, L2Error>>) -> Result<Vec<T>, L2Error> {
    let unknown_for = |error: &L2Error| match error {
        L2Error::Unavailable { outcome_unknown_for, .. } => *outcome_unknown_for,
        L2Error::Full | L2Error::OverQuota(_) | L2Error::Busy { .. } | L2Error::TooMany { .. } | L2Error::Halted(_) => {
            None
        }
    };
    let (mut done, mut failed) = (Vec::with_capacity(results.len()), Vec::new());
    for result in results {
        match result {
            Ok(value) => done.push(value),
            Err(error) => failed.push(error),
        }
    }
    match failed.into_iter().max_by_key(unknown_for) {
        None => Ok(done),
        Some(error) => Err(error),
    }
}
