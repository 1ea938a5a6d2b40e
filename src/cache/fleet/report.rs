//! `ReplicaReport`: the one reading of a replica at one instant, for Stats, metrics and the dashboard.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::health::Health;
use super::replica::ReplicaHandles;
use super::warm_start::Warmed;
use crate::cache::admission::limits::Admission;
use crate::cache::clock::Moment;
use crate::cache::namespace::Namespace;
use crate::cache::policy::Switches;
use crate::cache::stats::keyspace::NamespaceUsage;
use crate::cache::stats::{
    AccessCounts, CertificateEnds, CoherenceCounts, LatencyReport, LeaseCounts, NamespaceCounts, SecurityCounts,
    SelfAuditCounts, WatchCounts,
};
use crate::cache::tier::{L1Usage, L2Report};
use crate::cache::tiered::Tiered;

/// State and counts of a replica at one instant. Counts are since the start.
#[derive(Clone)]
pub struct ReplicaReport {
    /// Time of the reading.
    pub at: Moment,
    /// Time of the reading, by the wall clock.
    pub wall: SystemTime,
    /// Namespaces that this replica knows, and those that only L2 has keys of, by name.
    pub namespaces: Vec<NamespaceReport>,
    /// Counts of namespaces that were forgotten.
    pub forgotten: NamespaceCounts,
    /// L1.
    pub l1: L1Usage,
    /// L2.
    pub l2: L2Report,
    /// Health.
    pub health: Health,
    /// Switches of the whole service.
    pub switches: Switches,
    /// Latencies inside the service.
    pub latencies: LatencyReport,
    /// The coherence protocol.
    pub coherence: CoherenceReport,
    /// Leases.
    pub leases: LeaseCounts,
    /// The self-audit.
    pub self_audit: SelfAuditCounts,
    /// Watches.
    pub watches: WatchReport,
    /// Load, and its limits.
    pub load: LoadReport,
    /// TLS handshakes and reloads.
    pub security: SecurityCounts,
    /// Certificates in use.
    pub certificates: CertificateEnds,
    /// The warm start. `None` if it is off or has not ended.
    pub warm_start: Option<Warmed>,
    /// Decisions on access, and failed logins, since the start of the process.
    pub access: AccessCounts,
}

/// Report on one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceReport {
    /// Name.
    pub name: String,
    /// Id inside this process, in the order of registration. `None` if only L2 has keys of it.
    pub id: Option<u32>,
    /// Counts.
    pub counts: NamespaceCounts,
    /// Estimated usage of L2. `None` while it is unknown.
    pub in_l2: Option<NamespaceUsage>,
}

/// Report on the coherence protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoherenceReport {
    /// Bound on staleness.
    pub max_staleness: Duration,
    /// Number of partitions.
    pub partitions: u16,
    /// Number of partitions whose entries may be answered as fresh.
    pub proven: u16,
    /// Age of the oldest proof. `None` if a partition was never proven.
    pub proof_age: Option<Duration>,
    /// Counts.
    pub counts: CoherenceCounts,
}

/// Report on watches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchReport {
    /// Open watches.
    pub watchers: usize,
    /// Counts.
    pub counts: WatchCounts,
}

/// Report on admission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Requests in flight.
    pub in_flight: usize,
    /// Limit of requests in flight.
    pub limit: usize,
    /// Bytes in flight.
    pub bytes: usize,
    /// Limit of bytes in flight.
    pub bytes_limit: usize,
    /// Connections of clients.
    pub connections: usize,
    /// Limit of connections.
    pub connections_limit: usize,
    /// Requests refused.
    pub shed: u64,
    /// Connections closed because their peers sent too much that carries no request.
    pub floods: u64,
}

// === impl ReplicaReport ===

impl ReplicaReport {
    /// Reads a replica. L1 does its pending housekeeping, so that its evictions are counted.
    pub fn read(replica: &ReplicaHandles) -> ReplicaReport {
        let l2 = replica.l2.report();
        ReplicaReport {
            at: replica.clock.now(),
            wall: SystemTime::now(),
            namespaces: NamespaceReport::all(replica, &l2),
            forgotten: replica.namespaces.forgotten(),
            l1: replica.cache.l1().usage(),
            l2,
            health: *replica.health.borrow(),
            switches: replica.cache.switches(),
            latencies: replica.cache.latencies().read(),
            coherence: CoherenceReport::read(&replica.cache),
            leases: replica.cache.leases().read(),
            self_audit: replica.cache.self_audit().read(),
            watches: WatchReport::read(&replica.cache),
            load: LoadReport::read(&replica.admission),
            security: replica.security.counters.read(),
            certificates: replica.security.ends(),
            warm_start: replica.warm_start.as_ref().and_then(|warm| warm.outcome()),
            access: replica.access.read(),
        }
    }

