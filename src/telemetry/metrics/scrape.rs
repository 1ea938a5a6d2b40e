//! `Scrape`: report of a replica at one instant, for all instruments of a collection.

use std::collections::HashSet;
use std::time::Duration;

use crate::cache::fleet::replica::ReplicaHandles;
use crate::cache::fleet::report::{NamespaceReport, ReplicaReport};
use crate::cache::stats::NamespaceCounts;
use crate::cache::stats::keyspace::NamespaceUsage;
use crate::cache::tier::L2State;

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
    /// The report.
    pub report: ReplicaReport,
    /// Gets per second of the hottest key.
    pub hottest: f64,
    /// Namespaces with series of their own.
    namespaces: Vec<(String, NamespaceCounts)>,
    /// Sum of all other namespaces. `None` if there are none.
    others: Option<NamespaceCounts>,
}

// === impl Scrape ===

impl Scrape {
    /// Reads a replica.
    pub fn take(replica: &ReplicaHandles) -> Scrape {
        let report = ReplicaReport::read(replica);
        let (namespaces, others) = split_namespaces(&report.namespaces, MAX_NAMESPACES);
        let hottest = replica.cache.hot_keys(1, None).first().map_or(0.0, |hottest| hottest.rate);
        Scrape { report, hottest, namespaces, others }
    }

    /// Emits counts of each namespace. `labels` are the values of the labels that follow the
    /// namespace.
    pub fn by_namespace<const N: usize>(
        &self,
        emit: &mut Emit<'_, u64>,
        labels: [&[&str]; N],
        counts: fn(&NamespaceCounts) -> [u64; N],
    ) {
        let own = self.namespaces.iter().map(|(name, counts)| (name.as_str(), counts));
        let others = self.others.iter().map(|counts| (OTHER_NAMESPACES, counts));
        for (name, of) in own.chain(others) {
            for (labels, count) in labels.iter().zip(counts(of)) {
                let mut values = vec![name];
                values.extend_from_slice(labels);
                emit(&values, count);
            }
        }
    }

    /// Reports the usage of each namespace in Redis, if it was sampled. Namespaces that this
    /// replica does not know count among the others.
    pub fn in_redis(&self, emit: &mut Emit<'_, u64>, value: fn(NamespaceUsage) -> Option<u64>) {
        let Some(sample) = self.report.l2.sampled() else { return };
        for (name, _) in &self.namespaces {
            value(sample.usage(name)).into_iter().for_each(|value| emit(&[name], value));
        }
        let known: HashSet<_> = self.namespaces.iter().map(|(name, _)| name.as_str()).collect();
        let others = sample.namespaces.iter().filter(|(name, _)| !known.contains(name.as_str()));
        if let Some(sum) = others.filter_map(|(_, usage)| value(*usage)).reduce(u64::saturating_add) {
            emit(&[OTHER_NAMESPACES], sum);
        }
    }

    /// Age of the sample of Redis.
    pub fn sample_age(&self) -> Option<Duration> {
        self.report.l2.sampled().map(|sample| self.report.at.since(sample.taken))
    }

    /// True if Redis is configured.
    pub fn has_redis(&self) -> bool {
        self.report.l2.state != L2State::Disabled
    }
}

/// Splits the namespaces that this replica knows into the first `max`, and the sum of the others.
/// The order is that of registration, configured ones first. It never changes, so that sums only
/// grow.
fn split_namespaces(all: &[NamespaceReport], max: usize) -> (Vec<(String, NamespaceCounts)>, Option<NamespaceCounts>) {
    let mut known: Vec<_> = all.iter().filter_map(|namespace| Some((namespace.id?, namespace))).collect();
    known.sort_by_key(|(id, _)| *id);
    let (own, others) = known.split_at(max.min(known.len()));
    let own = own.iter().map(|(_, namespace)| (namespace.name.clone(), namespace.counts.clone())).collect();
    let others = others.iter().map(|(_, namespace)| namespace.counts.clone());
    (own, others.reduce(|sum, counts| sum.plus(&counts)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::namespace::{NamespaceRules, Namespaces};

    #[test]
    fn namespaces_beyond_the_maximum_always_count_as_others() {
        let known = |name: &str, id| {
            let counts = NamespaceCounts { misses: 1, ..NamespaceCounts::default() };
            NamespaceReport { name: name.to_owned(), id, counts, in_l2: None }
        };
        let names = |own: Vec<(String, NamespaceCounts)>| own.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let mut all = vec![known("a", Some(2)), known("default", Some(0)), known("m", Some(3)), known("z", Some(1))];
        let (own, others) = split_namespaces(&all, 3);
        assert_eq!(
            (names(own), others.map(|sum| sum.misses)),
            (vec!["default".into(), "z".into(), "a".into()], Some(1))
        );
        all.extend([known("b", Some(4)), known("only in Redis", None)]);
        let (own, others) = split_namespaces(&all, 3);
        assert_eq!(
            (names(own), others.map(|sum| sum.misses)),
            (vec!["default".into(), "z".into(), "a".into()], Some(2))
        );
        assert_eq!(split_namespaces(&all, 9).1, None);
        let registered = Namespaces::new(NamespaceRules { limit: 9, ..NamespaceRules::default() }, 4);
        assert!(registered.get("namespace", OTHER_NAMESPACES).is_err(), "no namespace can have this name");
    }
}
