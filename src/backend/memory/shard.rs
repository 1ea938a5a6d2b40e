//! One shard of L1: a hash table whose slots also say when an entry was last read and when it ends.
//!
//! Eviction and expiry read slots only, one after another in memory, and follow no pointer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;

use super::owners::Owners;
use crate::cache::clock::Moment;
use crate::cache::entry::CachedEntry;
use crate::cache::key::{Key, KeyRef};

/// Highest number of reads that is counted for an entry.
const MAX_READS: u8 = 15;
/// Listed hashes, of entries or not, that a look for entries of one namespace reads at most.
const MAX_LISTED: usize = 64;

/// An entry, and the facts that decide about its eviction.
pub struct Slot {
    key: Arc<[u8]>,
    pub held: Arc<CachedEntry>,
    /// Half of the hash. The other half selects the shard.
    hash: u32,
    /// Time from which it is not kept.
    ends: CoarseTime,
    /// Number of the insert before which it was last read or written.
    used: AtomicU32,
    /// Reads, less those that eviction has forgotten.
    reads: AtomicU8,
    /// Low half of the namespace's id, so that a search for its entries follows no pointer.
    owner: u16,
}

/// A time in steps of 2^27 nanoseconds, a seventh of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CoarseTime(pub(super) u32);

/// How little an entry was used: the entry whose value is highest is evicted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Disuse {
    /// True if its time has passed.
    pub expired: bool,
    unread: u8,
    /// Inserts since its last use.
    age: i32,
}

/// A slot that may be evicted.
pub struct Candidate {
    pub disuse: Disuse,
    pub held: Arc<CachedEntry>,
    pub hash: u32,
}

#[derive(Default)]
pub struct L1Shard {
    slots: HashTable<Slot>,
    owners: Owners,
    /// Bucket at which the next look for expired entries begins.
    hand: usize,
    /// No entry ends before this time.
    next_end: Option<CoarseTime>,
}

// === impl CoarseTime ===

impl CoarseTime {
    /// Returns the last step that has begun at `now`.
    pub fn at(now: Moment) -> CoarseTime {
        CoarseTime(u32::try_from(now.0 >> 27).unwrap_or(u32::MAX - 1))
    }

    /// Returns the first step that begins after `moment`.
    pub fn after(moment: Moment) -> CoarseTime {
        CoarseTime(CoarseTime::at(moment).0.saturating_add(1))
    }
}

// === impl Slot ===

impl Slot {
    /// Creates a slot, used at insert number `used`.
    pub fn new(key: &Key, held: Arc<CachedEntry>, hash: u32, ends: CoarseTime, used: u32) -> Slot {
        let (key, owner) = (key.shared_bytes().clone(), held.namespace.id as u16);
        Slot { key, held, hash, ends, used: AtomicU32::new(used), reads: AtomicU8::new(0), owner }
    }

    /// Returns the bytes of its key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    fn is_of(&self, key: KeyRef<'_>) -> bool {
        let namespace = &self.held.namespace;
        *self.key == *key.bytes && (Arc::ptr_eq(namespace, key.namespace) || namespace.id == key.namespace.id)
    }

    /// Records a read before insert number `now`.
    fn touch(&self, now: u32, counts_reads: bool) {
        // Stores only what changes: a slot that is read often stays in the caches of all cores.
        if self.used.load(Relaxed) != now {
            self.used.store(now, Relaxed);
        }
        if counts_reads {
            let reads = self.reads.load(Relaxed);
            if reads < MAX_READS {
                self.reads.store(reads + 1, Relaxed);
            }
        }
    }

    fn disuse(&self, now: u32, time: CoarseTime) -> Disuse {
        // Below zero if it was used since `now` was read.
        let age = now.wrapping_sub(self.used.load(Relaxed)) as i32;
        let unread = MAX_READS - self.reads.load(Relaxed);
        Disuse { expired: self.ends <= time, unread, age: age.max(0) }
    }
}

// === impl L1Shard ===

impl L1Shard {
    /// Returns the entry of `key`, and records the read.
    pub fn get(&self, key: KeyRef<'_>, hash: u32, now: u32, counts_reads: bool) -> Option<&Arc<CachedEntry>> {
        let slot = self.slots.find(spread(hash), |slot| slot.hash == hash && slot.is_of(key))?;
        slot.touch(now, counts_reads);
        Some(&slot.held)
    }

    /// Inserts an entry, and returns the one that it replaces.
    pub fn insert(&mut self, key: KeyRef<'_>, slot: Slot) -> Option<Slot> {
        self.next_end = Some(self.next_end.map_or(slot.ends, |next| next.min(slot.ends)));
        let is_same = |other: &Slot| other.hash == slot.hash && other.is_of(key);
        match self.slots.entry(spread(slot.hash), is_same, |slot| spread(slot.hash)) {
            TableEntry::Occupied(mut old) => {
                // It is as often read as the entry before it.
                slot.reads.store(old.get().reads.load(Relaxed), Relaxed);
                Some(std::mem::replace(old.get_mut(), slot))
            }
            TableEntry::Vacant(place) => {
                let (namespace, hash) = (slot.held.namespace.id, slot.hash);
                place.insert(slot);
                let slots = &self.slots;
                self.owners.add(namespace, hash, |hash| find_owned(slots, namespace, hash).is_some());
                None
            }
        }
    }

