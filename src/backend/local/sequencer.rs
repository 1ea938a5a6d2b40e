//! `Local`, the L2 of a replica without Redis: sequences, conditions and leases in its own memory.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

use super::partition::{LocalLease, LocalPartition, LocalPartitions, REMEMBERED};
use super::sweep::Sweep;
use crate::cache::clock::{Clock, Moment};
use crate::cache::coherence;
use crate::cache::coherence::Coherence;
use crate::cache::entry::{CachedEntry, Entry, Tags};
use crate::cache::invalidation::MAX_PATTERNS;
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::{Key, KeyRef};
use crate::cache::namespace::Namespace;
use crate::cache::tier::bus::{BusSink, Change, ChangedKey, Effect, Message};
use crate::cache::tier::inspect::Inspected;
use crate::cache::tier::{
    Acquired, BoxFuture, Condition, ConditionFailure, L1, L2, L2Error, L2Report, LeaseClaim, LeaseRelease, Mode,
    ReadResult, Removal, RemoveResult, Timeout, Touch, Touched, TouchedEntry, TtlChange, Write, WriteResult,
    insert_within_quota,
};
use crate::cache::version::Version;

/// L2 of a replica that runs without Redis.
pub struct Local {
    epoch: u64,
    lines: Arc<LocalPartitions>,
    sweep: Arc<Sweep>,
    l1: Arc<dyn L1>,
    coherence: Arc<Coherence>,
    clock: Arc<dyn Clock>,
}

// === impl Local ===

impl Local {
    /// Starts a new epoch on every partition. Always fresh: there are no other replicas.
    pub fn new(l1: Arc<dyn L1>, coherence: Arc<Coherence>, clock: Arc<dyn Clock>) -> Local {
        let micros = clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let epoch = u64::try_from(micros).unwrap_or(1).max(1);
        coherence.prove_forever(Version::new(epoch, 0));
        let lines = Arc::new(LocalPartitions::new(coherence.partitions()));
        let sweep = Arc::new(Sweep::new(l1.clone(), coherence.clone(), lines.clone(), clock.clone()));
        Local { epoch, lines, sweep, l1, coherence, clock }
    }

