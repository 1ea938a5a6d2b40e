//! Parts of a replica that the cache and the tier behind L1 share.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::cache::clock::Clock;
use crate::cache::coherence::Coherence;
use crate::cache::namespace::Namespace;
use crate::cache::policy::Switches;
use crate::cache::stats::Latencies;

/// Coherence, clock, switches and latencies of a replica. Clones share them.
#[derive(Clone)]
pub(super) struct ReplicaParts {
    pub coherence: Arc<Coherence>,
    pub clock: Arc<dyn Clock>,
    /// Switches of the whole service.
    pub switches: Arc<ArcSwap<Switches>>,
    pub latencies: Arc<Latencies>,
}

// === impl ReplicaParts ===

impl ReplicaParts {
    pub fn new(switches: Switches, coherence: Arc<Coherence>, clock: Arc<dyn Clock>) -> ReplicaParts {
        let (switches, latencies) = (Arc::new(ArcSwap::from_pointee(switches)), Arc::new(Latencies::default()));
        ReplicaParts { coherence, clock, switches, latencies }
    }

    /// Returns the switches that are set for `namespace`.
    pub fn switches(&self, namespace: &Namespace) -> Switches {
        self.switches.load().and(namespace.policy().switches())
    }
}
