//! Namespaces: policy, counters, rate limit and invalidation log of each.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use xxhash_rust::xxh3::xxh3_64;

use super::error::{CacheError, QuotaReached, Violation, Violations};
use super::invalidation::log::InvalidationLog;
use super::invalidation::log_budget::Budget;
use super::policy::rate_limit::RateLimit;
use super::policy::{Limits, NamespacePolicy, PolicyPatch, limits};
use super::stats::{L1Activity, NamespaceCounters};
use crate::sync::Mutex;

/// The namespace of a request that names none.
pub const DEFAULT: &str = "default";
/// First id of unregistered namespaces.
const FIRST_UNREGISTERED_ID: u32 = 1 << 31;

/// One namespace of this replica.
pub struct Namespace {
    /// Id of this namespace inside this process.
    pub id: u32,
    /// Counters.
    pub counters: NamespaceCounters,
    /// Use of L1, which L1 records.
    pub l1_activity: L1Activity,
    pub(super) seed: u64,
    name: Box<str>,
    policy: ArcSwap<NamespacePolicy>,
    configured: NamespacePolicy,
    changed: Mutex<PolicyPatch>,
    rate_limit: RateLimit,
    invalidation_log: Arc<InvalidationLog>,
}

impl Namespace {
    pub(super) fn new(name: &str, id: u32, policy: NamespacePolicy, partitions: u16) -> Self {
        let limits = Limits::default();
        let log = InvalidationLog::within(&Budget::new(limits.tombstone_bytes), partitions, limits.tombstones);
        Namespace::with_log(name, id, policy, log)
    }

    fn with_log(name: &str, id: u32, policy: NamespacePolicy, log: Arc<InvalidationLog>) -> Self {
        Namespace {
            id,
            counters: NamespaceCounters::default(),
            l1_activity: L1Activity::default(),
            seed: xxh3_64(name.as_bytes()),
            name: name.into(),
            rate_limit: RateLimit::new(policy.max_requests_per_second),
            policy: ArcSwap::from_pointee(policy.clone()),
            configured: policy,
            changed: Mutex::default(),
            invalidation_log: log,
        }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the policy in force. The guard must not be held for long.
    pub fn policy(&self) -> Guard<Arc<NamespacePolicy>> {
        self.policy.load()
    }

    /// Admits a request, unless the rate limit of the namespace is reached.
    pub fn admit(&self) -> Result<(), CacheError> {
        self.rate_limit.admit().map_err(|wait| self.throttled(wait))
    }

    /// Admits the items of a batch, all or none. Each counts as a request.
    pub fn admit_many(&self, requests: usize) -> Result<(), CacheError> {
        self.rate_limit.admit_many(requests).map_err(|wait| self.throttled(wait))
    }

    fn throttled(&self, wait: Duration) -> CacheError {
        self.counters.throttled.inc();
        let limit = self.policy().max_requests_per_second.ceil() as u64;
        self.quota_reached("max_requests_per_second", limit, Some(wait)).into()
    }

    /// Returns the error of a quota of this namespace, which is its setting `field`.
    pub fn quota_reached(&self, field: &'static str, limit: u64, retry_after: Option<Duration>) -> QuotaReached {
        QuotaReached { section: "namespaces", name: self.name.to_string(), field, limit, retry_after }
    }

    /// Returns the changes of the policy at run time.
    pub fn changed(&self) -> PolicyPatch {
        self.changed.lock().clone()
    }

    /// Returns the configured policy as changed by `patch`, or all its violations.
    pub fn policy_changed_by(&self, patch: &PolicyPatch) -> Result<NamespacePolicy, Violations> {
        patch.apply(&self.configured)
    }

    /// Replaces all earlier changes of the configured policy by `patch`. Changes nothing if the
    /// result is invalid.
    fn change(&self, patch: PolicyPatch) -> Result<(), CacheError> {
        let policy = patch.apply(&self.configured).map_err(CacheError::Invalid)?;
        let mut changed = self.changed.lock();
        if self.policy().max_requests_per_second != policy.max_requests_per_second {
            self.rate_limit.set(policy.max_requests_per_second);
        }
        self.policy.store(Arc::new(policy));
        *changed = patch;
        Ok(())
    }

    /// Returns true if this replica has not registered it: it serves reads only.
    pub fn is_unregistered(&self) -> bool {
        self.id >= FIRST_UNREGISTERED_ID
    }

    /// Returns the log of invalidations by selector.
    pub fn invalidation_log(&self) -> &InvalidationLog {
        &self.invalidation_log
    }
}

/// The namespaces that a replica knows: the configured ones, and those in which something was
/// written, invalidated or found.
pub struct Namespaces {
    known: ArcSwap<HashMap<Box<str>, Arc<Namespace>>>,
    growing: Mutex<()>,
    guests: AtomicU32,
    rules: NamespaceRules,
    partitions: u16,
    budget: Arc<Budget>,
}

/// Rules for the namespaces that may exist.
#[derive(Clone, Debug)]
pub struct NamespaceRules {
    /// Policy of a namespace that is not configured.
    pub default_policy: NamespacePolicy,
    /// Policies by name.
    pub configured: std::collections::BTreeMap<String, NamespacePolicy>,
    /// True: only configured namespaces exist.
    pub strict: bool,
    /// Most namespaces that a replica registers.
    pub limit: usize,
    /// Prefixes and tags that the invalidation log of a namespace keeps at least.
    pub tombstones: usize,
    /// Most bytes of prefixes and tags in the invalidation logs of all namespaces.
    pub tombstone_bytes: usize,
    /// Bytes of L1, of which namespaces may reserve parts.
    pub l1_size: u64,
}

impl Default for NamespaceRules {
    fn default() -> Self {
        NamespaceRules {
            default_policy: NamespacePolicy::default(),
            configured: std::collections::BTreeMap::new(),
            strict: false,
            limit: 0,
            tombstones: Limits::default().tombstones,
            tombstone_bytes: Limits::default().tombstone_bytes,
            l1_size: u64::MAX,
        }
    }
}

impl Namespaces {
    /// Registers the configured namespaces, and "default" unless namespaces have to be configured.
    pub fn new(rules: NamespaceRules, partitions: u16) -> Self {
        let default = (DEFAULT.to_owned(), rules.default_policy.clone());
        let default = Some(default).filter(|_| !rules.strict && !rules.configured.contains_key(DEFAULT));
        let budget = Budget::new(rules.tombstone_bytes);
        let log = || InvalidationLog::within(&budget, partitions, rules.tombstones);
        let first = rules.configured.clone().into_iter().chain(default).enumerate().map(|(id, (name, policy))| {
            let namespace = Namespace::with_log(&name, id as u32, policy, log());
            (name.into_boxed_str(), Arc::new(namespace))
        });
        let known = ArcSwap::from_pointee(first.collect());
        Namespaces { known, growing: Mutex::new(()), guests: AtomicU32::new(0), rules, partitions, budget }
    }

