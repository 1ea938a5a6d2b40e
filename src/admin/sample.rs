//! Sample: the counters of this replica at one instant, for the dashboard.

use std::time::{Duration, SystemTime};

use crate::cache::clock::Moment;
use crate::cache::fleet::health::Health;
use crate::cache::fleet::replica::ReplicaHandles;
use crate::cache::lease::LeaseCounters;
use crate::cache::namespace::Namespace;
use crate::cache::stats::{CoherenceCounters, Snapshot};
use crate::cache::tier::{L1Usage, L2Report};

/// State of this replica at one instant. Counts are since the start.
#[derive(Clone)]
pub struct Sample {
    pub at: Moment,
    pub wall: SystemTime,
    /// Namespaces that were used, by name.
    pub namespaces: Vec<NamespaceSample>,
    pub l1: L1Usage,
    pub l2: L2Report,
    pub health: Health,
    pub latencies: LatencySample,
    pub coherence: CoherenceSample,
    pub leases: LeaseSample,
    pub load: LoadSample,
    pub audit: SelfAuditSample,
    pub watchers: usize,
}

/// Counts of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceSample {
    pub name: String,
    pub gets: Gets,
    pub coalesced: u64,
    pub degraded: u64,
    pub sets: u64,
    pub write_errors: u64,
    pub invalidations: u64,
    pub evicted: u64,
    pub throttled: u64,
    pub over_quota: u64,
    pub entries: u64,
    pub bytes: u64,
    /// Estimated keys in Redis; `None` while unknown.
    pub redis_keys: Option<u64>,
    /// Estimated bytes of these keys in Redis; `None` while unknown.
    pub redis_bytes: Option<u64>,
}

/// A namespace without counts.
static UNUSED: NamespaceSample = NamespaceSample {
    name: String::new(),
    gets: Gets { l1: 0, l2: 0, stale: 0, miss: 0 },
    coalesced: 0,
    degraded: 0,
    sets: 0,
    write_errors: 0,
    invalidations: 0,
    evicted: 0,
    throttled: 0,
    over_quota: 0,
    entries: 0,
    bytes: 0,
    redis_keys: None,
    redis_bytes: None,
};

/// Gets by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gets {
    pub l1: u64,
    pub l2: u64,
    pub stale: u64,
    pub miss: u64,
}

