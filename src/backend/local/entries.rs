//! Entries without L2: they live in L1, and a step takes effect under the lock of its partition.

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::sequencer::Local;
use crate::cache::clock::Moment;
use crate::cache::coherence;
use crate::cache::entry::{CachedEntry, Entry, Tags};
use crate::cache::invalidation::MAX_PATTERNS;
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::Key;
use crate::cache::namespace::Namespace;
use crate::cache::tier::bus::{Change, Effect};
use crate::cache::tier::inspect::Inspected;
use crate::cache::tier::{
    BoxFuture, CallContext, Current, EntryStore, FleetBarrier, KeyScan, L2Error, Mode, ReadResult, Removal,
    RemoveResult, ScanPosition, ScannedKey, ScannedKeys, Timeout, Touch, Touched, TouchedEntry, TtlChange, Write,
    WriteResult,
};
use crate::cache::version::Version;

// === impl EntryStore ===

impl EntryStore for Local {
    fn read<'a>(&'a self, key: &'a Key, _: Timeout) -> BoxFuture<'a, Result<ReadResult, L2Error>> {
        Box::pin(async move {
            let partition = self.coherence.partition_of(key.as_ref());
            let position = self.position(&self.lock(partition));
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
        _: CallContext,
    ) -> BoxFuture<'a, Result<Vec<WriteResult>, L2Error>> {
        Box::pin(async move { Ok(self.write_now(partition, writes)) })
    }

    fn remove<'a>(
        &'a self,
        partition: u16,
        removals: &'a [Removal],
        mode: Mode,
        _: CallContext,
    ) -> BoxFuture<'a, Result<RemoveResult, L2Error>> {
        Box::pin(async move { Ok(self.remove_now(partition, removals, mode)) })
    }

    fn invalidate<'a>(
        &'a self,
        partition: u16,
        namespace: &'a Arc<Namespace>,
        selectors: &'a [Selector],
        mode: Mode,
        _: CallContext,
    ) -> BoxFuture<'a, Result<Version, L2Error>> {
        Box::pin(async move {
            let patterns = || selectors.iter().filter(|selector| matches!(selector, Selector::Pattern(_)));
            if !patterns().all(|pattern| namespace.invalidation_log().has_room_for(pattern.bytes())) {
                return Err(L2Error::TooMany { what: "active patterns", limit: MAX_PATTERNS });
            }
            let change = Change::of_selected(mode.effect(), namespace, selectors);
            let version = self.advance(&mut self.lock(partition), partition, change);
            self.sweep.want(namespace);
            Ok(version)
        })
    }

    fn namespaces(&self, _: Moment) -> BoxFuture<'_, Result<BTreeSet<String>, L2Error>> {
        Box::pin(ready(Ok(BTreeSet::new())))
    }

    fn scan_keys<'a>(&'a self, scan: KeyScan<'a>, _: Moment) -> BoxFuture<'a, Result<ScannedKeys, L2Error>> {
        Box::pin(ready(Ok(self.scan_now(scan))))
    }

    fn touch<'a>(&'a self, key: &'a Key, touch: Touch, _: Moment) -> BoxFuture<'a, Result<Touched, L2Error>> {
        Box::pin(async move { Ok(self.touch_now(key, touch)) })
    }

    fn current<'a>(&'a self, key: &'a Key, _: Moment) -> BoxFuture<'a, Result<Option<Current>, L2Error>> {
        Box::pin(async move {
            let current = self.live(key.as_ref()).map(|held| {
                let Entry { version, written_at, .. } = held.entry;
                Current { version, written_at, uncertainty: Duration::ZERO }
            });
            Ok(current)
        })
    }

    fn inspect<'a>(&'a self, key: &'a Key, _: Moment) -> BoxFuture<'a, Result<Inspected, L2Error>> {
        Box::pin(async move {
            let partition = self.coherence.partition_of(key.as_ref());
            let (state, now) = (self.lock(partition), self.clock.now());
            let lease = self.lease(&state, key, [&Tags::default(); 2]).filter(|(lease, _)| lease.id.is_some());
            let lease = lease.map(|(_, expires_at)| expires_at.since(now));
            Ok(Inspected { position: self.position(&state), stored: None, lease })
        })
    }

    fn barrier(&self) -> Box<dyn FleetBarrier + '_> {
        Box::new(NoFleet)
    }
}

