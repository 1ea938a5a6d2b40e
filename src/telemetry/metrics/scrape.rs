//! `Scrape`: state of a replica at one instant, for all instruments of a collection.
//!
//! Values that need a lock or a walk are read once for each collection.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::coherence::Proofs;
use crate::cache::fleet::replica::ReplicaHandles;
use crate::cache::lease::LeaseCounters;
use crate::cache::namespace::Namespace;
use crate::cache::stats::keyspace::NamespaceUsage;
use crate::cache::stats::{CoherenceCounters, NamespaceCounters, SelfAuditCounters};
use crate::cache::tier::{L1Usage, L2Report, L2State};

/// Receives the values of labels, in their order, and the count under them. An empty value omits
/// its label.
pub type Emit<'a, T> = dyn FnMut(&[&str], T) + 'a;

/// Most namespaces with series of their own. Counts of the others are summed up, to bound the
/// label.
pub const MAX_NAMESPACES: usize = 1000;
/// Label value of all other namespaces. No namespace can have this name.
pub const OTHER_NAMESPACES: &str = "_other";

/// A replica at one instant.
pub struct Scrape {
    /// The replica.
    pub replica: Arc<ReplicaHandles>,
    /// Usage of L1.
    pub l1: L1Usage,
    /// Report of L2.
    pub l2: L2Report,
    /// Proofs of the partitions.
    pub proofs: Proofs,
    /// Gets per second of the hottest key.
    pub hottest: f64,
    namespaces: Vec<Arc<Namespace>>,
    others: Vec<Arc<Namespace>>,
}

// === impl Scrape ===

impl Scrape {
    /// Reads the state of `replica`. L1 does its pending housekeeping, so that its evictions are
    /// counted.
    pub fn take(replica: &Arc<ReplicaHandles>) -> Scrape {
        let (namespaces, others) = split_namespaces(replica.namespaces.all(), MAX_NAMESPACES);
        Scrape {
            l1: replica.cache.l1().usage(),
            l2: replica.l2.report(),
            proofs: replica.cache.coherence().proofs(),
            hottest: replica.cache.hot_keys(1, None).first().map_or(0.0, |hottest| hottest.rate),
            namespaces,
            others,
            replica: replica.clone(),
        }
    }

    /// Emits counts of each namespace. `labels` are the values of the labels that follow the
    /// namespace.
    pub fn by_namespace<const N: usize>(
        &self,
        emit: &mut Emit<'_, u64>,
        labels: [&[&str]; N],
        counts: fn(&NamespaceCounters) -> [u64; N],
    ) {
        let mut emit_all = |name: &str, counts: [u64; N]| {
            for (labels, count) in labels.iter().zip(counts) {
                let mut values = vec![name];
                values.extend_from_slice(labels);
                emit(&values, count);
            }
        };
        for namespace in &self.namespaces {
            emit_all(namespace.name(), counts(&namespace.counters));
        }
        if !self.others.is_empty() {
            let all = self.others.iter().map(|namespace| counts(&namespace.counters));
            emit_all(
                OTHER_NAMESPACES,
                all.fold([0; N], |sums, counts| std::array::from_fn(|place| sums[place] + counts[place])),
            );
        }
    }

    /// Reports the usage of each namespace in Redis, if it was sampled. Namespaces that this
    /// replica does not know count among the others.
    pub fn in_redis(&self, emit: &mut Emit<'_, u64>, value: fn(NamespaceUsage) -> Option<u64>) {
        let Some(sample) = self.l2.sampled() else { return };
        for namespace in &self.namespaces {
            value(sample.usage(namespace.name())).into_iter().for_each(|value| emit(&[namespace.name()], value));
        }
        let known: HashSet<_> = self.namespaces.iter().map(|namespace| namespace.name()).collect();
        let others = sample.namespaces.iter().filter(|(name, _)| !known.contains(name.as_str()));
        if let Some(sum) = others.filter_map(|(_, usage)| value(*usage)).reduce(u64::saturating_add) {
            emit(&[OTHER_NAMESPACES], sum);
        }
    }

    /// Age of the sample of Redis.
    pub fn sample_age(&self) -> Option<Duration> {
        self.l2.sampled().map(|sample| self.replica.clock.now().since(sample.taken))
    }

    /// Counts of the coherence protocol.
    pub fn coherence(&self) -> &CoherenceCounters {
        &self.replica.cache.coherence().counters
    }

    /// Counts of leases.
    pub fn leases(&self) -> &LeaseCounters {
        self.replica.cache.leases()
    }

    /// Counts of the self-audit.
    pub fn self_audit(&self) -> &SelfAuditCounters {
        self.replica.cache.self_audit()
    }

    /// True if Redis is configured.
    pub fn has_redis(&self) -> bool {
        self.l2.state != L2State::Disabled
    }
}

/// Splits off the namespaces beyond the first `max`. The order is that of registration, configured
/// ones first. It never changes, so that sums only grow.
fn split_namespaces(mut all: Vec<Arc<Namespace>>, max: usize) -> (Vec<Arc<Namespace>>, Vec<Arc<Namespace>>) {
    all.sort_by_key(|namespace| namespace.id);
    let others = all.split_off(max.min(all.len()));
    (all, others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::namespace::{NamespaceRules, Namespaces};

    #[test]
    fn namespaces_beyond_the_maximum_always_count_as_others() {
        let namespaces = Namespaces::new(NamespaceRules { limit: 9, ..NamespaceRules::default() }, 4);
        let names = |of: &[Arc<Namespace>]| of.iter().map(|namespace| namespace.name().to_owned()).collect::<Vec<_>>();
        for name in ["z", "a", "m"] {
            namespaces.get("namespace", name).expect("made");
        }
        let (own, others) = split_namespaces(namespaces.all(), 3);
        assert_eq!((names(&own), names(&others)), (vec!["default".into(), "z".into(), "a".into()], vec!["m".into()]));
        namespaces.get("namespace", "b").expect("made");
        let (same, others) = split_namespaces(namespaces.all(), 3);
        assert_eq!((names(&same), names(&others)), (names(&own), vec!["m".into(), "b".into()]));
        assert!(namespaces.get("namespace", OTHER_NAMESPACES).is_err(), "none can be called as the others are");
    }
}
