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
