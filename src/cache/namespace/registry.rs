//! The namespaces of a replica: which exist, and which are forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::namespace::{DEFAULT, FIRST_UNREGISTERED_ID, Namespace};
use crate::cache::caller::CallerKey;
use crate::cache::error::{CacheError, Violation};
use crate::cache::invalidation::log::InvalidationLog;
use crate::cache::invalidation::log_budget::Budget;
use crate::cache::policy::{Limits, NamespacePolicy, PolicyPatch, limits};
use crate::cache::stats::NamespaceCounts;
use crate::sync::Mutex;

/// Time without a call after which a namespace that holds nothing may be forgotten: longer than a
/// lease, and than a request lasts by default.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// The namespaces that a replica knows: the configured ones, and those in which something was
/// written, invalidated or found.
pub struct Namespaces {
    known: ArcSwap<HashMap<Box<str>, Arc<Namespace>>>,
    growing: Mutex<Growth>,
    guests: AtomicU32,
    rules: ArcSwap<NamespaceRules>,
    partitions: u16,
    budget: Arc<Budget>,
}

/// State of the namespaces that are not configured.
struct Growth {
    next_id: u32,
    /// Namespaces that are not configured, by id.
    made: HashMap<u32, MadeKnown>,
    /// Counts of the namespaces that were forgotten.
    forgotten: NamespaceCounts,
}

