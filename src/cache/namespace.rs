//! Namespaces: policy, counts, and the latest invalidation of the whole namespace in each partition.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use xxhash_rust::xxh3::xxh3_64;

use super::error::CacheError;
use super::policy::{NamespacePolicy, limits};
use super::stats::NamespaceCounters;

/// The namespace of a request that names none.
pub const DEFAULT: &str = "default";

/// One namespace of this replica.
pub struct Namespace {
    /// Number of this namespace inside this process.
    pub id: u32,
    /// Policy.
    pub policy: NamespacePolicy,
    /// Counts.
    pub counters: NamespaceCounters,
    pub(super) seed: u64,
    name: Box<str>,
    invalidated: Box<[AtomicU64]>,
}

impl Namespace {
    pub(super) fn new(name: &str, id: u32, policy: NamespacePolicy, partitions: u16) -> Self {
        Namespace {
            id,
            policy,
            counters: NamespaceCounters::default(),
            seed: xxh3_64(name.as_bytes()),
            name: name.into(),
            invalidated: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sequence up to which every entry of this namespace in `partition` is invalid, in the partition's present epoch.
    pub fn invalidated(&self, partition: u16) -> u64 {
        self.invalidated[usize::from(partition)].load(Ordering::Acquire)
    }

    pub(super) fn invalidate(&self, partition: u16, sequence: u64) {
        self.invalidated[usize::from(partition)].fetch_max(sequence, Ordering::AcqRel);
    }

    pub(super) fn forget_invalidation(&self, partition: u16) {
        self.invalidated[usize::from(partition)].store(0, Ordering::Release);
    }
}

/// The namespaces a replica knows: those configured, and those that were named by a write or an invalidation since.
pub struct Namespaces {
    known: ArcSwap<HashMap<Box<str>, Arc<Namespace>>>,
    growing: Mutex<()>,
    rules: NamespaceRules,
    partitions: u16,
}

/// Which namespaces there may be.
#[derive(Clone, Debug, Default)]
pub struct NamespaceRules {
    /// Policy of a namespace that is not configured.
    pub default_policy: NamespacePolicy,
    /// Policies by name.
    pub configured: std::collections::BTreeMap<String, NamespacePolicy>,
    /// True: only configured namespaces exist.
    pub strict: bool,
    /// Most namespaces a replica keeps account of.
    pub limit: usize,
}

impl Namespaces {
    /// The configured namespaces.
    pub fn new(rules: NamespaceRules, partitions: u16) -> Self {
        let configured = rules.configured.iter().enumerate().map(|(id, (name, policy))| {
            let namespace = Namespace::new(name, id as u32, policy.clone(), partitions);
            (Box::from(name.as_str()), Arc::new(namespace))
        });
        let known = ArcSwap::from_pointee(configured.collect());
        Namespaces { known, growing: Mutex::new(()), rules, partitions }
    }

    /// The namespace `name`; empty means "default".
    pub fn get(&self, field: &str, name: &str) -> Result<Arc<Namespace>, CacheError> {
        let name = if name.is_empty() { DEFAULT } else { name };
        match self.known.load().get(name) {
            Some(namespace) => Ok(namespace.clone()),
            None => self.add(field, name),
        }
    }

    /// The namespace `name`, when this replica has account of it.
    pub fn find(&self, name: &str) -> Option<Arc<Namespace>> {
        self.known.load().get(name).cloned()
    }

    /// Every namespace known, sorted by name.
    pub fn all(&self) -> Vec<Arc<Namespace>> {
        let mut all: Vec<_> = self.known.load().values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn add(&self, field: &str, name: &str) -> Result<Arc<Namespace>, CacheError> {
        limits::namespace(field, name)?;
        if self.rules.strict {
            return Err(CacheError::UnknownNamespace(name.to_owned()));
        }
        let _one_at_a_time = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.load();
        if let Some(namespace) = known.get(name) {
            return Ok(namespace.clone());
        }
        if known.len() >= self.rules.limit.max(self.rules.configured.len()) {
            return Err(CacheError::Exhausted {
                what: "limits.namespaces",
                limit: self.rules.limit,
                retry_after: None,
            });
        }
        let policy = self.rules.default_policy.clone();
        let namespace = Arc::new(Namespace::new(name, known.len() as u32, policy, self.partitions));
        let mut grown = HashMap::clone(&known);
        grown.insert(name.into(), namespace.clone());
        self.known.store(Arc::new(grown));
        Ok(namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> NamespaceRules {
        NamespaceRules { limit: 2, ..NamespaceRules::default() }
    }

    #[test]
    fn namespaces_appear_when_named_up_to_the_limit() {
        let namespaces = Namespaces::new(rules(), 4);
        let one = namespaces.get("namespace", "").expect("default");
        assert_eq!(one.name(), "default");
        assert!(Arc::ptr_eq(&one, &namespaces.get("namespace", "default").expect("the same")));
        namespaces.get("namespace", "two").expect("two");
        let refused = namespaces.get("namespace", "three").err();
        assert!(matches!(refused, Some(CacheError::Exhausted { limit: 2, .. })));
    }

    #[test]
    fn strict_namespaces_must_be_configured() {
        let mut rules = NamespaceRules { strict: true, ..rules() };
        rules.configured.insert("known".into(), NamespacePolicy::default());
        let namespaces = Namespaces::new(rules, 4);
        assert!(namespaces.get("namespace", "known").is_ok());
        assert!(matches!(namespaces.get("namespace", "other"), Err(CacheError::UnknownNamespace(_))));
        assert!(matches!(namespaces.get("namespace", "No!"), Err(CacheError::Invalid(_))));
    }

    #[test]
    fn an_invalidation_only_moves_forward() {
        let namespace = Namespace::new("n", 0, NamespacePolicy::default(), 2);
        namespace.invalidate(1, 7);
        namespace.invalidate(1, 5);
        assert_eq!((namespace.invalidated(0), namespace.invalidated(1)), (0, 7));
    }
}
