//! `Tiered`, the two-tier cache of one replica: its parts, and what is read of them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backing::Backing;
use super::replica_parts::ReplicaParts;
use super::shared_tier::SharedTier;
use super::sliding::SlidingExtensions;
use super::standalone::Standalone;
use crate::cache::clock::Clock;
use crate::cache::coherence::Coherence;
use crate::cache::coherence::self_audit;
use crate::cache::coherence::self_audit::{Sampler, SelfAuditLimits};
use crate::cache::coherence::watch::{Watch, Watching};
use crate::cache::error::CacheError;
use crate::cache::key::Key;
use crate::cache::lease::Leases;
use crate::cache::namespace::Namespace;
use crate::cache::policy::Switches;
use crate::cache::stats::hot_keys::{HotKey, HotKeys};
use crate::cache::stats::{Latencies, LeaseCounters, SelfAuditCounters};
use crate::cache::tier::{EntryStore, L1, L2, TierStore};

/// Interval between two checks for the proof of L1.
const PROOF_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Configuration of the cache.
#[derive(Clone, Copy, Debug)]
pub struct TieredConfig {
    /// Initial switches of the whole service.
    pub switches: Switches,
    /// Timeout of a read of the shared tier.
    pub read_timeout: Duration,
    /// Timeout of a write to the shared tier.
    pub write_timeout: Duration,
    /// Number of fresh L1 hits per self-audit. 0: no self-audit.
    pub self_audit_every: u64,
    /// Number of keys tracked for the hot-key list.
    pub hot_key_capacity: usize,
}

/// The cache of one replica. Clones share it.
#[derive(Clone)]
pub struct Tiered(pub(super) Arc<TieredInner>);

pub(super) struct TieredInner {
    pub(super) config: TieredConfig,
    pub(super) switches: Arc<ArcSwap<Switches>>,
    pub(super) l1: Arc<dyn L1>,
    pub(super) backing: Backing,
    pub(super) coherence: Arc<Coherence>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) latencies: Arc<Latencies>,
    pub(super) sampler: Sampler,
    pub(super) hot_keys: HotKeys,
    pub(super) leases: Leases,
    pub(super) sliding: SlidingExtensions,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Cancelled at drain: Gets stop waiting for leases held by others.
    pub(super) draining: CancellationToken,
}

// === impl Tiered ===

impl Tiered {
    /// Creates a cache over L1 and an L2 that replicas share. With a self-audit it has to be called
    /// inside a runtime.
    pub fn new(
        config: TieredConfig,
        l1: Arc<dyn L1>,
        l2: Arc<dyn L2>,
        coherence: Arc<Coherence>,
        clock: Arc<dyn Clock>,
    ) -> Tiered {
        let parts = ReplicaParts::new(config.switches, coherence, clock);
        let backing = Backing::Shared(Arc::new(SharedTier::new(l2.clone(), parts.clone())));
        Tiered::over(config, l1, backing, l2, parts)
    }

    /// Creates a cache of a replica without L2.
    pub fn standalone(
        config: TieredConfig,
        l1: Arc<dyn L1>,
        store: Arc<dyn TierStore>,
        coherence: Arc<Coherence>,
        clock: Arc<dyn Clock>,
    ) -> Tiered {
        let parts = ReplicaParts::new(config.switches, coherence, clock);
        let backing = Backing::Standalone(Standalone::new(store.clone(), parts.clone()));
        // There is no copy that could differ.
        Tiered::over(TieredConfig { self_audit_every: 0, ..config }, l1, backing, store, parts)
    }

    /// Creates a cache whose L1 is audited against `audited`.
    fn over(
        config: TieredConfig,
        l1: Arc<dyn L1>,
        backing: Backing,
        audited: Arc<dyn EntryStore>,
        parts: ReplicaParts,
    ) -> Tiered {
        let ReplicaParts { coherence, clock, switches, latencies } = parts;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let limits = SelfAuditLimits { timeout: config.read_timeout, bound: coherence.max_staleness() };
        let (sampler, auditor) = self_audit::new(config.self_audit_every, audited, clock.clone(), limits);
        if config.self_audit_every > 0 {
            tasks.spawn(stop.clone().run_until_cancelled_owned(auditor.run()));
        }
        let hot_keys = HotKeys::new(config.hot_key_capacity, clock.now());
        Tiered(Arc::new(TieredInner {
            config,
            switches,
            l1,
            backing,
            coherence,
            clock,
            latencies,
            sampler,
            hot_keys,
            leases: Leases::default(),
            sliding: SlidingExtensions::default(),
            tasks,
            draining: stop.child_token(),
            stop,
        }))
    }

    /// Starts a watch on changes.
    pub fn watch(&self, watching: Watching) -> Result<Watch, CacheError> {
        match self.0.backing.halted() {
            Some(why) => Err(CacheError::Halted(why)),
            None => self.0.coherence.watch(watching),
        }
    }

    /// Returns the configuration.
    pub fn config(&self) -> TieredConfig {
        self.0.config
    }

    /// Returns the switches of the whole service.
    pub fn switches(&self) -> Switches {
        **self.0.switches.load()
    }

    /// Sets the switches of the whole service.
    pub fn switch(&self, switches: Switches) {
        self.0.switches.store(Arc::new(switches));
    }

    /// Returns the coherence protocol.
    pub fn coherence(&self) -> &Coherence {
        &self.0.coherence
    }

    /// Returns the latencies.
    pub fn latencies(&self) -> &Latencies {
        &self.0.latencies
    }

    /// Returns the counters of the self-audit.
    pub fn self_audit(&self) -> &SelfAuditCounters {
        self.0.sampler.counters()
    }

    /// Returns at most `limit` hot keys, of one namespace or of all.
    pub fn hot_keys(&self, limit: usize, namespace: Option<&Namespace>) -> Vec<HotKey> {
        let of = |key: &Key| namespace.is_none_or(|namespace| namespace.id == key.namespace().id);
        self.0.hot_keys.top(limit, self.0.clock.now(), of)
    }

    /// Returns the counters of leases.
    pub fn leases(&self) -> &LeaseCounters {
        &self.0.leases.counters
    }

    /// Returns the L1 tier.
    pub fn l1(&self) -> &dyn L1 {
        &*self.0.l1
    }

    /// Waits until every partition is proven. From then on reads fill L1.
    pub async fn wait_until_proven(&self) {
        let coherence = &self.0.coherence;
        while coherence.proofs().proven < coherence.partitions() {
            sleep(PROOF_CHECK_INTERVAL).await;
        }
    }

    /// Ends all waits for leases held by others, and prevents new ones: this replica is shutting
    /// down.
    pub fn stop_waiting(&self) {
        self.0.draining.cancel();
    }

    /// Waits for the fetches and writes in progress. No new ones may be started.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

// === impl TieredInner ===

impl TieredInner {
    /// Returns the switches of `namespace`. `enabled` is false if no tier is left.
    pub(super) fn switches(&self, namespace: &Namespace) -> Switches {
        self.backing.switches(self.switches.load().and(namespace.policy().switches()))
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
pub(super) mod tests;
