//! Counts the names of a sample, and scales the counts to all keys.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::backend::redis::schema::keys::KeySchema;
use crate::cache::clock::Moment;
use crate::cache::stats::keyspace::{KeyspaceSample, NamespaceUsage};

/// Limit of names of one primary that are measured in one sample.
pub const MAX_MEASURED: usize = 2048;
/// Names measured of each namespace, until so many were measured of all.
const MEASURED_FIRST: (usize, usize) = (256, 1024);
/// Names measured of each namespace after that.
const MEASURED_LATER: usize = 16;
/// Limit of namespaces. Names of further ones are not counted.
pub const MAX_NAMESPACES: usize = 4096;

/// Names found on one primary.
#[derive(Default)]
pub struct ShardTally {
    /// Names found, of this deployment or not.
    found: u64,
    /// Names chosen to be measured.
    chosen: usize,
    namespaces: BTreeMap<String, Found>,
}

#[derive(Default)]
struct Found {
    names: u64,
    chosen: usize,
    measured: u64,
    bytes: u64,
}

/// A name to measure.
pub struct Chosen {
    /// Its namespace.
    pub namespace: String,
    /// The name.
    pub name: Bytes,
}

/// Estimates, added up over all primaries.
#[derive(Default)]
pub struct Tally {
    sampled: u64,
    namespaces: BTreeMap<String, Estimate>,
}

#[derive(Default)]
struct Estimate {
    keys: f64,
    /// Keys on primaries where some were measured, and their bytes.
    measured_keys: f64,
    bytes: f64,
}

// === impl ShardTally ===

impl ShardTally {
    /// Counts names. Returns those to measure.
    pub fn add(&mut self, names: impl Iterator<Item = Bytes>, keys: &KeySchema) -> Vec<Chosen> {
        let mut all = Vec::new();
        for name in names {
            self.found += 1;
            let Some(namespace) = keys.namespace_in(&name) else { continue };
            if !self.namespaces.contains_key(namespace) && self.namespaces.len() >= MAX_NAMESPACES {
                continue;
            }
            let found = self.namespaces.entry(namespace.to_owned()).or_default();
            found.names += 1;
            let (each, first) = MEASURED_FIRST;
            let most = if self.chosen < first { each } else { MEASURED_LATER };
            if found.chosen < most && self.chosen < MAX_MEASURED {
                found.chosen += 1;
                self.chosen += 1;
                all.push(Chosen { namespace: namespace.to_owned(), name: name.clone() });
            }
        }
        all
    }

    /// Records the size of a name of `namespace`; `None` if it is gone.
    pub fn measured(&mut self, namespace: &str, bytes: Option<u64>) {
        if let (Some(found), Some(bytes)) = (self.namespaces.get_mut(namespace), bytes) {
            found.measured += 1;
            found.bytes = found.bytes.saturating_add(bytes);
        }
    }

    /// Returns true if any name was measured.
    pub fn is_measured(&self) -> bool {
        self.namespaces.values().any(|found| found.measured > 0)
    }
}

// === impl Tally ===

impl Tally {
    /// Adds one primary, which has `keys`. `is_complete`: all of them were found.
    pub fn add(&mut self, shard: ShardTally, keys: u64, is_complete: bool) {
        self.sampled += shard.found;
        let scale = if is_complete || shard.found == 0 { 1.0 } else { keys as f64 / shard.found as f64 };
        for (namespace, found) in shard.namespaces {
            let estimate = self.namespaces.entry(namespace).or_default();
            let keys = found.names as f64 * scale;
            estimate.keys += keys;
            if found.measured > 0 {
                estimate.measured_keys += keys;
                estimate.bytes += keys * (found.bytes as f64 / found.measured as f64);
            }
        }
    }

