//! What the replicas of a deployment tell each other beside entries, kept in the shared tier. Small, and under no promise of freshness.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::cache::clock::Moment;
use crate::cache::tier::{BoxFuture, L2Error};

/// The board that every replica reads and writes.
pub trait SharedStore: Send + Sync + 'static {
    /// Leaves what this replica says of itself, for `lifetime`. It replaces what it left before.
    fn publish_note(&self, note: Bytes, lifetime: Duration, until: Moment) -> BoxFuture<'_, Result<(), L2Error>>;
    /// What the other replicas have left, each for `lifetime`: of at most 256 of them.
    fn notes(&self, lifetime: Duration, until: Moment) -> BoxFuture<'_, Result<Vec<ReplicaNote>, L2Error>>;
    /// Saves the list of the keys read most, for `lifetime`. It replaces that of any replica.
    fn save_hot_keys(&self, list: Bytes, lifetime: Duration, until: Moment) -> BoxFuture<'_, Result<(), L2Error>>;
    /// The list of the keys read most, which was saved for `lifetime`.
    fn hot_keys(&self, lifetime: Duration, until: Moment) -> BoxFuture<'_, Result<Option<ReplicaNote>, L2Error>>;
    /// Searches a small part of the shared tier for keys, whose entries may have expired or been invalidated.
    fn scan_keys<'a>(&'a self, scan: KeyScan<'a>, until: Moment) -> BoxFuture<'a, Result<ScannedKeys, L2Error>>;
    /// What is set, when that is of another revision than `known`. When what is set is older than `known`, it was lost: `known` is set again.
    fn settings<'a>(&'a self, known: &'a Settings, until: Moment) -> BoxFuture<'a, Result<Option<Settings>, L2Error>>;
    /// Sets fields, or takes them back where there is no value, all in one step; what is set then.
    fn set<'a>(
        &'a self,
        known: &'a Settings,
        fields: &'a [(String, Option<String>)],
        until: Moment,
    ) -> BoxFuture<'a, Result<Settings, L2Error>>;
}

/// A search for keys of one namespace.
#[derive(Clone, Copy, Debug)]
pub struct KeyScan<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The beginning that the keys share.
    pub begin: &'a str,
    /// Where to go on.
    pub at: &'a ScanPosition,
}

/// How far a search has come: through so many primaries, and up to a cursor of the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPosition {
    /// Number of primaries searched to the end.
    pub primary: usize,
    /// The cursor; empty at the beginning.
    pub cursor: String,
}

/// One step of a search.
#[derive(Debug, Default)]
pub struct ScannedKeys {
    /// Keys that were found. One may be found twice.
    pub keys: Vec<Bytes>,
    /// Where to go on. `None` at the end.
    pub next: Option<ScanPosition>,
}

/// What was left on the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaNote {
    /// What it says.
    pub text: Bytes,
    /// How long ago it was left.
    pub age: Duration,
}

/// What is set on the board.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Grows with every change; 0 before the first.
    pub revision: u64,
    /// Values by field.
    pub fields: BTreeMap<String, String>,
}

/// Most fields that may be set.
pub const MAX_SETTINGS: usize = 10_000;
