//! One namespace: its policy, counters, quotas and invalidation log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use xxhash_rust::xxh3::xxh3_64;

use crate::cache::error::{CacheError, QuotaReached, Violations};
use crate::cache::invalidation::log::InvalidationLog;
use crate::cache::invalidation::log_budget::Budget;
use crate::cache::policy::rate_limit::{RateLimit, RateReached, RateSettings};
use crate::cache::policy::{Limits, NamespacePolicy, PolicyPatch};
use crate::cache::stats::{L1Activity, L2Growth, NamespaceCounters, NamespaceCounts};
use crate::sync::Mutex;

/// The namespace of a request that names none.
pub const DEFAULT: &str = "default";
/// First id of unregistered namespaces.
pub(super) const FIRST_UNREGISTERED_ID: u32 = 1 << 31;
/// Time after which a request beyond `max_in_flight` is worth another try.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// One namespace of this replica.
pub struct Namespace {
    /// Id of this namespace inside this process.
    pub id: u32,
    /// Counters.
    pub counters: NamespaceCounters,
    /// Use of L1, which L1 records.
    pub l1_activity: L1Activity,
    /// Bytes written into L2 since the last sample of it.
    pub l2_growth: L2Growth,
    pub(in crate::cache) seed: u64,
    name: Box<str>,
    policy: ArcSwap<NamespacePolicy>,
    /// Policy without changes at run time, and these changes.
    base: Mutex<PolicyBase>,
    in_flight: AtomicU64,
    rate_limit: RateLimit,
    invalidation_log: Arc<InvalidationLog>,
}

struct PolicyBase {
    configured: NamespacePolicy,
    changed: PolicyPatch,
}

/// A request in flight. Dropping it ends it.
pub struct InFlightPlace(Arc<Namespace>);

impl Drop for InFlightPlace {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

// === impl Namespace ===

impl Namespace {
    pub(in crate::cache) fn new(name: &str, id: u32, policy: NamespacePolicy, partitions: u16) -> Self {
        let limits = Limits::default();
        let log = InvalidationLog::within(&Budget::new(limits.tombstone_bytes), partitions, limits.tombstones);
        Namespace::with_log(name, id, policy, log)
    }

