//! The fence on what enters memory, and the fetches in flight behind it. Striped by key; a stripe belongs to one partition.
//! Every insert into and removal from L1 happens under the key's stripe; readers never take it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::version::Version;
use crate::cache::key::{Key, KeyRef};
use crate::cache::single_flight::Flight;

/// Stripes over all partitions, about.
const STRIPES: usize = 4096;

/// What was known before the shared tier was asked. An answer enters memory only if this still stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Generation of the partition.
    pub generation: u64,
    /// Highest position applied to the stripe.
    pub applied: Version,
}

#[derive(Default)]
pub(super) struct Stripe {
    /// Highest position applied to any key of this stripe.
    pub applied: Version,
    /// Fetches that a Get may join.
    pub flights: HashMap<Key, Flight>,
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

    /// Forgets what was applied to a partition: for a number line that starts over below it.
    pub fn forget(&self, partition: u16) {
        let first = usize::from(partition) * self.per_partition;
        for stripe in &self.stripes[first..first + self.per_partition] {
            *stripe.lock().unwrap_or_else(PoisonError::into_inner) = Stripe::default();
        }
    }

    pub fn lock(&self, partition: u16, key: KeyRef<'_>) -> MutexGuard<'_, Stripe> {
        let index = usize::from(partition) * self.per_partition + key.stripe() % self.per_partition;
        self.stripes[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stripe {
    /// Nothing newer than `version` was applied since `note` was taken.
    pub fn admits(&self, note: Note, version: Version) -> bool {
        self.applied <= note.applied.max(version)
    }

    /// Something at `version` was applied to `key`: later fills must know, later Gets must not join an earlier fetch.
    pub fn apply(&mut self, key: KeyRef<'_>, version: Version) {
        self.applied = self.applied.max(version);
        if !self.flights.is_empty() {
            self.flights.remove(&key.to_key());
        }
    }
}
