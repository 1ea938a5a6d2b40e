//! Port of L1: the memory of this replica.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::cache::entry::CachedEntry;
use crate::cache::key::{Key, KeyRef};

/// The memory of this replica.
///
/// A dumb map with a byte limit: it decides what to evict and nothing else. It may forget any entry at any time. The caller orders
/// inserts and removals of one key; `get` runs beside them and takes no lock that all keys share.
pub trait L1: Send + Sync + 'static {
    /// The entry of `key`, whatever its freshness.
    fn get(&self, key: KeyRef<'_>) -> Option<Arc<CachedEntry>>;
    /// Puts an entry, until it has expired and its namespace's stale window has passed, or memory is short. When it is not taken any earlier
    /// entry is gone all the same.
    fn insert(&self, key: Key, held: Arc<CachedEntry>) -> Result<(), NotTaken>;
    /// Removes the entry of `key`.
    fn remove(&self, key: KeyRef<'_>);
    /// Shows every entry that is there all the while, and of others some, until `visit` breaks off.
    fn each(&self, visit: &mut dyn FnMut(&Key, &Arc<CachedEntry>) -> ControlFlow<()>);
    /// What is held.
    fn usage(&self) -> L1Usage;
}

/// Why memory did not take an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// It is too large.
    TooLarge,
    /// Its namespace has no room left, of this many bytes.
    OverQuota(u64),
}

/// What the memory tier holds and has let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct L1Usage {
    /// Entries now; may lag by housekeeping.
    pub entries: u64,
    /// Bytes now, with overhead.
    pub bytes: u64,
    /// Limit of bytes.
    pub max_bytes: u64,
    /// Entries evicted for want of room.
    pub evicted_size: u64,
    /// Entries dropped after their time.
    pub evicted_expired: u64,
    /// Entries removed.
    pub removed: u64,
    /// Entries replaced.
    pub replaced: u64,
    /// Entries too large to be taken.
    pub rejected: u64,
}
