//! Fence before L1, and the fetches in flight behind it.
//!
//! Striped by key; a stripe belongs to one partition. Every insert into and removal from L1 happens
//! under the key's stripe; readers never take it.

use std::collections::HashMap;
use std::sync::MutexGuard;

use crate::cache::key::{Key, KeyRef};
use crate::cache::single_flight::Flight;
use crate::cache::version::Version;
use crate::sync::Mutex;

/// Number of stripes over all partitions, approximately.
const STRIPES: usize = 4096;
/// Most keys of a stripe whose last read is remembered, and of those whose last change is. It has to
/// last while a read or a write is in flight.
const REMEMBERED_KEYS: usize = 16;

/// State of the fence before a request to L2. The reply enters L1 only if this state still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FillGuard {
    /// Generation of the partition.
    pub generation: u64,
    /// Highest position applied to the stripe.
    pub applied: Version,
    /// Number of the last completed read of the stripe.
    pub shown: u64,
}

#[derive(Default)]
pub(super) struct Stripe {
    /// Highest position applied to any key of this stripe.
    pub applied: Version,
    changes: Vec<LastChange>,
    /// Highest position of a change that was forgotten.
    forgotten_change: Version,
    /// Fetches that a Get may join.
    pub flights: HashMap<Key, Flight>,
    /// Number of the last completed read.
    pub reads: u64,
    shown: Vec<LastRead>,
    /// Number of the last read that was forgotten.
    forgotten: u64,
}

/// The last change of a key.
struct LastChange {
    digest: u64,
    /// Highest position that was applied to it.
    version: Version,
}

/// The last read of a key.
struct LastRead {
    digest: u64,
    number: u64,
    /// L2 has nothing below this version.
    least: Version,
}

pub(super) struct Fence {
    stripes: Box<[Mutex<Stripe>]>,
    per_partition: usize,
}

impl Fence {
    pub fn new(partitions: u16) -> Self {
        let per_partition = (STRIPES / usize::from(partitions)).max(4);
        let stripes = (0..per_partition * usize::from(partitions)).map(|_| Mutex::default()).collect();
        Fence { stripes, per_partition }
    }

    /// Forgets what was applied to a partition whose counter starts over below it.
    pub fn forget(&self, partition: u16) {
        let first = usize::from(partition) * self.per_partition;
        for stripe in &self.stripes[first..first + self.per_partition] {
            *stripe.lock() = Stripe::default();
        }
    }

