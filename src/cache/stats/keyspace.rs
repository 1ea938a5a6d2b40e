//! Estimate of the keys and bytes of each namespace in the shared tier, by sampling.

use std::collections::BTreeMap;

use crate::cache::clock::Moment;

/// Estimate of the keys and bytes of each namespace in the shared tier. Counts are exact if every
/// name was sampled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceSample {
    /// Time of the sample.
    pub taken: Moment,
    /// Number of names that were sampled.
    pub sampled: u64,
    /// Usage by name of the namespace. Namespaces without a sampled name are missing.
    pub namespaces: BTreeMap<String, NamespaceUsage>,
}

/// Estimate of the keys and bytes of one namespace in the shared tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceUsage {
    /// Keys: entries, and records kept beside them.
    pub keys: u64,
    /// Bytes of these keys, with names and overhead. `None` if the shared tier does not report
    /// them.
    pub bytes: Option<u64>,
}

// === impl KeyspaceSample ===

impl KeyspaceSample {
    /// Returns the usage of a namespace, which is 0 if no name of it was sampled.
    pub fn usage(&self, namespace: &str) -> NamespaceUsage {
        let nothing = NamespaceUsage { keys: 0, bytes: Some(0) };
        self.namespaces.get(namespace).copied().unwrap_or(nothing)
    }
}