/// A namespace that is not configured.
struct MadeKnown {
    /// The caller that named it first. `None` if that is not known.
    by: Option<CallerKey>,
    /// Calls counted at the last look, and when they last changed.
    calls: u64,
    used_at: Instant,
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
    /// Largest share of the namespaces that one caller may make known. 1: all.
    pub caller_share: f64,
    /// Time without a call after which a namespace that holds nothing may be forgotten.
    pub forgotten_after: Duration,
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
            caller_share: 1.0,
            forgotten_after: FORGOTTEN_AFTER,
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
        let first: HashMap<_, _> = first.collect();
        let growth =
            Growth { next_id: first.len() as u32, made: HashMap::new(), forgotten: NamespaceCounts::default() };
        let known = ArcSwap::from_pointee(first);
        let (growing, guests, rules) = (Mutex::new(growth), AtomicU32::new(0), ArcSwap::from_pointee(rules));
        Namespaces { known, growing, guests, rules, partitions, budget }
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
        let others = others.fold(0u64, |sum, other| sum.saturating_add(other.reservation()));
        let size = self.rules.load().l1_size;
        let left = size.saturating_sub(others);
        if reserved <= left {
            return Ok(());
        }
        let rule = format!("must be at most {left} bytes: others reserve {others} of {size}; was {reserved}");
        Err(Violation::new("reserved_bytes", rule).into())
    }

    /// Returns the bytes of the prefixes and tags in the invalidation logs of all namespaces.
    pub fn invalidation_log_bytes(&self) -> usize {
        self.budget.used()
    }

    /// Returns all registered namespaces, sorted by name.
    pub fn all(&self) -> Vec<Arc<Namespace>> {
        let known = self.known.load();
        self.growing.lock().look(&known, Instant::now());
        let mut all: Vec<_> = known.values().cloned().collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// Returns the counts of the namespaces that were forgotten, so that sums do not fall.
    pub fn forgotten(&self) -> NamespaceCounts {
        self.growing.lock().forgotten.clone()
    }

    /// Returns how many of the namespaces that are known now `caller` has made known.
    pub fn made_known_by(&self, caller: &CallerKey) -> usize {
        self.growing.lock().made_by(caller)
    }

    /// Replaces the configured policies and limits, after a reload. Changes at run time stay. The
    /// limits of tombstones are those of the start.
    pub fn apply(&self, rules: &NamespaceRules) {
        self.rules.store(Arc::new(rules.clone()));
        for namespace in self.known.load().values() {
            namespace.reconfigure(rules.configured.get(namespace.name()).unwrap_or(&rules.default_policy));
        }
        let mut growth = self.growing.lock();
        let known = self.known.load();
        let new: Vec<_> = rules.configured.iter().filter(|(name, _)| !known.contains_key(name.as_str())).collect();
        growth.made.retain(|id, _| {
            known.values().any(|namespace| namespace.id == *id && !rules.configured.contains_key(namespace.name()))
        });
        for (name, policy) in new {
            self.insert(&mut growth, name, policy.clone());
        }
    }

    fn unregistered(&self, name: &str) -> Arc<Namespace> {
        let id = FIRST_UNREGISTERED_ID | self.guests.fetch_add(1, Ordering::Relaxed);
        Arc::new(Namespace::new(name, id, self.rules.load().default_policy.clone(), self.partitions))
    }

    fn check_name(&self, field: &str, name: &str) -> Result<(), CacheError> {
        limits::namespace(field, name)?;
        let rules = self.rules.load();
        let exists = !rules.strict || rules.configured.contains_key(name);
        if exists { Ok(()) } else { Err(CacheError::UnknownNamespace(name.to_owned())) }
    }

    fn add(&self, field: &str, name: &str) -> Result<Arc<Namespace>, CacheError> {
        self.check_name(field, name)?;
        let mut growth = self.growing.lock();
        if let Some(namespace) = self.known.load().get(name) {
            return Ok(namespace.clone());
        }
        let rules = self.rules.load();
        // "default" always exists and does not count.
        let left = || (rules.limit.max(rules.configured.len()) + 1).saturating_sub(self.known.load().len());
        if left() == 0 {
            self.forget_unused(&mut growth, &rules);
        }
        let exhausted = |what| Err(CacheError::Exhausted { what, limit: rules.limit, retry_after: None });
        if left() == 0 {
            return exhausted("namespaces");
        }
        let by = CallerKey::current();
        if let Some(caller) = &by
            && growth.exceeds_share(caller, left(), rules.caller_share)
        {
            return exhausted("share of this caller in the namespaces");
        }
        let namespace = self.insert(&mut growth, name, rules.default_policy.clone());
        growth.made.insert(namespace.id, MadeKnown { by, calls: 0, used_at: Instant::now() });
        Ok(namespace)
    }

    fn insert(&self, growth: &mut Growth, name: &str, policy: NamespacePolicy) -> Arc<Namespace> {
        let log = InvalidationLog::within(&self.budget, self.partitions, self.rules.load().tombstones);
        let namespace = Arc::new(Namespace::with_log(name, growth.next_id, policy, log));
        growth.next_id += 1;
        let mut grown = HashMap::clone(&self.known.load());
        grown.insert(name.into(), namespace.clone());
        self.known.store(Arc::new(grown));
        namespace
    }

    /// Forgets the namespaces that are not configured, hold nothing and were not used for a while.
    fn forget_unused(&self, growth: &mut Growth, rules: &NamespaceRules) {
        let (now, known) = (Instant::now(), self.known.load());
        growth.look(&known, now);
        let is_unused = |namespace: &Namespace| {
            let unused_for = |made: &MadeKnown| now.saturating_duration_since(made.used_at);
            let made = growth.made.get(&namespace.id);
            namespace.holds_nothing() && made.is_some_and(|made| unused_for(made) >= rules.forgotten_after)
        };
        let unused: Vec<_> = known.values().filter(|namespace| is_unused(namespace)).cloned().collect();
        if unused.is_empty() {
            return;
        }
        let mut left = HashMap::clone(&known);
        for namespace in unused {
            left.remove(namespace.name());
            growth.made.remove(&namespace.id);
            growth.forgotten = growth.forgotten.plus(&namespace.counts().without_gauges());
            tracing::debug!(namespace = %namespace.name(), "forgot a namespace that holds nothing");
        }
        self.known.store(Arc::new(left));
    }
}

// === impl Growth ===

impl Growth {
    /// Records which namespaces were used since the last look.
    fn look(&mut self, known: &HashMap<Box<str>, Arc<Namespace>>, now: Instant) {
        for namespace in known.values() {
            if let Some(made) = self.made.get_mut(&namespace.id) {
                let calls = namespace.counters.calls();
                if std::mem::replace(&mut made.calls, calls) != calls {
                    made.used_at = now;
                }
            }
        }
    }