    pub fn lock(&self, partition: u16, key: KeyRef<'_>) -> MutexGuard<'_, Stripe> {
        self.stripe(partition, key).lock()
    }

    /// Locks the stripe of `key`. `None` if it is in use.
    pub fn try_lock(&self, partition: u16, key: KeyRef<'_>) -> Option<MutexGuard<'_, Stripe>> {
        self.stripe(partition, key).try_lock()
    }

    fn stripe(&self, partition: u16, key: KeyRef<'_>) -> &Mutex<Stripe> {
        &self.stripes[usize::from(partition) * self.per_partition + key.stripe() % self.per_partition]
    }
}

impl Stripe {
    /// Returns true if nothing newer than `version` was applied to `key` since `guard` was taken.
    pub fn admits(&self, key: KeyRef<'_>, guard: FillGuard, version: Version) -> bool {
        let digest = key.digest();
        let change = self.changes.iter().find(|change| change.digest == digest);
        change.map_or(self.forgotten_change, |change| change.version) <= guard.applied.max(version)
    }

    /// Returns true if a read that completed since `guard` was taken showed that `version` of `key`
    /// is outdated, or may have.
    pub fn is_outdated(&self, key: KeyRef<'_>, guard: FillGuard, version: Version) -> bool {
        let digest = key.digest();
        let shown = self.shown.iter().find(|shown| shown.digest == digest && shown.number > guard.shown);
        self.forgotten > guard.shown || shown.is_some_and(|shown| version < shown.least)
    }

    /// Records a read of `key` that showed nothing in L2 below `least`.
    ///
    /// Later fills are checked against it, and later Gets do not join an earlier fetch.
    pub fn show(&mut self, key: KeyRef<'_>, least: Version) {
        self.reads += 1;
        let (digest, number) = (key.digest(), self.reads);
        match self.shown.iter_mut().find(|shown| shown.digest == digest) {
            Some(shown) => (shown.number, shown.least) = (number, shown.least.max(least)),
            None => {
                if self.shown.len() == REMEMBERED_KEYS
                    && let Some(oldest) = (0..REMEMBERED_KEYS).min_by_key(|index| self.shown[*index].number)
                {
                    self.forgotten = self.shown.swap_remove(oldest).number;
                }
                self.shown.push(LastRead { digest, number, least });
            }
        }
        self.close(key);
    }

    /// Lets no further Get join the fetch of `key` in flight.
    fn close(&mut self, key: KeyRef<'_>) {
        if !self.flights.is_empty() {
            self.flights.remove(&key.to_key());
        }
    }

    /// Records that a change at `version` was applied to `key`.
    ///
    /// Later fills are checked against it, and later Gets do not join an earlier fetch.
    pub fn apply(&mut self, key: KeyRef<'_>, version: Version) {
        self.applied = self.applied.max(version);
        let digest = key.digest();
        match self.changes.iter_mut().find(|change| change.digest == digest) {
            Some(change) => change.version = change.version.max(version),
            // It may have had a newer change, which was forgotten.
            None => self.remember(LastChange { digest, version: version.max(self.forgotten_change) }),
        }
        self.close(key);
    }

    /// Remembers the change of another key. Forgets the oldest change if there are too many.
    fn remember(&mut self, change: LastChange) {
        if self.changes.len() < REMEMBERED_KEYS {
            self.changes.push(change);
        } else if let Some(oldest) = self.changes.iter_mut().min_by_key(|change| change.version) {
            let forgotten = if oldest.version < change.version { std::mem::replace(oldest, change) } else { change };
            self.forgotten_change = self.forgotten_change.max(forgotten.version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::coherence::safeguards::Safeguards;
    use crate::cache::testing::Bench;

    #[test]
    fn a_change_of_another_key_keeps_no_fill_out() {
        let bench = Bench::new(Safeguards::default());
        let (mut stripe, version) = (Stripe::default(), |sequence| Version::new(1, sequence));
        let (key, other) = (bench.key("k"), bench.key("other"));
        let (key, other) = (key.as_ref(), other.as_ref());
        stripe.apply(key, version(3));
        let guard = FillGuard { generation: 0, applied: stripe.applied, shown: 0 };
        stripe.apply(other, version(9));
        assert!(stripe.admits(key, guard, version(4)));
        stripe.apply(key, version(5));
        assert!(!stripe.admits(key, guard, version(4)) && stripe.admits(key, guard, version(5)));
        stripe.apply(key, version(4));
        assert!(!stripe.admits(key, guard, version(4)), "a message that is late changes nothing");
        let later = FillGuard { applied: stripe.applied, ..guard };
        assert!(stripe.admits(key, later, version(4)), "a read from now on finds all changes");
    }

    #[test]
    fn more_changes_than_a_stripe_remembers_keep_out_what_is_older_than_them() {
        let bench = Bench::new(Safeguards::default());
        let (mut stripe, version) = (Stripe::default(), |sequence| Version::new(1, sequence));
        let guard = FillGuard { generation: 0, applied: Version::ZERO, shown: 0 };
        let keys: Vec<Key> = (0..=REMEMBERED_KEYS).map(|number| bench.key(&number.to_string())).collect();
        let apply =
            |stripe: &mut Stripe, number: usize| stripe.apply(keys[number].as_ref(), version(10 + number as u64));
        let other = bench.key("other");
        (0..REMEMBERED_KEYS).for_each(|number| apply(&mut stripe, number));
        assert!(stripe.admits(other.as_ref(), guard, version(1)), "all changes are remembered");
        apply(&mut stripe, REMEMBERED_KEYS);
        assert!(!stripe.admits(other.as_ref(), guard, version(9)), "the oldest change may be of this key");
        assert!(stripe.admits(other.as_ref(), guard, version(10)));
        stripe.apply(keys[0].as_ref(), version(2));
        assert!(!stripe.admits(keys[0].as_ref(), guard, version(9)), "its change was forgotten, and is newer");
    }

    #[test]
    fn more_reads_than_a_stripe_remembers_outdate_every_key() {
        let bench = Bench::new(Safeguards::default());
        let (mut stripe, version) = (Stripe::default(), |sequence| Version::new(1, sequence));
        let guard = FillGuard { generation: 0, applied: Version::ZERO, shown: stripe.reads };
        let keys: Vec<Key> = (0..=REMEMBERED_KEYS).map(|number| bench.key(&number.to_string())).collect();
        keys[..REMEMBERED_KEYS].iter().for_each(|key| stripe.show(key.as_ref(), version(1)));
        let other = bench.key("other");
        assert!(!stripe.is_outdated(other.as_ref(), guard, version(1)));
        stripe.show(keys[1].as_ref(), version(2));
        assert!(!stripe.is_outdated(other.as_ref(), guard, version(1)), "that key was remembered");
        stripe.show(keys[REMEMBERED_KEYS].as_ref(), version(1));
        assert!(stripe.is_outdated(other.as_ref(), guard, version(1)), "its reads are forgotten");
        let later = FillGuard { shown: stripe.reads, ..guard };
        assert!(!stripe.is_outdated(keys[1].as_ref(), later, version(1)), "a later request is not older");
    }
}
