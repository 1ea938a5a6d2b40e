//! Small key-value store that the replicas share, for everything that is not an entry.
//!
//! It is kept in the shared tier, and has no freshness promise.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::cache::clock::Moment;
use crate::cache::tier::{BoxFuture, L2Error};

/// The store that every replica reads and writes.
pub trait SharedStore: Send + Sync + 'static {
    /// Publishes the note of this replica for `lifetime`. It replaces the earlier note.
    fn publish_note(&self, note: Bytes, lifetime: Duration, deadline: Moment) -> BoxFuture<'_, Result<(), L2Error>>;
    /// Returns the notes of the other replicas, each published for `lifetime`, at most 256.
    fn notes(&self, lifetime: Duration, deadline: Moment) -> BoxFuture<'_, Result<Vec<ReplicaNote>, L2Error>>;
    /// Saves the hot-key list for `lifetime`. It replaces the list of any replica.
    fn save_hot_keys(&self, list: Bytes, lifetime: Duration, deadline: Moment) -> BoxFuture<'_, Result<(), L2Error>>;
    /// Returns the hot-key list that was saved for `lifetime`.
    fn hot_keys(&self, lifetime: Duration, deadline: Moment) -> BoxFuture<'_, Result<Option<ReplicaNote>, L2Error>>;
    /// Searches a small part of the shared tier for keys. Their entries may have expired or been
    /// invalidated.
    fn scan_keys<'a>(&'a self, scan: KeyScan<'a>, deadline: Moment) -> BoxFuture<'a, Result<ScannedKeys, L2Error>>;
    /// Returns the settings if their revision differs from `known`. If they are older than `known`,
    /// they were lost: `known` is written again.
    fn settings<'a>(
        &'a self,
        known: &'a Settings,
        deadline: Moment,
    ) -> BoxFuture<'a, Result<Option<Settings>, L2Error>>;
    /// Sets fields, or removes those without a value, in one step. Returns the settings afterwards.
    fn set<'a>(
        &'a self,
        known: &'a Settings,
        fields: &'a [(String, Option<String>)],
        deadline: Moment,
    ) -> BoxFuture<'a, Result<Settings, L2Error>>;
}

/// A search for keys of one namespace.
#[derive(Clone, Copy, Debug)]
pub struct KeyScan<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// Common beginning of the keys.
    pub begin: &'a str,
    /// Position from which to continue.
    pub at: &'a ScanPosition,
}

/// Progress of a search: primaries searched, and a cursor of the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPosition {
    /// Number of primaries searched to the end.
    pub primary: usize,
    /// The cursor. Empty at the beginning.
    pub cursor: String,
}

/// Result of one step of a search.
#[derive(Debug, Default)]
pub struct ScannedKeys {
    /// Keys found. One may be found twice.
    pub keys: Vec<Bytes>,
    /// Position from which to continue. `None` at the end.
    pub next: Option<ScanPosition>,
}

/// A note in the shared store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaNote {
    /// Content of the note.
    pub text: Bytes,
    /// Age of the note.
    pub age: Duration,
}

/// Settings of the fleet in the shared store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Revision, which grows with every change. 0 before the first.
    pub revision: u64,
    /// Values by field.
    pub fields: BTreeMap<String, String>,
}

/// Most fields that may be set.
pub const MAX_SETTINGS: usize = 10_000;