    /// Removes the entry of `key`.
    pub fn remove(&mut self, key: KeyRef<'_>, hash: u32) -> Option<Slot> {
        self.take(hash, |slot| slot.is_of(key))
    }

    /// Removes `held`, unless another has replaced it.
    pub fn remove_exactly(&mut self, held: &Arc<CachedEntry>, hash: u32) -> Option<Slot> {
        self.take(hash, |slot| Arc::ptr_eq(&slot.held, held))
    }

    fn take(&mut self, hash: u32, is_it: impl Fn(&Slot) -> bool) -> Option<Slot> {
        let found = self.slots.find_entry(spread(hash), |slot| slot.hash == hash && is_it(slot)).ok()?;
        let slot = found.remove().0;
        self.owners.remove(slot.held.namespace.id);
        Some(slot)
    }

    /// Returns copies of all keys and entries that have not ended at `time`.
    pub fn copy(&self, time: CoarseTime) -> Vec<(Key, Arc<CachedEntry>)> {
        let kept = self.slots.iter().filter(|slot| slot.ends > time);
        kept.map(|slot| (Key::new(slot.held.namespace.clone(), slot.key.clone()), slot.held.clone())).collect()
    }

    /// Looks at `most` slots from bucket `start` on. Returns the one to be evicted first, and how
    /// many were looked at.
    ///
    /// With `forget`, half of the reads of the first slot are forgotten: so entries that are no longer
    /// read do not stay.
    pub fn candidate(
        &self,
        start: usize,
        most: usize,
        now: (u32, CoarseTime),
        forget: bool,
    ) -> (Option<Candidate>, usize) {
        let buckets = self.slots.num_buckets();
        let from = if buckets == 0 { 0 } else { start % buckets };
        let sample = (from..buckets).chain(0..from).filter_map(|bucket| self.slots.get_bucket(bucket)).take(most);
        least_used(sample, now, forget)
    }

    /// Looks at `most` slots of the entries of `namespace`, as `candidate` does. They are spread over
    /// the order of the inserts, so that old and young ones are compared.
    pub fn candidate_of(
        &self,
        namespace: u32,
        start: usize,
        most: usize,
        now: (u32, CoarseTime),
        forget: bool,
    ) -> (Option<Candidate>, usize) {
        let hashes = self.owners.hashes(namespace);
        let read = hashes.len().min(MAX_LISTED);
        // Steps of the golden section spread any number of places evenly.
        let step =
            if hashes.len() <= MAX_LISTED { 1 } else { hashes.len() / 1000 * 618 + hashes.len() % 1000 * 618 / 1000 };
        let at = |number: usize| hashes[(start % hashes.len() + number * step) % hashes.len()];
        let sample = (0..read).filter_map(|number| find_owned(&self.slots, namespace, at(number))).take(most);
        least_used(sample, now, forget)
    }

    /// Removes the entries that have ended at `time` from the next `most` buckets.
    pub fn sweep(&mut self, time: CoarseTime, most: usize) -> Vec<Slot> {
        let mut ended = Vec::new();
        for _ in 0..most.min(self.slots.num_buckets()) {
            self.hand = if self.hand + 1 < self.slots.num_buckets() { self.hand + 1 } else { 0 };
            let is_ended = self.slots.get_bucket(self.hand).is_some_and(|slot| slot.ends <= time);
            if is_ended && let Ok(slot) = self.slots.get_bucket_entry(self.hand) {
                let slot = slot.remove().0;
                self.owners.remove(slot.held.namespace.id);
                ended.push(slot);
            }
        }
        ended
    }

    /// Removes all entries that have ended at `time`. Returns how many buckets were looked at.
    pub fn sweep_all(&mut self, time: CoarseTime) -> (Vec<Slot>, usize) {
        if self.next_end.is_none_or(|next| next > time) {
            return (Vec::new(), 0);
        }
        let ended: Vec<Slot> = self.slots.extract_if(|slot| slot.ends <= time).collect();
        ended.iter().for_each(|slot| self.owners.remove(slot.held.namespace.id));
        self.next_end = self.slots.iter().map(|slot| slot.ends).min();
        (ended, self.slots.num_buckets())
    }
}

/// Returns the slot to be evicted first, and how many were looked at. With `forget`, half of the
/// reads of the first slot are forgotten.
fn least_used<'a>(
    sample: impl Iterator<Item = &'a Slot>,
    now: (u32, CoarseTime),
    forget: bool,
) -> (Option<Candidate>, usize) {
    let (mut first, mut looked_at) = (None::<(Disuse, &Slot)>, 0);
    for slot in sample {
        if looked_at == 0 && forget {
            slot.reads.store(slot.reads.load(Relaxed) / 2, Relaxed);
        }
        looked_at += 1;
        let disuse = slot.disuse(now.0, now.1);
        if first.is_none_or(|(most, _)| disuse > most) {
            first = Some((disuse, slot));
        }
    }
    let candidate = |(disuse, slot): (Disuse, &Slot)| Candidate { disuse, held: slot.held.clone(), hash: slot.hash };
    (first.map(candidate), looked_at)
}

/// Returns a slot of an entry of `namespace` with this hash.
fn find_owned(slots: &HashTable<Slot>, namespace: u32, hash: u32) -> Option<&Slot> {
    slots.find(spread(hash), |slot| slot.hash == hash && slot.owner == namespace as u16)
}

/// Spreads half a hash over all bits: the table takes its buckets from the low and its control
/// bytes from the high ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