    fn made_by(&self, caller: &CallerKey) -> usize {
        self.made.values().filter(|made| made.by.as_ref() == Some(caller)).count()
    }

    /// Returns true if `caller` may make no further namespace known: it may as long as it has made
    /// known at most a multiple of what is left, so that it leaves some to others.
    fn exceeds_share(&self, caller: &CallerKey, left: usize, share: f64) -> bool {
        share < 1.0 && self.made_by(caller) as f64 > left as f64 * share / (1.0 - share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_holds_nothing_makes_room_for_another() {
        let rules = NamespaceRules { forgotten_after: Duration::ZERO, ..rules() };
        let namespaces = Namespaces::new(rules, 4);
        let [used, unused] = ["used", "unused"].map(|name| namespaces.get("namespace", name).expect("room"));
        used.counters.entries.inc();
        unused.counters.sets_stored.add(3);
        let third = namespaces.get("namespace", "third").expect("room of the unused one");
        assert!(namespaces.find("unused").is_none() && namespaces.find("used").is_some());
        assert_ne!(third.id, unused.id);
        assert_eq!(namespaces.forgotten().sets_stored, 3, "sums do not fall");
        third.counters.entries.inc();
        assert!(namespaces.get("namespace", "unused").is_err(), "all hold something");
        used.counters.entries.sub(1);
        let patch = PolicyPatch { jitter: Some(0.1), ..PolicyPatch::default() };
        namespaces.change_policy("used", patch).expect("allowed");
        assert!(namespaces.get("namespace", "unused").is_err(), "a changed policy is kept");
        namespaces.change_policy("used", PolicyPatch::default()).expect("allowed");
        assert!(namespaces.get("namespace", "unused").is_ok());
    }

    #[tokio::test]
    async fn a_caller_leaves_namespaces_to_others() {
        let rules = NamespaceRules { limit: 100, caller_share: 0.8, ..NamespaceRules::default() };
        let namespaces = Namespaces::new(rules, 4);
        let [one, other] = [1, 2].map(|last| CallerKey::Peer([10, 0, 0, last].into()));
        let add = async |caller: &CallerKey, name: String| {
            caller.clone().scope(async { namespaces.get("namespace", &name).map(|_| ()) }).await
        };
        let mut added = 0;
        while add(&one, format!("one{added}")).await.is_ok() {
            added += 1;
        }
        assert_eq!((added, namespaces.made_known_by(&one)), (81, 81));
        let refused = add(&one, "more".to_owned()).await.expect_err("refused").to_string();
        assert_eq!(refused, "share of this caller in the namespaces limit of 100 reached");
        assert_eq!(add(&one, "one7".to_owned()).await, Ok(()), "known already");
        assert_eq!(add(&other, "other".to_owned()).await, Ok(()));
        assert_eq!(namespaces.made_known_by(&other), 1);
    }

    #[test]
    fn a_reload_replaces_what_is_configured_and_keeps_changes() {
        let namespaces = Namespaces::new(rules(), 4);
        let namespace = namespaces.get("namespace", "n").expect("room");
        let patch = PolicyPatch { jitter: Some(0.5), ..PolicyPatch::default() };
        namespaces.change_policy("n", patch).expect("allowed");
        let configured = NamespacePolicy { max_leases: 7, max_in_flight: 1, ..NamespacePolicy::default() };
        let all = [("n", configured.clone()), ("new", configured)].map(|(name, policy)| (name.to_owned(), policy));
        namespaces.apply(&NamespaceRules { configured: all.into(), ..rules() });
        assert_eq!((namespace.policy().max_leases, namespace.policy().jitter), (7, 0.5));
        assert_eq!(namespaces.find("new").expect("registered").policy().max_leases, 7);
        let first = namespace.enter().expect("room");
        assert!(namespace.enter().is_err() && first.is_some());
        namespaces.apply(&rules());
        assert_eq!((namespace.policy().max_leases, namespace.policy().jitter), (1000, 0.5));
        assert!(matches!(namespace.enter(), Ok(None)));
    }

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
