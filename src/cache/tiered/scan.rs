//! Search for keys, and reads of entries without side effects, for exports.

use super::cache::Tiered;
use crate::cache::clock::Moment;
use crate::cache::entry::Entry;
use crate::cache::error::CacheError;
use crate::cache::key::Key;
use crate::cache::tier::{KeyScan, L2Error, ReadResult, ScannedKeys, Timeout};

impl Tiered {
    /// Searches a small part of the entries for keys: in L2, or in L1 if there is no L2.
    pub async fn scan_keys(&self, scan: KeyScan<'_>, deadline: Moment) -> Result<ScannedKeys, L2Error> {
        self.0.backing.scan_keys(scan, deadline).await
    }

    /// Reads the live entries of `keys`, all of one namespace, in their order. `None` for a key
    /// without an entry that a Get without conditions would answer as fresh.
    ///
    /// Counts no Gets, fills nothing, and extends no life.
    pub async fn peek_many(&self, keys: &[Key], deadline: Moment) -> Result<Vec<Option<Entry>>, CacheError> {
        let shared = &*self.0;
        let is_on = |key: &Key| {
            let switches = shared.switches(key.namespace());
            switches.enabled && switches.l2
        };
        if !keys.first().is_some_and(is_on) {
            return Ok(vec![None; keys.len()]);
        }
        let until = shared.clock.now().plus(shared.config.read_timeout).min(deadline);
        let reads = shared.backing.peek_many(keys, Timeout { deadline: until, latest: deadline }).await;
        let now = shared.clock.now();
        let entry = |(key, read): (&Key, Result<ReadResult, L2Error>)| {
            let partition = shared.coherence.partition_of(key.as_ref());
            let read = read.map_err(|error| shared.error(error, deadline))?;
            let counts = |entry: &Entry| shared.coherence.counts(partition, entry.version, read.position);
            Ok(read.entry.filter(|entry| entry.lives(now) && counts(entry)))
        };
        keys.iter().zip(reads).map(entry).collect()
    }
}