    /// Returns the namespace `name`, and registers it if it is new. An empty name means "default".
    pub fn get(&self, field: &str, name: &str) -> Result<Arc<Namespace>, CacheError> {
        let name = if name.is_empty() { DEFAULT } else { name };
        match self.known.load().get(name) {
            Some(namespace) => Ok(namespace.clone()),
            None => self.add(field, name),
        }
    }

    /// Returns the namespace `name` for a read. It does not register a new one, so that reads of
    /// random names use no room.
    pub fn get_to_read(&self, field: &str, name: &str) -> Result<Arc<Namespace>, CacheError> {
        let name = if name.is_empty() { DEFAULT } else { name };
        if let Some(namespace) = self.find(name) {
            return Ok(namespace);
        }
        self.check_name(field, name)?;
        Ok(self.unregistered(name))
    }

    /// Returns the namespace `name`, of which other replicas may hold entries, for an invalidation.
    /// One that may not exist here (`strict`) is not registered: no request reaches its entries.
    pub fn get_to_invalidate(&self, name: &str) -> Result<Arc<Namespace>, CacheError> {
        match self.get("namespaces", name) {
            Err(CacheError::UnknownNamespace(_)) => Ok(self.unregistered(name)),
            found => found,
        }
    }

    /// Registers a namespace in which something was found, if there is room.
    pub fn register(&self, guest: &Namespace) {
        if let Ok(namespace) = self.get("namespace", guest.name()) {
            namespace.counters.absorb(&guest.counters);
        }
    }

    /// Returns the namespace `name`. `None` if this replica has not registered it.
    pub fn find(&self, name: &str) -> Option<Arc<Namespace>> {
        self.known.load().get(name).cloned()
    }

    /// Replaces all earlier changes of the configured policy of `name` by `patch`. An empty patch
    /// resets the policy. Registers the namespace.
    pub fn change_policy(&self, name: &str, patch: PolicyPatch) -> Result<Arc<Namespace>, CacheError> {
        let namespace = self.get("namespace", name)?;
        self.check_reservation(&namespace, &patch)?;
        namespace.change(patch)?;
        Ok(namespace)
    }

