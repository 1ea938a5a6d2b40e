//! The number line of a service that runs with no Redis: entries live in this replica's L1 and nowhere else.
//!
//! A write is one step under its partition's lock: condition, sequence, announcement to coherence, insert. The announcement comes first, so
//! that the insert is the newest thing memory has heard of. Nothing else inserts here, so the partition's lock stands for the fence's stripe.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use crate::cache::clock::{Clock, Moment};
use crate::cache::coherence::message::{BusSink, Change, Message};
use crate::cache::coherence::version::Version;
use crate::cache::coherence::{self, Coherence};
use crate::cache::entry::{Entry, Held, NewEntry};
use crate::cache::key::{Key, KeyRef};
use crate::cache::namespace::Namespace;
use crate::cache::tier::{BoxFuture, Condition, L1, L2, L2Error, L2Report, Read, Removed, Written};

/// The shared tier of one replica alone.
pub struct Local {
    epoch: u64,
    lines: Box<[Mutex<u64>]>,
    l1: Arc<dyn L1>,
    coherence: Arc<Coherence>,
    clock: Arc<dyn Clock>,
}

// === impl Local ===

impl Local {
    /// A new life of every number line. Proves coherence for good: there is nobody else to hear of.
    pub fn new(l1: Arc<dyn L1>, coherence: Arc<Coherence>, clock: Arc<dyn Clock>) -> Local {
        let micros = clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let epoch = u64::try_from(micros).unwrap_or(1).max(1);
        coherence.prove_forever(Version::new(epoch, 0));
        let lines = (0..coherence.partitions()).map(|_| Mutex::new(0)).collect();
        Local { epoch, lines, l1, coherence, clock }
    }

    fn line(&self, partition: u16) -> MutexGuard<'_, u64> {
        self.lines[usize::from(partition)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self, key: KeyRef<'_>, partition: u16) -> Option<Arc<Held>> {
        let alive = |held: &Arc<Held>| {
            self.clock.now() < held.entry.expires_at && !held.namespace.has_invalidated(partition, held.entry.version)
        };
        self.l1.get(key).filter(alive)
    }

    /// Takes the next sequence and announces what changes.
    fn advance(&self, line: &mut u64, partition: u16, change: Change) -> Version {
        *line += 1;
        let version = Version::new(self.epoch, *line);
        self.coherence.apply(Message { partition, version, change, own: true });
        version
    }

    fn write_now(&self, key: &Key, new: &NewEntry, condition: Condition) -> Result<Written, L2Error> {
        let partition = self.coherence.partition_of(key.as_ref());
        let mut line = self.line(partition);
        let current = self.live(key.as_ref(), partition).map(|held| held.entry.version);
        if !condition.holds(current) {
            return Ok(Written::Refused { current, position: Version::new(self.epoch, *line) });
        }
        let version = self.advance(&mut line, partition, Change::of_keys(std::slice::from_ref(key)));
        let now = self.clock.now();
        let entry = Entry {
            version,
            content: new.content.clone(),
            content_type: new.content_type.clone(),
            written_at: now,
            expires_at: now.plus(new.ttl),
        };
        let note = self.coherence.note(key.as_ref());
        let held = coherence::held(entry.clone(), version, note, now, key.namespace());
        match self.l1.insert(key.clone(), held) {
            true => Ok(Written::Stored(entry)),
            false => Err(L2Error::Full),
        }
    }

    fn remove_now(&self, partition: u16, keys: &[Key]) -> Removed {
        let mut line = self.line(partition);
        let removed = keys.iter().filter(|key| self.live(key.as_ref(), partition).is_some()).count() as u64;
        Removed { version: self.advance(&mut line, partition, Change::of_keys(keys)), removed }
    }
}

impl L2 for Local {
    fn read<'a>(&'a self, key: &'a Key, _: Moment) -> BoxFuture<'a, Result<Read, L2Error>> {
        Box::pin(async move {
            let partition = self.coherence.partition_of(key.as_ref());
            let position = Version::new(self.epoch, *self.line(partition));
            let entry = self.live(key.as_ref(), partition).map(|held| held.entry.clone());
            Ok(Read { position, entry })
        })
    }

    fn write<'a>(
        &'a self,
        key: &'a Key,
        entry: &'a NewEntry,
        condition: Condition,
        _: u64,
        _: Moment,
    ) -> BoxFuture<'a, Result<Written, L2Error>> {
        Box::pin(async move { self.write_now(key, entry, condition) })
    }

    fn remove<'a>(
        &'a self,
        partition: u16,
        keys: &'a [Key],
        _: u64,
        _: Moment,
    ) -> BoxFuture<'a, Result<Removed, L2Error>> {
        Box::pin(async move { Ok(self.remove_now(partition, keys)) })
    }

    fn remove_namespace<'a>(
        &'a self,
        partition: u16,
        namespace: &'a Arc<Namespace>,
        _: u64,
        _: Moment,
    ) -> BoxFuture<'a, Result<Version, L2Error>> {
        Box::pin(async move {
            let change = Change::Namespace(namespace.name().to_owned().into());
            Ok(self.advance(&mut self.line(partition), partition, change))
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