    fn line(&self, partition: u16) -> MutexGuard<'_, LocalPartition> {
        self.lines.lock(partition)
    }

    /// Returns the entry of `key`, expired or not, unless it is invalidated.
    fn stored_entry(&self, key: KeyRef<'_>) -> Option<Arc<CachedEntry>> {
        let held = self.l1.get(key).filter(|held| !self.coherence.covers(key, held))?;
        // L1 is the only place of entries here: its longest time to keep one limits their life.
        (self.clock.now().since(held.known_at) <= held.namespace.policy().l1_ttl).then_some(held)
    }

    fn live(&self, key: KeyRef<'_>) -> Option<Arc<CachedEntry>> {
        self.stored_entry(key).filter(|held| held.entry.lives(self.clock.now()) && held.marked_at().is_none())
    }

    fn position(&self, line: &LocalPartition) -> Version {
        Version::new(self.epoch, line.sequence)
    }

    /// Takes the next sequence and announces the change.
    fn advance(&self, line: &mut LocalPartition, partition: u16, change: Change) -> Version {
        line.sequence += 1;
        let version = self.position(line);
        self.coherence.apply(Message { partition, version, change, own: true });
        version
    }

    /// Returns a changed key, with the tags that its entry had until now.
    fn changed(&self, line: &LocalPartition, key: &Key) -> ChangedKey {
        let tags = match self.l1.get(key.as_ref()).filter(|_| line.tagged) {
            Some(held) => held.entry.tags.clone(),
            None if line.tagged => Tags::unknown(),
            None => Tags::default(),
        };
        ChangedKey { key: Bytes::copy_from_slice(key.bytes()), tags }
    }

    /// Returns the lease of `key`, unless something that covers it, or one of `tags`, was
    /// invalidated since it was granted.
    fn lease<'a>(&self, line: &'a LocalPartition, key: &Key, tags: [&Tags; 2]) -> Option<(&'a LocalLease, Moment)> {
        let partition = self.coherence.partition_of(key.as_ref());
        let lease = line.leases.get(key, self.clock.now());
        lease.filter(|(lease, _)| tags.iter().all(|tags| lease.holds(partition, key, tags)))
    }

    /// Stores all writes in one step: they share a position, and are announced together.
    fn write_now(&self, partition: u16, writes: &[Write]) -> Vec<WriteResult> {
        let mut line = self.line(partition);
        let now = self.clock.now();
        let judged: Vec<_> = writes.iter().map(|write| self.judge(&mut line, write, now)).collect();
        let stored = || writes.iter().zip(&judged).filter(|(_, judged)| judged.is_ok()).map(|(write, _)| write);
        let Some(first) = stored().next() else {
            return judged.into_iter().filter_map(Result::err).map(|not_stored| *not_stored).collect();
        };
        line.tagged |= stored().any(|write| !write.entry.tags.is_empty());
        let changed = stored().map(|write| {
            let mut changed = self.changed(&line, &write.key);
            changed.tags = changed.tags.and(&write.entry.tags);
            changed
        });
        let change = Change::of(Effect::Set, first.key.namespace(), changed.collect());
        // An immutable entry is announced only if a caller waits for it.
        let awaited = |write: &Write| self.lease(&line, &write.key, [&write.entry.tags, &Tags::default()]).is_some();
        let version = if first.key.namespace().policy().immutable && !stored().any(awaited) {
            self.position(&line)
        } else {
            self.advance(&mut line, partition, change)
        };
        let done = writes.iter().zip(judged).map(|(write, judged)| match judged {
            Ok(cost) => self.put(&mut line, write, version, cost, now),
            Err(not_stored) => *not_stored,
        });
        done.collect()
    }

    /// Checks a write. Returns the time that filling the entry took.
    fn judge(&self, line: &mut LocalPartition, write: &Write, now: Moment) -> Result<Duration, Box<WriteResult>> {
        let position = self.position(line);
        let request = write.request.clone().map(|request| (write.key.clone(), request));
        if let Some((before, _)) = request.as_ref().and_then(|request| line.requests.get(request, now)) {
            return Err(Box::new(match *before {
                Ok(version) => WriteResult::Repeated { version, position },
                Err((why, current)) => WriteResult::Refused { why, current, position },
            }));
        }
        self.verdict(line, write).map_err(|(why, current)| {
            if let Some(request) = request {
                line.requests.insert(request, Err((why, current)), now.plus(REMEMBERED), now);
            }
            Box::new(WriteResult::Refused { why, current, position })
        })
    }

    fn put(
        &self,
        line: &mut LocalPartition,
        write: &Write,
        version: Version,
        cost: Duration,
        now: Moment,
    ) -> WriteResult {
        let key = &write.key;
        line.leases.remove(key);
        if write.entry.source_version.is_none() {
            self.remember_source(line, key, now);
        }
        let entry = Entry::written(&write.entry, version, cost, now);
        let note = self.coherence.begin_fill(key.as_ref());
        let held = coherence::cached_entry(entry.clone(), version, note, now, key.namespace());
        let inserted = insert_within_quota(&*self.l1, key, &held, || self.sweep.make_room(key, line) > 0);
        if let Err(why) = inserted {
            return WriteResult::Failed(why.into());
        }
        if let Some(request) = write.request.clone() {
            line.requests.insert((key.clone(), request), Ok(version), now.plus(REMEMBERED), now);
        }
        WriteResult::Stored(entry)
    }

    /// Remembers the version of the source of an entry that is about to be removed.
    fn remember_source(&self, line: &mut LocalPartition, key: &Key, now: Moment) {
        if let Some(source) = self.l1.get(key.as_ref()).and_then(|held| held.entry.source_version) {
            line.remember_source(key, source, now);
        }
    }

    /// Checks the conditions of `write`. Returns the time that filling the entry took.
    fn verdict(&self, line: &LocalPartition, write: &Write) -> Result<Duration, (ConditionFailure, Option<Version>)> {
        let now = self.clock.now();
        let stored = self.l1.get(write.key.as_ref());
        let remembered = line.sources.get(&write.key, now).map(|(source, _)| *source);
        let source = stored.as_ref().and_then(|held| held.entry.source_version).max(remembered);
        let old_tags = stored.as_ref().map(|held| held.entry.tags.clone()).unwrap_or_default();
        if write.entry.source_version.is_some() && write.entry.source_version < source {
            return Err((ConditionFailure::SourceVersionOlder, stored.map(|held| held.entry.version)));
        }
        let current = self.live(write.key.as_ref()).map(|held| held.entry.version);
        if write.key.namespace().policy().immutable && current.is_some() {
            return Err((ConditionFailure::AlreadyPresent, current));
        }
        let holds = |condition, why| if condition { Ok(Duration::ZERO) } else { Err((why, current)) };
        match write.condition {
            Condition::None => Ok(Duration::ZERO),
            Condition::Absent => holds(current.is_none(), ConditionFailure::AlreadyPresent),
            Condition::Present => holds(current.is_some(), ConditionFailure::NotPresent),
            Condition::Version(version) => holds(current == Some(version), ConditionFailure::VersionMismatch),
            Condition::Lease(id) => match self.lease(line, &write.key, [&write.entry.tags, &old_tags]) {
                Some((lease, _)) if lease.id == Some(id) => Ok(now.since(lease.granted_at)),
                _ => Err((ConditionFailure::LeaseVoid, None)),
            },
        }
    }

    fn remove_now(&self, partition: u16, removals: &[Removal], mode: Mode) -> RemoveResult {
        let mut line = self.line(partition);
        let now = self.clock.now();
        let mut removed = Vec::with_capacity(removals.len());
        for Removal { key, source_version } in removals {
            removed.push(self.live(key.as_ref()).is_some());
            line.leases.remove(key);
            let source = self.l1.get(key.as_ref()).and_then(|held| held.entry.source_version);
            let remembered = line.sources.get(key, now).map(|(source, _)| *source);
            if let Some(source) = source.max(*source_version).max(remembered) {
                line.remember_source(key, source, now);
            }
        }
        let changed: Vec<_> = removals.iter().map(|removal| self.changed(&line, &removal.key)).collect();
        let Some(namespace) = removals.first().map(|removal| removal.key.namespace()) else {
            return RemoveResult { version: self.position(&line), removed };
        };
        let version = self.advance(&mut line, partition, Change::of(mode.effect(), namespace, changed));
        RemoveResult { version, removed }
    }

    fn touch_now(&self, key: &Key, touch: Touch) -> Touched {
        let partition = self.coherence.partition_of(key.as_ref());
        let mut line = self.line(partition);
        let now = self.clock.now();
        let Some(held) = self.live(key.as_ref()) else {
            return Touched { position: self.position(&line), entry: None };
        };
        let before = &held.entry;
        let (change, expires_at) = touch.of(before, now);
        if change != TtlChange::Unchanged {
            if change == TtlChange::Shortened {
                let changed = vec![self.changed(&line, key)];
                self.advance(&mut line, partition, Change::of(Effect::Shortened, key.namespace(), changed));
            }
            let entry = Entry { expires_at, kept_until: expires_at.plus(before.stale_window), ..before.clone() };
            let position = self.position(&line);
            let note = self.coherence.begin_fill(key.as_ref());
            // If L1 refuses it, the entry is lost, as any entry may be at any time.
            let _ = self.l1.insert(key.clone(), coherence::cached_entry(entry, position, note, now, key.namespace()));
        }
        let entry = Some(TouchedEntry { version: before.version, change, expires_at });
        Touched { position: self.position(&line), entry }
    }

    fn acquire_now(&self, key: &Key, claim: LeaseClaim) -> Acquired {
        let partition = self.coherence.partition_of(key.as_ref());
        let mut line = self.line(partition);
        let now = self.clock.now();
        if self.live(key.as_ref()).is_some_and(|held| Some(held.entry.version) != claim.seen) {
            return Acquired::Present;
        }
        match self.lease(&line, key, [&Tags::default(); 2]) {
            Some((LocalLease { id: Some(_), .. }, expires_at)) => return Acquired::Held(expires_at.since(now)),
            Some((LocalLease { id: None, .. }, expires_at)) => return Acquired::Paused(expires_at.since(now)),
            None => {}
        }
        let lease = LocalLease { id: Some(claim.lease), granted_at: now, position: self.position(&line) };
        line.leases.insert(key.clone(), lease, now.plus(claim.duration), now);
        Acquired::Granted
    }

    fn release_now(&self, key: &Key, back: LeaseRelease) -> bool {
        let partition = self.coherence.partition_of(key.as_ref());
        let mut line = self.line(partition);
        let now = self.clock.now();
        let lease = self.lease(&line, key, [&Tags::default(); 2]);
        let held = lease.is_some_and(|(lease, _)| lease.id == Some(back.lease));
        if held {
            line.leases.remove(key);
            if !back.pause.is_zero() {
                let pause = LocalLease { id: None, granted_at: now, position: self.position(&line) };
                line.leases.insert(key.clone(), pause, now.plus(back.pause), now);
            }
        }
        drop(line);
        if held {
            self.coherence.released(key.namespace().name().as_bytes(), key.bytes(), back.failed);
        }
        held
    }
}