    /// Returns the counts since `earlier`, with the state of now.
    pub fn since(&self, earlier: &ReplicaReport) -> ReplicaReport {
        let before: BTreeMap<_, _> = earlier.namespaces.iter().map(|before| (before.name.as_str(), before)).collect();
        let namespace = |now: &NamespaceReport| match before.get(now.name.as_str()) {
            // One that was forgotten and named again counts from 0.
            Some(before) if before.id.is_none() || before.id == now.id => now.since(before),
            _ => now.clone(),
        };
        ReplicaReport {
            at: self.at,
            wall: self.wall,
            namespaces: self.namespaces.iter().map(namespace).collect(),
            forgotten: self.forgotten.since(&earlier.forgotten),
            l1: self.l1.since(&earlier.l1),
            l2: self.l2.since(&earlier.l2),
            health: self.health,
            switches: self.switches,
            latencies: self.latencies.since(&earlier.latencies),
            coherence: self.coherence.since(&earlier.coherence),
            leases: self.leases.since(&earlier.leases),
            self_audit: self.self_audit.since(&earlier.self_audit),
            watches: self.watches.since(&earlier.watches),
            load: self.load.since(&earlier.load),
            security: self.security.since(&earlier.security),
            certificates: self.certificates,
            warm_start: self.warm_start,
            access: self.access.clone(),
        }
    }

    /// Leaves out the namespaces that were never used and of which L2 has no keys.
    pub fn of_used_namespaces(mut self) -> ReplicaReport {
        self.namespaces.retain(NamespaceReport::was_used);
        self
    }

    /// Returns the sum of all namespaces, also of those that were forgotten.
    pub fn total(&self) -> NamespaceCounts {
        let all = self.namespaces.iter();
        all.fold(self.forgotten.clone(), |sum, namespace| sum.plus(&namespace.counts))
    }

    /// Returns the namespace of this name.
    pub fn namespace(&self, name: &str) -> Option<&NamespaceReport> {
        let found = self.namespaces.binary_search_by(|namespace| namespace.name.as_str().cmp(name));
        found.ok().map(|index| &self.namespaces[index])
    }

    /// Returns the seconds since `earlier`, a millisecond at least.
    pub fn seconds_since(&self, earlier: &ReplicaReport) -> f64 {
        self.at.since(earlier.at).as_secs_f64().max(0.001)
    }
}

// === impl NamespaceReport ===

impl NamespaceReport {
    fn all(replica: &ReplicaHandles, l2: &L2Report) -> Vec<NamespaceReport> {
        let known = replica.namespaces.all();
        let mut all: Vec<_> = known.iter().map(|namespace| NamespaceReport::read(namespace)).collect();
        if let Some(sample) = l2.sampled() {
            let unknown = sample.namespaces.keys().filter(|name| replica.namespaces.find(name).is_none());
            all.extend(unknown.map(|name| NamespaceReport { name: name.clone(), ..NamespaceReport::default() }));
            for namespace in &mut all {
                namespace.in_l2 = Some(sample.usage(&namespace.name));
            }
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    fn read(namespace: &Namespace) -> NamespaceReport {
        let (name, id) = (namespace.name().to_owned(), Some(namespace.id));
        NamespaceReport { name, id, counts: namespace.counts(), in_l2: None }
    }

    fn since(&self, earlier: &NamespaceReport) -> NamespaceReport {
        let (name, counts) = (self.name.clone(), self.counts.since(&earlier.counts));
        NamespaceReport { name, id: self.id, counts, in_l2: self.in_l2 }
    }

    /// Returns true if anything was counted, or L2 has keys.
    pub fn was_used(&self) -> bool {
        let counts = NamespaceCounts { quota_bytes: 0, reservation: 0, ..self.counts.clone() };
        counts != NamespaceCounts::default() || self.in_l2.is_some_and(|usage| usage.keys > 0)
    }
}

// === impl parts ===

impl CoherenceReport {
    fn read(cache: &Tiered) -> CoherenceReport {
        let coherence = cache.coherence();
        let proofs = coherence.proofs();
        CoherenceReport {
            max_staleness: coherence.max_staleness(),
            partitions: coherence.partitions(),
            proven: proofs.proven,
            proof_age: proofs.oldest,
            counts: coherence.counters.read(),
        }
    }

    fn since(&self, earlier: &CoherenceReport) -> CoherenceReport {
        CoherenceReport { counts: self.counts.since(&earlier.counts), ..*self }
    }
}

impl WatchReport {
    fn read(cache: &Tiered) -> WatchReport {
        let watches = &cache.coherence().watches;
        WatchReport { watchers: watches.open(), counts: watches.counters.read() }
    }

    fn since(&self, earlier: &WatchReport) -> WatchReport {
        WatchReport { watchers: self.watchers, counts: self.counts.since(&earlier.counts) }
    }
}

impl LoadReport {
    fn read(admission: &Admission) -> LoadReport {
        LoadReport {
            in_flight: admission.in_flight(),
            limit: admission.limit(),
            bytes: admission.bytes(),
            bytes_limit: admission.bytes_limit(),
            connections: admission.connections(),
            connections_limit: admission.connections_limit(),
            shed: admission.shed(),
            floods: admission.floods.get(),
        }
    }

    fn since(&self, earlier: &LoadReport) -> LoadReport {
        let (shed, floods) = (self.shed.saturating_sub(earlier.shed), self.floods.saturating_sub(earlier.floods));
        LoadReport { shed, floods, ..*self }
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
