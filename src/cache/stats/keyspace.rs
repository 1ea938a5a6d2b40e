//! Estimate of what each namespace holds in the shared tier, made by sampling.

use std::collections::BTreeMap;

use crate::cache::clock::Moment;

/// Estimate of what each namespace holds in the shared tier. Counts are exact if every name was sampled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceSample {
    /// Time of the sample.
    pub taken: Moment,
    /// Number of names that were sampled.
    pub sampled: u64,
    /// Usage by name of the namespace. Namespaces of which no name was sampled are missing.
    pub namespaces: BTreeMap<String, NamespaceUsage>,
}

/// Estimate of what one namespace holds in the shared tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceUsage {
    /// Keys: entries, and what is kept beside them.
    pub keys: u64,
    /// Bytes of these keys, with their names and overhead; `None` if the shared tier does not tell.
    pub bytes: Option<u64>,
}

// === impl KeyspaceSample ===

impl KeyspaceSample {
    /// Returns what a namespace holds: nothing if no name of it was sampled.
    pub fn usage(&self, namespace: &str) -> NamespaceUsage {
        let nothing = NamespaceUsage { keys: 0, bytes: Some(0) };
        self.namespaces.get(namespace).copied().unwrap_or(nothing)
    }
}
