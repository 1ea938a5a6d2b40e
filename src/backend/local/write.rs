//! Writes without L2: all of a partition in one step under its lock.

use std::time::Duration;

use super::partition::{LocalPartition, REMEMBERED};
use super::sequencer::Local;
use crate::cache::clock::Moment;
use crate::cache::coherence;
use crate::cache::entry::{Entry, Tags};
use crate::cache::key::Key;
use crate::cache::tier::bus::{Change, Effect};
use crate::cache::tier::{Condition, ConditionFailure, Write, WriteResult, insert_counted};
use crate::cache::version::Version;

// === impl Local ===

impl Local {
    /// Stores all writes in one step: they share a position, and are announced together.
    pub(super) fn write_now(&self, partition: u16, writes: &[Write]) -> Vec<WriteResult> {
        let mut state = self.lock(partition);
        let now = self.clock.now();
        let judged: Vec<_> = writes.iter().map(|write| self.judge(&mut state, write, now)).collect();
        let stored = || writes.iter().zip(&judged).filter(|(_, judged)| judged.is_ok()).map(|(write, _)| write);
        let Some(first) = stored().next() else {
            return judged.into_iter().filter_map(Result::err).map(|not_stored| *not_stored).collect();
        };
        state.tagged |= stored().any(|write| !write.entry.tags.is_empty());
        let changed = stored().map(|write| {
            let mut changed = self.changed(&state, &write.key);
            changed.tags = changed.tags.and(&write.entry.tags);
            changed
        });
        let change = Change::of(Effect::Set, first.key.namespace(), changed.collect());
        // An immutable entry is announced only if a caller waits for it.
        let awaited = |write: &Write| self.lease(&state, &write.key, [&write.entry.tags, &Tags::default()]).is_some();
        let version = if first.key.namespace().policy().immutable && !stored().any(awaited) {
            self.position(&state)
        } else {
            self.advance(&mut state, partition, change)
        };
        let done = writes.iter().zip(judged).map(|(write, judged)| match judged {
            Ok(cost) => self.put(&mut state, write, version, cost, now),
            Err(not_stored) => *not_stored,
        });
        done.collect()
    }

    /// Checks a write. Returns the time that filling the entry took.
    fn judge(&self, state: &mut LocalPartition, write: &Write, now: Moment) -> Result<Duration, Box<WriteResult>> {
        let position = self.position(state);
        let request = write.request.clone().map(|request| (write.key.clone(), request));
        if let Some((before, _)) = request.as_ref().and_then(|request| state.requests.get(request, now)) {
            return Err(Box::new(match *before {
                Ok(version) => WriteResult::Repeated { version, position },
                Err((why, current)) => WriteResult::Refused { why, current, position },
            }));
        }
        self.verdict(state, write).map_err(|(why, current)| {
            if let Some(request) = request {
                state.requests.insert(request, Err((why, current)), now.plus(REMEMBERED), now);
            }
            Box::new(WriteResult::Refused { why, current, position })
        })
    }

    fn put(
        &self,
        state: &mut LocalPartition,
        write: &Write,
        version: Version,
        cost: Duration,
        now: Moment,
    ) -> WriteResult {
        let key = &write.key;
        state.leases.remove(key);
        if write.entry.source_version.is_none() {
            self.remember_source(state, key, now);
        }
        let entry = Entry::written(&write.entry, version, cost, now);
        let note = self.coherence.begin_fill(key.as_ref());
        let held = coherence::cached_entry(entry.clone(), version, note, now, key.namespace());
        if let Err(why) = insert_counted(&*self.l1, key, &held) {
            return WriteResult::Failed(why.into_error(key.namespace()));
        }
        if let Some(request) = write.request.clone() {
            state.requests.insert((key.clone(), request), Ok(version), now.plus(REMEMBERED), now);
        }
        WriteResult::Stored(entry)
    }

    /// Remembers the version of the source of an entry that is about to be removed.
    fn remember_source(&self, state: &mut LocalPartition, key: &Key, now: Moment) {
        if let Some(source) = self.kept(key.as_ref(), now).and_then(|held| held.entry.source_version) {
            state.remember_source(key, source, now);
        }
    }

    /// Checks the conditions of `write`. Returns the time that filling the entry took.
    fn verdict(&self, state: &LocalPartition, write: &Write) -> Result<Duration, (ConditionFailure, Option<Version>)> {
        let now = self.clock.now();
        let stored = self.kept(write.key.as_ref(), now);
        let remembered = state.sources.get(&write.key, now).map(|(source, _)| *source);
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
            Condition::Lease(id) => match self.lease(state, &write.key, [&write.entry.tags, &old_tags]) {
                Some((lease, _)) if lease.id == Some(id) => Ok(now.since(lease.granted_at)),
                _ => Err((ConditionFailure::LeaseVoid, None)),
            },
        }
    }
}
