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
/// Most keys of a stripe whose last read is remembered. It has to last while a read or a write is
/// in flight.
const MAX_READS_PER_STRIPE: usize = 16;

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
    /// Fetches that a Get may join.
    pub flights: HashMap<Key, Flight>,
    /// Number of the last completed read.
    pub reads: u64,
    shown: Vec<LastRead>,
    /// Number of the last read that was forgotten.
    forgotten: u64,
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
    /// Returns true if nothing newer than `version` was applied since `guard` was taken.
    pub fn admits(&self, guard: FillGuard, version: Version) -> bool {
        self.applied <= guard.applied.max(version)
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
                if self.shown.len() == MAX_READS_PER_STRIPE
                    && let Some(oldest) = (0..MAX_READS_PER_STRIPE).min_by_key(|index| self.shown[*index].number)
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
        self.close(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::coherence::safeguards::Safeguards;
    use crate::cache::testing::Bench;

    #[test]
    fn more_reads_than_a_stripe_remembers_outdate_every_key() {
        let bench = Bench::new(Safeguards::default());
        let (mut stripe, version) = (Stripe::default(), |sequence| Version::new(1, sequence));
        let guard = FillGuard { generation: 0, applied: Version::ZERO, shown: stripe.reads };
        let keys: Vec<Key> = (0..=MAX_READS_PER_STRIPE).map(|number| bench.key(&number.to_string())).collect();
        keys[..MAX_READS_PER_STRIPE].iter().for_each(|key| stripe.show(key.as_ref(), version(1)));
        let other = bench.key("other");
        assert!(!stripe.is_outdated(other.as_ref(), guard, version(1)));
        stripe.show(keys[1].as_ref(), version(2));
        assert!(!stripe.is_outdated(other.as_ref(), guard, version(1)), "that key was remembered");
        stripe.show(keys[MAX_READS_PER_STRIPE].as_ref(), version(1));
        assert!(stripe.is_outdated(other.as_ref(), guard, version(1)), "its reads are forgotten");
        let later = FillGuard { shown: stripe.reads, ..guard };
        assert!(!stripe.is_outdated(keys[1].as_ref(), later, version(1)), "a later request is not older");
    }
}