    /// Checks that all namespaces together reserve no more than L1 has, if the policy of `namespace`
    /// is changed by `patch`.
    pub fn check_reservation(&self, namespace: &Namespace, patch: &PolicyPatch) -> Result<(), CacheError> {
        let Some(reserved) = patch.reserved_bytes else { return Ok(()) };
        let known = self.known.load();
        let others = known.values().filter(|other| other.id != namespace.id);
        let others = others.fold(0u64, |sum, other| sum.saturating_add(other.policy().reserved_bytes));
        let (left, size) = (self.rules.l1_size.saturating_sub(others), self.rules.l1_size);
        if reserved <= left {
            return Ok(());
        }
        let rule = format!("must be at most {left} bytes: others reserve {others} of l1.size, {size}; was {reserved}");
        Err(Violation::new("reserved_bytes", rule).into())
    }

    /// Returns the bytes of the prefixes and tags in the invalidation logs of all namespaces.
    pub fn invalidation_log_bytes(&self) -> usize {
        self.budget.used()
    }

    /// Returns all registered namespaces, sorted by name.
    pub fn all(&self) -> Vec<Arc<Namespace>> {
        let mut all: Vec<_> = self.known.load().values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn unregistered(&self, name: &str) -> Arc<Namespace> {
        let id = FIRST_UNREGISTERED_ID | self.guests.fetch_add(1, Ordering::Relaxed);
        Arc::new(Namespace::new(name, id, self.rules.default_policy.clone(), self.partitions))
    }

    fn check_name(&self, field: &str, name: &str) -> Result<(), CacheError> {
        limits::namespace(field, name)?;
        if self.rules.strict { Err(CacheError::UnknownNamespace(name.to_owned())) } else { Ok(()) }
    }

    fn add(&self, field: &str, name: &str) -> Result<Arc<Namespace>, CacheError> {
        self.check_name(field, name)?;
        let _one_at_a_time = self.growing.lock();
        let known = self.known.load();
        if let Some(namespace) = known.get(name) {
            return Ok(namespace.clone());
        }
        // "default" always exists and does not count.
        if known.len() > self.rules.limit.max(self.rules.configured.len()) {
            return Err(CacheError::Exhausted { what: "namespaces", limit: self.rules.limit, retry_after: None });
        }
        let policy = self.rules.default_policy.clone();
        let log = InvalidationLog::within(&self.budget, self.partitions, self.rules.tombstones);
        let namespace = Arc::new(Namespace::with_log(name, known.len() as u32, policy, log));
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
        namespaces.get("namespace", "one").expect("one");
        namespaces.get("namespace", "two").expect("two");
        let refused = namespaces.get("namespace", "three").err();
        assert!(matches!(refused, Some(CacheError::Exhausted { limit: 2, .. })));
    }

    #[test]
    fn reading_at_random_uses_no_namespace_up() {
        let namespaces = Namespaces::new(rules(), 4);
        for n in 0..100 {
            let guest = namespaces.get_to_read("namespace", &format!("guest{n}")).expect("answered");
            assert!(
                guest.is_unregistered()
                    && guest.id != namespaces.get_to_read("namespace", "other").expect("answered").id
            );
        }
        let guest = namespaces.get_to_read("namespace", "found").expect("answered");
        guest.counters.l2_hits.inc();
        namespaces.register(&guest);
        let found = namespaces.get_to_read("namespace", "found").expect("known");
        assert_eq!((found.is_unregistered(), found.counters.l2_hits.get()), (false, 1));
    }

    #[test]
    fn strict_namespaces_must_be_configured() {
        let mut rules = NamespaceRules { strict: true, ..rules() };
        rules.configured.insert("known".into(), NamespacePolicy::default());
        let namespaces = Namespaces::new(rules, 4);
        assert!(namespaces.get("namespace", "known").is_ok());
        assert!(matches!(namespaces.get("namespace", "other"), Err(CacheError::UnknownNamespace(_))));
        assert!(matches!(namespaces.get("namespace", "No!"), Err(CacheError::Invalid(_))));
        assert!(namespaces.get_to_invalidate("other").expect("a guest").is_unregistered());
        assert!(!namespaces.get_to_invalidate("known").expect("known").is_unregistered());
    }

    #[test]
    fn a_policy_is_changed_from_what_is_configured() {
        let namespaces = Namespaces::new(rules(), 4);
        let namespace = namespaces.get("namespace", "n").expect("known");
        let change = |patch| namespaces.change_policy("n", patch).map(|_| ());
        change(PolicyPatch { jitter: Some(0.5), ..PolicyPatch::default() }).expect("changed");
        change(PolicyPatch { l1: Some(false), ..PolicyPatch::default() }).expect("changed");
        assert_eq!((namespace.policy().jitter, namespace.policy().l1), (0.0, false));
        assert!(change(PolicyPatch { jitter: Some(0.6), ..PolicyPatch::default() }).is_err());
        assert_eq!(namespace.changed(), PolicyPatch { l1: Some(false), ..PolicyPatch::default() });
        change(PolicyPatch::default()).expect("taken back");
        assert_eq!(**namespace.policy(), NamespacePolicy::default());
    }
}