/// Durations observed inside of the service.
#[derive(Clone, Default)]
pub struct LatencySample {
    pub l1: Snapshot,
    pub l2: Snapshot,
    pub miss: Snapshot,
    /// Reads and writes at Redis.
    pub redis: Snapshot,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoherenceSample {
    pub max_staleness: Duration,
    pub partitions: u16,
    pub proven: u16,
    pub proof_age: Option<Duration>,
    pub applied: u64,
    pub own: u64,
    pub gaps: u64,
    pub undecodable: u64,
    pub overruns: u64,
    pub bumps: u64,
    pub disconnects: u64,
    pub fenced: u64,
    pub failovers: u64,
    pub repaired: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseSample {
    pub granted: u64,
    pub granted_alone: u64,
    pub filled: u64,
    pub voided: u64,
    pub released: u64,
    /// Waits that ended. Current waiters are not included: the count would fall when one times out.
    pub waited: u64,
    pub served: u64,
    pub waiting: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadSample {
    pub in_flight: usize,
    pub limit: usize,
    pub bytes: usize,
    pub bytes_limit: usize,
    pub connections: usize,
    pub shed: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelfAuditSample {
    pub checked: u64,
    pub violations: u64,
}

// === impl Sample ===

impl Sample {
    /// Takes a sample.
    pub fn of(observed: &ReplicaHandles) -> Sample {
        let (coherence, audit) = (observed.cache.coherence(), observed.cache.self_audit());
        let l2 = observed.l2.report();
        Sample {
            at: observed.clock.now(),
            wall: SystemTime::now(),
            namespaces: NamespaceSample::all(observed, &l2),
            l1: observed.cache.l1().usage(),
            l2,
            health: *observed.health.borrow(),
            latencies: LatencySample::of(observed),
            coherence: CoherenceSample {
                max_staleness: coherence.max_staleness(),
                partitions: coherence.partitions(),
                proven: coherence.proofs().proven,
                proof_age: coherence.proofs().oldest,
                ..CoherenceSample::of(&coherence.counters)
            },
            leases: LeaseSample::of(observed.cache.leases()),
            load: LoadSample {
                in_flight: observed.admission.in_flight(),
                limit: observed.admission.limit(),
                bytes: observed.admission.bytes(),
                bytes_limit: observed.admission.bytes_limit(),
                connections: observed.admission.connections(),
                shed: observed.admission.shed(),
            },
            audit: SelfAuditSample { checked: audit.checked.get(), violations: audit.violations.get() },
            watchers: coherence.watches.open(),
        }
    }

    /// Returns the Gets of all namespaces.
    pub fn gets(&self) -> Gets {
        self.namespaces.iter().fold(Gets::default(), |sum, namespace| sum.plus(namespace.gets))
    }

    /// Sums a count over all namespaces.
    pub fn sum(&self, count: impl Fn(&NamespaceSample) -> u64) -> u64 {
        self.namespaces.iter().map(count).sum()
    }

    /// Returns the namespace of this name; zero counts if there is none.
    pub fn namespace(&self, name: &str) -> &NamespaceSample {
        let found = self.namespaces.binary_search_by(|namespace| namespace.name.as_str().cmp(name));
        found.map_or(&UNUSED, |index| &self.namespaces[index])
    }

    /// Returns the seconds since `before`.
    pub fn seconds_since(&self, before: &Sample) -> f64 {
        self.at.since(before.at).as_secs_f64()
    }
}

// === impl parts ===

impl NamespaceSample {
    /// Returns the namespaces that were used here, and those that only Redis has keys of, by name.
    fn all(observed: &ReplicaHandles, l2: &L2Report) -> Vec<NamespaceSample> {
        let known = observed.namespaces.all();
        let mut all: Vec<_> = known.iter().map(|namespace| NamespaceSample::of(namespace)).collect();
        if let Some(sample) = l2.sampled() {
            let unknown = sample.namespaces.keys().filter(|name| observed.namespaces.find(name).is_none());
            all.extend(unknown.map(|name| NamespaceSample { name: name.clone(), ..NamespaceSample::default() }));
            for namespace in &mut all {
                let usage = sample.usage(&namespace.name);
                (namespace.redis_keys, namespace.redis_bytes) = (Some(usage.keys), usage.bytes);
            }
        }
        all.retain(NamespaceSample::was_used);
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    fn of(namespace: &Namespace) -> NamespaceSample {
        let counters = &namespace.counters;
        NamespaceSample {
            name: namespace.name().to_owned(),
            gets: Gets {
                l1: counters.l1_hits.get(),
                l2: counters.l2_hits.get(),
                stale: counters.stale_hits(),
                miss: counters.misses.get(),
            },
            coalesced: counters.coalesced.get(),
            degraded: counters.degraded.get(),
            sets: counters.sets_stored.get(),
            write_errors: counters.write_errors(),
            invalidations: counters.invalidations.get(),
            evicted: counters.evicted_size.get(),
            throttled: counters.throttled.get(),
            over_quota: counters.over_quota.get(),
            entries: counters.entries.get(),
            bytes: counters.bytes.get(),
            redis_keys: None,
            redis_bytes: None,
        }
    }

    fn was_used(&self) -> bool {
        let (redis_keys, redis_bytes) = (self.redis_keys, self.redis_bytes);
        let unused = NamespaceSample { name: self.name.clone(), redis_keys, redis_bytes, ..NamespaceSample::default() };
        *self != unused || redis_keys.is_some_and(|keys| keys > 0)
    }

    /// Returns the counts since `before`, with the current gauges.
    pub fn since(&self, before: &NamespaceSample) -> NamespaceSample {
        NamespaceSample {
            name: self.name.clone(),
            gets: self.gets.since(before.gets),
            coalesced: self.coalesced.saturating_sub(before.coalesced),
            degraded: self.degraded.saturating_sub(before.degraded),
            sets: self.sets.saturating_sub(before.sets),
            write_errors: self.write_errors.saturating_sub(before.write_errors),
            invalidations: self.invalidations.saturating_sub(before.invalidations),
            evicted: self.evicted.saturating_sub(before.evicted),
            throttled: self.throttled.saturating_sub(before.throttled),
            over_quota: self.over_quota.saturating_sub(before.over_quota),
            entries: self.entries,
            bytes: self.bytes,
            redis_keys: self.redis_keys,
            redis_bytes: self.redis_bytes,
        }
    }

    /// Returns the calls since `before`.
    pub fn calls_since(&self, before: &NamespaceSample) -> u64 {
        let gets = self.gets.since(before.gets).all();
        let invalidations = self.invalidations.saturating_sub(before.invalidations);
        gets + self.sets.saturating_sub(before.sets) + invalidations
    }

    /// Returns the entries that needed room in memory.
    pub fn fills(&self) -> u64 {
        self.sets + self.gets.l2
    }
}

impl Gets {
    pub fn all(self) -> u64 {
        self.l1 + self.l2 + self.stale + self.miss
    }

    pub fn plus(self, other: Gets) -> Gets {
        Gets {
            l1: self.l1 + other.l1,
            l2: self.l2 + other.l2,
            stale: self.stale + other.stale,
            miss: self.miss + other.miss,
        }
    }

    pub fn since(self, before: Gets) -> Gets {
        Gets {
            l1: self.l1.saturating_sub(before.l1),
            l2: self.l2.saturating_sub(before.l2),
            stale: self.stale.saturating_sub(before.stale),
            miss: self.miss.saturating_sub(before.miss),
        }
    }
}

impl LatencySample {
    fn of(observed: &ReplicaHandles) -> LatencySample {
        let all = observed.cache.latencies();
        LatencySample {
            l1: all.get_l1.snapshot(),
            l2: all.get_l2.snapshot(),
            miss: all.get_miss.snapshot(),
            redis: all.l2_read.snapshot().plus(&all.l2_write.snapshot()),
        }
    }

    /// Returns the observations since `before`.
    pub fn since(&self, before: &LatencySample) -> LatencySample {
        LatencySample {
            l1: self.l1.since(&before.l1),
            l2: self.l2.since(&before.l2),
            miss: self.miss.since(&before.miss),
            redis: self.redis.since(&before.redis),
        }
    }

    /// Returns the latencies of all Gets.
    pub fn gets(&self) -> Snapshot {
        self.l1.plus(&self.l2).plus(&self.miss)
    }
}

impl CoherenceSample {
    fn of(counters: &CoherenceCounters) -> CoherenceSample {
        CoherenceSample {
            applied: counters.messages_applied.get(),
            own: counters.messages_own.get(),
            gaps: counters.gaps.get(),
            undecodable: counters.undecodable.get(),
            overruns: counters.lagged.get(),
            bumps: counters.bumps.get(),
            disconnects: counters.disconnects.get(),
            fenced: counters.fills_fenced.get(),
            failovers: counters.failovers.get(),
            repaired: counters.repaired.get(),
            ..CoherenceSample::default()
        }
    }
}

impl LeaseSample {
    fn of(counters: &LeaseCounters) -> LeaseSample {
        LeaseSample {
            granted: counters.granted.get(),
            granted_alone: counters.granted_alone.get(),
            filled: counters.filled.get(),
            voided: counters.voided.get(),
            released: counters.released.get(),
            waited: counters.served.get() + counters.left.get(),
            served: counters.served.get(),
            waiting: counters.waiting.get(),
        }
    }
}

#[cfg(test)]
impl Sample {
    /// A replica with Redis after some seconds, on which nothing happened and nothing is wrong.
    pub fn quiet(seconds: u64) -> Sample {
        use crate::cache::tier::L2State;
        Sample {
            at: Moment(1).plus(Duration::from_secs(seconds)),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            namespaces: Vec::new(),
            l1: L1Usage { bytes: 50 << 20, max_bytes: 100 << 20, ..L1Usage::default() },
            l2: L2Report {
                state: L2State::Healthy,
                round_trip: Some(Duration::from_micros(300)),
                ..L2Report::default()
            },
            health: Health { not_ready: None, l2: L2State::Healthy },
            latencies: LatencySample::default(),
            coherence: CoherenceSample {
                max_staleness: Duration::from_secs(2),
                partitions: 64,
                proven: 64,
                proof_age: Some(Duration::from_millis(400)),
                ..CoherenceSample::default()
            },
            leases: LeaseSample::default(),
            load: LoadSample { limit: 1024, ..LoadSample::default() },
            audit: SelfAuditSample::default(),
            watchers: 0,
        }
    }
}