    /// The sum.
    pub fn into_sample(self, taken: Moment) -> KeyspaceSample {
        let usage = |estimate: Estimate| NamespaceUsage {
            keys: estimate.keys.round() as u64,
            bytes: (estimate.measured_keys > 0.0)
                .then(|| (estimate.bytes * estimate.keys / estimate.measured_keys).round() as u64),
        };
        let namespaces = self.namespaces.into_iter().take(MAX_NAMESPACES);
        KeyspaceSample {
            taken,
            sampled: self.sampled,
            namespaces: namespaces.map(|(name, estimate)| (name, usage(estimate))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> KeySchema {
        KeySchema::new("p", 4, false)
    }

    fn name(namespace: &str, n: usize) -> Bytes {
        format!("p:{{{}}}:v:{namespace}:{n}", n % 4).into()
    }

    /// A primary with these names; each measured one has this size.
    fn shard(names: &[(&str, usize, u64)], foreign: usize) -> ShardTally {
        let mut shard = ShardTally::default();
        for (namespace, count, bytes) in names {
            let chosen = shard.add((0..*count).map(|n| name(namespace, n)), &keys());
            chosen.iter().for_each(|chosen| shard.measured(&chosen.namespace, Some(*bytes)));
        }
        let others = (0..foreign).map(|n| Bytes::from(format!("other:{n}")));
        assert!(shard.add(others, &keys()).is_empty());
        shard
    }

    fn usage(keys: u64, bytes: u64) -> NamespaceUsage {
        NamespaceUsage { keys, bytes: Some(bytes) }
    }

    #[test]
    fn a_complete_search_is_a_count() {
        let mut tally = Tally::default();
        // The server's own number has keys that have expired, too.
        tally.add(shard(&[("a", 7, 100), ("b", 3, 50)], 5), 99, true);
        let sample = tally.into_sample(Moment(3));
        assert_eq!((sample.taken, sample.sampled), (Moment(3), 15));
        assert_eq!((sample.usage("a"), sample.usage("b")), (usage(7, 700), usage(3, 150)));
        assert_eq!(sample.usage("c"), usage(0, 0));
    }

    #[test]
    fn a_part_is_scaled_and_primaries_are_added_up() {
        let mut tally = Tally::default();
        tally.add(shard(&[("a", 30, 100)], 10), 400, false);
        tally.add(shard(&[("a", 5, 200), ("b", 1, 10)], 0), 6, true);
        tally.add(ShardTally::default(), 0, false);
        let sample = tally.into_sample(Moment(1));
        assert_eq!(sample.usage("a"), usage(305, 31_000));
        assert_eq!(sample.usage("b"), usage(1, 10));
    }

    #[test]
    fn without_measures_there_are_keys_only() {
        let mut tally = Tally::default();
        let mut seen = ShardTally::default();
        let chosen = seen.add((0..4).map(|n| name("a", n)), &keys());
        assert_eq!(chosen.len(), 4);
        // It had expired before it was measured.
        seen.measured("a", None);
        assert!(!seen.is_measured());
        tally.add(seen, 4, true);
        assert_eq!(tally.into_sample(Moment(1)).usage("a"), NamespaceUsage { keys: 4, bytes: None });
    }

    #[test]
    fn few_names_are_measured_and_some_of_every_namespace() {
        let mut seen = ShardTally::default();
        let mut chosen = BTreeMap::<String, usize>::new();
        let many = (0..60).map(|n| format!("n{n:02}"));
        for namespace in many {
            for chosen_name in seen.add((0..300).map(|n| name(&namespace, n)), &keys()) {
                *chosen.entry(chosen_name.namespace).or_default() += 1;
            }
        }
        assert_eq!((chosen["n00"], chosen["n59"]), (256, 16));
        assert!(chosen.values().sum::<usize>() <= MAX_MEASURED);
    }

    #[test]
    fn namespaces_that_are_told_apart_have_a_limit() {
        let mut seen = ShardTally::default();
        seen.add((0..MAX_NAMESPACES + 10).map(|n| name(&format!("n{n}"), n)), &keys());
        assert_eq!((seen.namespaces.len(), seen.found), (MAX_NAMESPACES, MAX_NAMESPACES as u64 + 10));
    }
}
