//! Backing of L1: the tier that replicas share, or none.
//!
//! Every operation asks here, once, whether there is a second tier. If there is, its replies are
//! applied to the coherence of L1 before the operation returns. If there is none, L1 is all there
//! is, and the store has applied its changes itself. A second tier that is switched off at run time
//! is not asked at all: see `l1_only.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::shared_tier::SharedTier;
use super::standalone::Standalone;
use super::types::{SetAnswer, Tier};
use crate::cache::clock::Moment;
use crate::cache::entry::CachedEntry;
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::{Key, KeyRef};
use crate::cache::namespace::Namespace;
use crate::cache::policy::Switches;
use crate::cache::single_flight::FetchResult;
use crate::cache::tier::inspect::Inspected;
use crate::cache::tier::{
    CallContext, FleetBarrier, KeyScan, L2Error, LeaseStore, Mode, ReadResult, Removal, RemoveResult, ScannedKeys,
    Timeout, Touch, Touched, Write,
};
use crate::cache::version::Version;

/// The tier behind L1.
pub(super) enum Backing {
    /// L2, which replicas share. L1 holds copies of its entries.
    Shared(Arc<SharedTier>),
    /// No second tier: the entries live in L1 only.
    Standalone(Standalone),
}

// === impl Backing: facts ===

impl Backing {
    /// Returns the switches that apply if `set` are set. `enabled` is false if no tier is left.
    pub fn switches(&self, set: Switches) -> Switches {
        let Switches { enabled, l1, l2 } = set;
        match self {
            Backing::Shared(_) => Switches { enabled: enabled && (l1 || l2), l1, l2 },
            Backing::Standalone(_) => Switches { enabled: enabled && l1, l1, l2: true },
        }
    }

    /// Returns the tier that answers its reads.
    pub fn tier(&self) -> Tier {
        match self {
            Backing::Shared(_) => Tier::L2,
            Backing::Standalone(_) => Tier::L1,
        }
    }

    /// Returns why this replica must not serve. `None` if it may serve.
    pub fn halted(&self) -> Option<String> {
        match self {
            Backing::Shared(shared) => shared.l2().halted(),
            Backing::Standalone(_) => None,
        }
    }

    /// Returns its leases.
    pub fn leases(&self) -> &dyn LeaseStore {
        match self {
            Backing::Shared(shared) => &**shared.l2(),
            Backing::Standalone(standalone) => &**standalone.store(),
        }
    }
}

// === impl Backing: entries ===

impl Backing {
    /// Reads one key for one caller.
    pub async fn read(&self, key: &Key, timeout: Timeout) -> FetchResult {
        match self {
            Backing::Shared(shared) => shared.read(key, shared.begin_fill(key), timeout).await,
            Backing::Standalone(standalone) => standalone.read(key, timeout).await,
        }
    }

    /// Reads many keys of one namespace for one caller, in their order.
    pub async fn read_many(&self, keys: &[Key], timeout: Timeout) -> Vec<FetchResult> {
        match self {
            Backing::Shared(shared) => shared.read_many(keys, timeout).await,
            Backing::Standalone(standalone) => standalone.read_many(keys, timeout).await,
        }
    }

    /// Searches a small part of its entries for keys.
    pub async fn scan_keys(&self, scan: KeyScan<'_>, deadline: Moment) -> Result<ScannedKeys, L2Error> {
        match self {
            Backing::Shared(shared) => shared.l2().scan_keys(scan, deadline).await,
            Backing::Standalone(standalone) => standalone.store().scan_keys(scan, deadline).await,
        }
    }

    /// Reads many keys of one namespace, in their order, and applies nothing of it to L1.
    pub async fn peek_many(&self, keys: &[Key], timeout: Timeout) -> Vec<Result<ReadResult, L2Error>> {
        match self {
            Backing::Shared(shared) => shared.l2().read_many(keys, timeout).await,
            Backing::Standalone(standalone) => standalone.store().read_many(keys, timeout).await,
        }
    }

    /// Makes writes of `partition` in one step. Each succeeds or fails on its own.
    pub async fn write(
        &self,
        partition: u16,
        writes: &[Write],
        context: CallContext,
    ) -> Result<Vec<Result<SetAnswer, L2Error>>, L2Error> {
        match self {
            Backing::Shared(shared) => shared.write(partition, writes, context).await,
            Backing::Standalone(standalone) => standalone.write(partition, writes, context).await,
        }
    }

    /// Removes keys of `partition` in one step.
    pub async fn remove(
        &self,
        partition: u16,
        removals: &[Removal],
        mode: Mode,
        context: CallContext,
    ) -> Result<RemoveResult, L2Error> {
        match self {
            Backing::Shared(shared) => shared.remove(partition, removals, mode, context).await,
            Backing::Standalone(standalone) => standalone.store().remove(partition, removals, mode, context).await,
        }
    }

    /// Invalidates the entries that `selectors` select: one step for each partition, all
    /// concurrently. Returns the position of each step.
    pub async fn invalidate(
        &self,
        namespace: &Arc<Namespace>,
        selectors: &[Selector],
        mode: Mode,
        context: CallContext,
    ) -> Vec<Result<(u16, Version), L2Error>> {
        match self {
            Backing::Shared(shared) => shared.invalidate(namespace, selectors, mode, context).await,
            Backing::Standalone(standalone) => standalone.invalidate(namespace, selectors, mode, context).await,
        }
    }

    /// Changes the time to live of an entry.
    pub async fn touch(&self, key: &Key, touch: Touch, deadline: Moment) -> Result<Touched, L2Error> {
        match self {
            Backing::Shared(shared) => shared.touch(key, touch, deadline).await,
            Backing::Standalone(standalone) => standalone.store().touch(key, touch, deadline).await,
        }
    }

    /// Removes from L1 an entry that was found to be invalidated.
    pub fn remove_dead(&self, key: KeyRef<'_>, held: &Arc<CachedEntry>) {
        match self {
            Backing::Shared(shared) => shared.remove_dead(key, held),
            // The store removes it: it keeps what L1 knows of the entry.
            Backing::Standalone(_) => {}
        }
    }

    /// Returns what is stored under `key` outside of L1.
    pub async fn inspect(&self, key: &Key, deadline: Moment) -> Result<Inspected, L2Error> {
        match self {
            Backing::Shared(shared) => shared.l2().inspect(key, deadline).await,
            Backing::Standalone(standalone) => standalone.store().inspect(key, deadline).await,
        }
    }

    /// Lists the namespaces of which it may hold anything that another replica stored.
    pub async fn namespaces(&self, deadline: Moment) -> Result<BTreeSet<String>, L2Error> {
        match self {
            Backing::Shared(shared) => shared.l2().namespaces(deadline).await,
            Backing::Standalone(standalone) => standalone.store().namespaces(deadline).await,
        }
    }

    /// Opens a barrier, before the change that has to pass it is made.
    pub fn barrier(&self) -> Box<dyn FleetBarrier + '_> {
        match self {
            Backing::Shared(shared) => shared.l2().barrier(),
            Backing::Standalone(standalone) => standalone.store().barrier(),
        }
    }
}