    pub(super) fn with_log(name: &str, id: u32, policy: NamespacePolicy, log: Arc<InvalidationLog>) -> Self {
        let namespace = Namespace {
            id,
            counters: NamespaceCounters::default(),
            l1_activity: L1Activity::default(),
            l2_growth: L2Growth::default(),
            in_flight: AtomicU64::new(0),
            seed: xxh3_64(name.as_bytes()),
            name: name.into(),
            rate_limit: RateLimit::new(rates(&policy)),
            policy: ArcSwap::from_pointee(policy.clone()),
            base: Mutex::new(PolicyBase { configured: policy, changed: PolicyPatch::default() }),
            invalidation_log: log,
        };
        namespace.publish_quotas();
        namespace
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the policy in force. The guard must not be held for long.
    pub fn policy(&self) -> Guard<Arc<NamespacePolicy>> {
        self.policy.load()
    }

    /// Admits a request, unless a rate limit of the namespace is reached.
    pub fn admit(&self) -> Result<(), CacheError> {
        self.rate_limit.admit().map_err(|reached| self.throttled(reached))
    }

    /// Admits the items of a batch, all or none. Each counts as a request.
    pub fn admit_many(&self, requests: usize) -> Result<(), CacheError> {
        self.rate_limit.admit_many(requests).map_err(|reached| self.throttled(reached))
    }

    /// Charges bytes of keys and values, received or about to be sent.
    pub fn charge(&self, bytes: usize) {
        self.rate_limit.charge(bytes);
    }

    fn throttled(&self, reached: RateReached) -> CacheError {
        let policy = self.policy();
        let quota = match reached {
            RateReached::Requests(wait) => {
                self.counters.throttled.inc();
                self.quota_reached("max_requests_per_second", policy.max_requests_per_second.ceil() as u64, Some(wait))
            }
            RateReached::Bytes(wait) => {
                self.counters.over_byte_rate.inc();
                self.quota_reached("max_bytes_per_second", policy.max_bytes_per_second, Some(wait))
            }
        };
        quota.into()
    }

    /// Returns the bytes of L1 that it reserves.
    pub fn reservation(&self) -> u64 {
        self.policy().reserved_bytes
    }

    /// Returns true if its requests in flight are limited.
    pub fn limits_in_flight(&self) -> bool {
        self.policy().max_in_flight > 0
    }

    /// Admits a request until the guard is dropped, unless too many are in flight. `None` if they are
    /// not limited.
    pub fn enter(self: &Arc<Self>) -> Result<Option<InFlightPlace>, CacheError> {
        let limit = self.policy().max_in_flight;
        if limit == 0 {
            return Ok(None);
        }
        let add = |number: u64| (number < limit).then_some(number + 1);
        match self.in_flight.fetch_update(Relaxed, Relaxed, add) {
            Ok(_) => Ok(Some(InFlightPlace(self.clone()))),
            Err(_) => {
                self.counters.over_in_flight.inc();
                Err(self.quota_reached("max_in_flight", limit, Some(RETRY_AFTER)).into())
            }
        }
    }

    /// Returns true if it has no entry in L1, no request in flight and no change of its policy.
    pub(super) fn holds_nothing(&self) -> bool {
        self.counters.entries.get() == 0 && self.in_flight.load(Relaxed) == 0 && self.base.lock().changed.is_empty()
    }

    /// Returns the counts.
    pub fn counts(&self) -> NamespaceCounts {
        NamespaceCounts { tombstone_overflows: self.invalidation_log.overflows(), ..self.counters.read() }
    }

    /// Returns the error of a quota of this namespace, which is its setting `field`.
    pub fn quota_reached(&self, field: &'static str, limit: u64, retry_after: Option<Duration>) -> QuotaReached {
        QuotaReached { section: "namespaces", name: self.name.to_string(), field, limit, retry_after }
    }

    /// Returns the changes of the policy at run time.
    pub fn changed(&self) -> PolicyPatch {
        self.base.lock().changed.clone()
    }

    /// Returns the configured policy as changed by `patch`, or all its violations.
    pub fn policy_changed_by(&self, patch: &PolicyPatch) -> Result<NamespacePolicy, Violations> {
        patch.apply(&self.base.lock().configured)
    }

    /// Replaces all earlier changes of the configured policy by `patch`. Changes nothing if the
    /// result is invalid.
    pub(super) fn change(&self, patch: PolicyPatch) -> Result<(), CacheError> {
        let mut base = self.base.lock();
        let policy = patch.apply(&base.configured).map_err(CacheError::Invalid)?;
        base.changed = patch;
        self.set_policy(policy);
        Ok(())
    }

    /// Replaces the configured policy. Changes at run time stay, unless they contradict it.
    pub(super) fn reconfigure(&self, configured: &NamespacePolicy) {
        let mut base = self.base.lock();
        base.configured = configured.clone();
        let policy = base.changed.apply(configured).unwrap_or_else(|violations| {
            tracing::warn!(namespace = %self.name, %violations, "policy change is invalid with the new configuration");
            base.changed = PolicyPatch::default();
            configured.clone()
        });
        self.set_policy(policy);
    }

    /// Sets the policy in force. To be called under the lock of `base`.
    fn set_policy(&self, policy: NamespacePolicy) {
        if rates(&self.policy()) != rates(&policy) {
            self.rate_limit.set(rates(&policy));
        }
        self.policy.store(Arc::new(policy));
        self.publish_quotas();
    }

    /// Makes the quotas of memory known to Stats and metrics.
    fn publish_quotas(&self) {
        let policy = self.policy();
        self.counters.quota_bytes.set(policy.max_bytes);
        self.counters.reservation.set(policy.reserved_bytes);
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

fn rates(policy: &NamespacePolicy) -> RateSettings {
    RateSettings { requests: policy.max_requests_per_second, bytes: policy.max_bytes_per_second }
}