// === impl Local ===

impl Local {
    /// Searches one part of L1, whatever the number of its keys.
    fn scan_now(&self, scan: KeyScan<'_>) -> ScannedKeys {
        let generation = self.epoch();
        let part = if scan.at.generation == generation { scan.at.part } else { 0 };
        let at = ScanPosition { generation, part, cursor: 0 };
        let Some(entries) = self.l1.part(part) else { return ScannedKeys { at, ..ScannedKeys::default() } };
        let keys = entries.iter().map(|(key, _)| key).filter(|key| {
            let is_wanted = scan.namespace.is_none_or(|name| name == key.namespace().name());
            is_wanted && key.bytes().starts_with(scan.begin.as_bytes())
        });
        let scanned = |key: &Key| ScannedKey {
            namespace: key.namespace().name().into(),
            key: Bytes::copy_from_slice(key.bytes()),
        };
        let next = ScanPosition { generation, part: part + 1, cursor: 0 };
        ScannedKeys { at, keys: keys.map(scanned).collect(), next: Some(next) }
    }

    fn remove_now(&self, partition: u16, removals: &[Removal], mode: Mode) -> RemoveResult {
        let mut state = self.lock(partition);
        let now = self.clock.now();
        let mut removed = Vec::with_capacity(removals.len());
        for Removal { key, source_version } in removals {
            removed.push(self.live(key.as_ref()).is_some());
            state.leases.remove(key);
            let source = self.kept(key.as_ref(), now).and_then(|held| held.entry.source_version);
            let remembered = state.sources.get(key, now).map(|(source, _)| *source);
            if let Some(source) = source.max(*source_version).max(remembered) {
                state.remember_source(key, source, now);
            }
        }
        let changed: Vec<_> = removals.iter().map(|removal| self.changed(&state, &removal.key)).collect();
        let Some(namespace) = removals.first().map(|removal| removal.key.namespace()) else {
            return RemoveResult { version: self.position(&state), removed };
        };
        let version = self.advance(&mut state, partition, Change::of(mode.effect(), namespace, changed));
        RemoveResult { version, removed }
    }

    fn touch_now(&self, key: &Key, touch: Touch) -> Touched {
        let partition = self.coherence.partition_of(key.as_ref());
        let mut state = self.lock(partition);
        let now = self.clock.now();
        let Some(held) = self.live(key.as_ref()) else {
            return Touched { position: self.position(&state), entry: None };
        };
        let before = &held.entry;
        let (change, expires_at) = touch.of(before, now);
        if change != TtlChange::Unchanged {
            if change == TtlChange::Shortened {
                let changed = vec![self.changed(&state, key)];
                self.advance(&mut state, partition, Change::of(Effect::Shortened, key.namespace(), changed));
            }
            let entry = Entry { expires_at, kept_until: expires_at.plus(before.stale_window), ..before.clone() };
            let position = self.position(&state);
            let note = self.coherence.begin_fill(key.as_ref());
            // If L1 refuses it, the entry is lost, as any entry may be at any time.
            let _ = self.l1.insert(key.clone(), coherence::cached_entry(entry, position, note, now, key.namespace()));
        }
        let entry = Some(TouchedEntry { version: before.version, change, expires_at });
        Touched { position: self.position(&state), entry }
    }
}

/// The barrier of a replica that is the whole fleet.
struct NoFleet;

impl FleetBarrier for NoFleet {
    fn ticket(&self) -> u64 {
        0
    }

    fn passed<'a>(&'a self, _: &'a [u16], _: Moment) -> BoxFuture<'a, Result<(), L2Error>> {
        Box::pin(ready(Ok(())))
    }
}
