//! Service without L2: the entries live in L1 only, and a local store gives changes their order.

use std::sync::Arc;

use futures_util::future::join_all;

use super::replica_parts::ReplicaParts;
use super::types::SetAnswer;
use crate::cache::clock::Moment;
use crate::cache::coherence;
use crate::cache::coherence::FillGuard;
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::Key;
use crate::cache::namespace::Namespace;
use crate::cache::single_flight::{FetchResult, Fetched};
use crate::cache::tier::{CallContext, L2Error, Mode, ReadResult, TierStore, Timeout, Write};
use crate::cache::version::Version;

/// The store of a replica without L2. It applies its changes to L1 itself.
pub(super) struct Standalone {
    store: Arc<dyn TierStore>,
    parts: ReplicaParts,
}

// === impl Standalone ===

impl Standalone {
    pub fn new(store: Arc<dyn TierStore>, parts: ReplicaParts) -> Standalone {
        Standalone { store, parts }
    }

    pub fn store(&self) -> &Arc<dyn TierStore> {
        &self.store
    }

    /// Reads one key.
    pub async fn read(&self, key: &Key, timeout: Timeout) -> FetchResult {
        let context = self.begin_read(key);
        Ok(fetched(key, context, self.store.read(key, timeout).await?))
    }

    /// Reads many keys of one namespace, in their order.
    pub async fn read_many(&self, keys: &[Key], timeout: Timeout) -> Vec<FetchResult> {
        let contexts: Vec<_> = keys.iter().map(|key| self.begin_read(key)).collect();
        let reads = self.store.read_many(keys, timeout).await;
        keys.iter().zip(contexts).zip(reads).map(|((key, context), read)| Ok(fetched(key, context, read?))).collect()
    }

    /// Returns the state of the fence, and the time, before a read.
    fn begin_read(&self, key: &Key) -> (FillGuard, Moment) {
        (self.parts.coherence.begin_fill(key.as_ref()), self.parts.clock.now())
    }

    /// Makes writes of `partition` in one step. Each succeeds or fails on its own.
    pub async fn write(
        &self,
        partition: u16,
        writes: &[Write],
        context: CallContext,
    ) -> Result<Vec<Result<SetAnswer, L2Error>>, L2Error> {
        let written = self.store.write(partition, writes, context).await?;
        Ok(written.into_iter().map(|written| SetAnswer::of(partition, written)).collect())
    }

    /// Invalidates the entries that `selectors` select: one step for each partition.
    pub async fn invalidate(
        &self,
        namespace: &Arc<Namespace>,
        selectors: &[Selector],
        mode: Mode,
        context: CallContext,
    ) -> Vec<Result<(u16, Version), L2Error>> {
        let steps = (0..self.parts.coherence.partitions()).map(|partition| async move {
            Ok((partition, self.store.invalidate(partition, namespace, selectors, mode, context).await?))
        });
        join_all(steps).await
    }
}

/// Converts a read that began with `guard` at `started_at`.
fn fetched(key: &Key, (guard, started_at): (FillGuard, Moment), read: ReadResult) -> Fetched {
    let Some(entry) = read.entry else { return Fetched { position: read.position, held: None } };
    let position = read.position.max(entry.version);
    let held = coherence::cached_entry(entry, position, guard, started_at, key.namespace());
    Fetched { position, held: Some(held) }
}
