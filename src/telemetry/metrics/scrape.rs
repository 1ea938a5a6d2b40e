//! What a replica is at one instant: what takes a lock or a walk is looked up once for all instruments of a collection.

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

/// Is told the values of labels, in their order, and what was counted under them. An empty value leaves its label out.
pub type Tell<'a, T> = dyn FnMut(&[&str], T) + 'a;

/// Namespaces that are told apart. Counts of the others are summed up: a label with tens of thousands of values helps nobody.
pub const MOST_NAMESPACES: usize = 1000;
/// Stands for the namespaces that are not told apart: none can be called so.
pub const OTHERS: &str = "_other";

/// A replica at one instant.
pub struct Scrape {
    /// The replica.
    pub observed: Arc<ReplicaHandles>,
    /// Its memory.
    pub l1: L1Usage,
    /// Its Redis.
    pub l2: L2Report,
    /// How far its memory is proven.
    pub proofs: Proofs,
    /// Gets a second of the key read most.
    pub hottest: f64,
    namespaces: Vec<Arc<Namespace>>,
    others: Vec<Arc<Namespace>>,
}

// === impl Reading ===

impl Scrape {
    /// Now. Memory does the housekeeping it has put off, so that what it has let go is counted.
    pub fn take(observed: &Arc<ReplicaHandles>) -> Scrape {
        let (namespaces, others) = told_apart(observed.namespaces.all(), MOST_NAMESPACES);
        Scrape {
            l1: observed.cache.l1().usage(),
            l2: observed.l2.report(),
            proofs: observed.cache.coherence().proofs(),
            hottest: observed.cache.hot_keys(1, None).first().map_or(0.0, |hottest| hottest.rate),
            namespaces,
            others,
            observed: observed.clone(),
        }
    }

    /// What each namespace has counted, under the values of the labels that follow the namespace.
    pub fn by_namespace<const N: usize>(
        &self,
        tell: &mut Tell<'_, u64>,
        labels: [&[&str]; N],
        counts: fn(&NamespaceCounters) -> [u64; N],
    ) {
        let mut tell_of = |name: &str, counts: [u64; N]| {
            for (labels, count) in labels.iter().zip(counts) {
                let mut values = vec![name];
                values.extend_from_slice(labels);
                tell(&values, count);
            }
        };
        for namespace in &self.namespaces {
            tell_of(namespace.name(), counts(&namespace.counters));
        }
        if !self.others.is_empty() {
            let all = self.others.iter().map(|namespace| counts(&namespace.counters));
            tell_of(OTHERS, all.fold([0; N], |sums, counts| std::array::from_fn(|place| sums[place] + counts[place])));
        }
    }

    /// Reports the usage of each namespace in Redis, if it was sampled. Namespaces that this replica does not know
    /// count among the others.
    pub fn in_redis(&self, tell: &mut Tell<'_, u64>, value: fn(NamespaceUsage) -> Option<u64>) {
        let Some(sample) = self.l2.sampled() else { return };
        for namespace in &self.namespaces {
            value(sample.usage(namespace.name())).into_iter().for_each(|value| tell(&[namespace.name()], value));
        }
        let told: HashSet<_> = self.namespaces.iter().map(|namespace| namespace.name()).collect();
        let others = sample.namespaces.iter().filter(|(name, _)| !told.contains(name.as_str()));
        if let Some(sum) = others.filter_map(|(_, usage)| value(*usage)).reduce(u64::saturating_add) {
            tell(&[OTHERS], sum);
        }
    }

    /// Age of the sample behind that.
    pub fn sample_age(&self) -> Option<Duration> {
        self.l2.sampled().map(|sample| self.observed.clock.now().since(sample.taken))
    }

    /// Counts of the coherence protocol.
    pub fn coherence(&self) -> &CoherenceCounters {
        &self.observed.cache.coherence().counters
    }

    /// Counts of leases.
    pub fn leases(&self) -> &LeaseCounters {
        self.observed.cache.leases()
    }

    /// Counts of the self-audit.
    pub fn self_audit(&self) -> &SelfAuditCounters {
        self.observed.cache.self_audit()
    }

    /// There is a Redis.
    pub fn has_redis(&self) -> bool {
        self.l2.state != L2State::Disabled
    }
}

/// The namespaces that have been known longest, those configured before all, and the rest. Which is which never changes, so that sums only grow.
fn told_apart(mut all: Vec<Arc<Namespace>>, most: usize) -> (Vec<Arc<Namespace>>, Vec<Arc<Namespace>>) {
    all.sort_by_key(|namespace| namespace.id);
    let others = all.split_off(most.min(all.len()));
    (all, others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::namespace::{NamespaceRules, Namespaces};

    #[test]
    fn namespaces_beyond_the_most_are_others_for_good() {
        let namespaces = Namespaces::new(NamespaceRules { limit: 9, ..NamespaceRules::default() }, 4);
        let names = |of: &[Arc<Namespace>]| of.iter().map(|namespace| namespace.name().to_owned()).collect::<Vec<_>>();
        for name in ["z", "a", "m"] {
            namespaces.get("namespace", name).expect("made");
        }
        let (apart, others) = told_apart(namespaces.all(), 3);
        assert_eq!((names(&apart), names(&others)), (vec!["default".into(), "z".into(), "a".into()], vec!["m".into()]));
        namespaces.get("namespace", "b").expect("made");
        let (same, others) = told_apart(namespaces.all(), 3);
        assert_eq!((names(&same), names(&others)), (names(&apart), vec!["m".into(), "b".into()]));
        assert!(namespaces.get("namespace", OTHERS).is_err(), "none can be called as the others are");
    }
}
