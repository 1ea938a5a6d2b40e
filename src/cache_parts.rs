//! The cache of a service: its tiers, and the coherence between them.

use std::sync::Arc;

use crate::backend::boot_clock::BootClock;
use crate::backend::local::Local;
use crate::backend::memory::MemoryL1;
use crate::backend::redis::{self, Protection, RedisSetup};
use crate::cache::clock::Clock;
use crate::cache::coherence::Coherence;
use crate::cache::fleet::shared_store::SharedStore;
use crate::cache::namespace::Namespaces;
use crate::cache::tier::{L1, L2, TierStatus};
use crate::cache::tiered::Tiered;
use crate::config::Config;

/// The cache and the parts it is made of.
pub(crate) struct CacheParts {
    pub cache: Tiered,
    pub l2: Arc<dyn TierStatus>,
    /// L2 whose failovers are repaired. `None` without Redis.
    pub repaired: Option<Arc<dyn L2>>,
    /// `None` without Redis.
    pub store: Option<Arc<dyn SharedStore>>,
    /// The keys for data in Redis. `None` without Redis.
    pub protection: Option<Arc<Protection>>,
    pub coherence: Arc<Coherence>,
    pub namespaces: Arc<Namespaces>,
    pub clock: Arc<dyn Clock>,
}

/// Builds the tiers, the coherence between them, and the cache on top.
pub(crate) fn build_cache(config: &Config, tls: Option<rustls::ClientConfig>) -> CacheParts {
    let clock: Arc<dyn Clock> = Arc::new(BootClock);
    let partitions = config.coherence.partitions;
    let namespaces = Arc::new(Namespaces::new(config.namespaces.clone(), partitions));
    let l1: Arc<dyn L1> = Arc::new(MemoryL1::new(config.l1, clock.clone()));
    let coherence = Arc::new(Coherence::new(config.coherence, l1.clone(), namespaces.clone(), clock.clone()));
    match config.redis.clone() {
        Some(redis) => {
            let setup = RedisSetup { config: redis, tls, partitions, replica: rand::random(), clock: clock.clone() };
            let l2 = redis::start(setup, coherence.clone());
            let cache = Tiered::new(config.cache, l1, l2.clone(), coherence.clone(), clock.clone());
            let protection = Some(l2.protection().clone());
            let repaired: Option<Arc<dyn L2>> = Some(l2.clone());
            let store: Option<Arc<dyn SharedStore>> = Some(l2.clone());
            CacheParts { cache, l2, repaired, store, protection, coherence, namespaces, clock }
        }
        None => {
            let l2 = Arc::new(Local::new(l1.clone(), coherence.clone(), clock.clone()));
            let cache = Tiered::standalone(config.cache, l1, l2.clone(), coherence.clone(), clock.clone());
            CacheParts { cache, l2, repaired: None, store: None, protection: None, coherence, namespaces, clock }
        }
    }
}