impl L2 for Local {
    fn read<'a>(&'a self, key: &'a Key, _: Timeout) -> BoxFuture<'a, Result<ReadResult, L2Error>> {
        Box::pin(async move {
            let partition = self.coherence.partition_of(key.as_ref());
            let position = self.position(&self.line(partition));
            let marked = |held: Arc<CachedEntry>| held.entry.clone().marked_since(held.marked_at());
            if let Some(dead) = self.l1.get(key.as_ref()).filter(|held| self.coherence.covers(key.as_ref(), held)) {
                self.sweep.remove(key, &dead);
            }
            let entry = self.stored_entry(key.as_ref()).map(marked);
            Ok(ReadResult { position, entry })
        })
    }

    fn write<'a>(
        &'a self,
        partition: u16,
        writes: &'a [Write],
        _: u64,
        _: Timeout,
    ) -> BoxFuture<'a, Result<Vec<WriteResult>, L2Error>> {
        Box::pin(async move { Ok(self.write_now(partition, writes)) })
    }

    fn remove<'a>(
        &'a self,
        partition: u16,
        removals: &'a [Removal],
        mode: Mode,
        _: u64,
        _: Moment,
    ) -> BoxFuture<'a, Result<RemoveResult, L2Error>> {
        Box::pin(async move { Ok(self.remove_now(partition, removals, mode)) })
    }

    fn invalidate<'a>(
        &'a self,
        partition: u16,
        namespace: &'a Arc<Namespace>,
        selectors: &'a [Selector],
        mode: Mode,
        _: u64,
        _: Moment,
    ) -> BoxFuture<'a, Result<Version, L2Error>> {
        Box::pin(async move {
            let patterns = || selectors.iter().filter(|selector| matches!(selector, Selector::Pattern(_)));
            if !patterns().all(|pattern| namespace.invalidation_log().has_room_for(pattern.bytes())) {
                return Err(L2Error::TooMany { what: "active patterns", limit: MAX_PATTERNS });
            }
            let change = Change::of_selected(mode.effect(), namespace, selectors);
            let version = self.advance(&mut self.line(partition), partition, change);
            self.sweep.want(namespace);
            Ok(version)
        })
    }

    fn touch<'a>(&'a self, key: &'a Key, touch: Touch, _: Moment) -> BoxFuture<'a, Result<Touched, L2Error>> {
        Box::pin(async move { Ok(self.touch_now(key, touch)) })
    }

    fn acquire<'a>(&'a self, key: &'a Key, claim: LeaseClaim, _: Moment) -> BoxFuture<'a, Result<Acquired, L2Error>> {
        Box::pin(async move { Ok(self.acquire_now(key, claim)) })
    }

    fn release<'a>(&'a self, key: &'a Key, back: LeaseRelease, _: Moment) -> BoxFuture<'a, Result<bool, L2Error>> {
        Box::pin(async move { Ok(self.release_now(key, back)) })
    }

    fn inspect<'a>(&'a self, key: &'a Key, _: Moment) -> BoxFuture<'a, Result<Inspected, L2Error>> {
        Box::pin(async move {
            let partition = self.coherence.partition_of(key.as_ref());
            let (line, now) = (self.line(partition), self.clock.now());
            let lease = self.lease(&line, key, [&Tags::default(); 2]).filter(|(lease, _)| lease.id.is_some());
            let lease = lease.map(|(_, expires_at)| expires_at.since(now));
            Ok(Inspected { position: self.position(&line), stored: None, lease })
        })
    }

    fn shares_l1(&self) -> bool {
        true
    }

    fn report(&self) -> L2Report {
        L2Report::default()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
