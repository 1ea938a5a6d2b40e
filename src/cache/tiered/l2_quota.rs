//! Quota of a namespace in L2, by an estimate.
//!
//! The sample of the deployment tells what all replicas have stored. Beyond that, this replica
//! counts what it has written since: also what replaces entries, until the next sample.

use std::time::Duration;

use super::backing::Backing;
use super::cache::TieredInner;
use crate::cache::error::CacheError;
use crate::cache::namespace::Namespace;

/// Time after which a refused Set is worth another try: entries expire, and samples follow.
const RETRY_AFTER: Duration = Duration::from_secs(5);

// === impl TieredInner ===

impl TieredInner {
    /// Admits a write of `bytes` into L2, unless `namespace` would exceed its quota there.
    pub(super) fn admit_l2_bytes(&self, namespace: &Namespace, bytes: usize) -> Result<(), CacheError> {
        let quota = namespace.policy().max_l2_bytes;
        let Backing::Shared(shared) = &self.backing else { return Ok(()) };
        if quota == 0 {
            return Ok(());
        }
        let sample = shared.l2().keyspace();
        let taken = sample.as_ref().map_or(0, |sample| sample.taken.0);
        let stored = sample.and_then(|sample| sample.usage(namespace.name()).bytes).unwrap_or(0);
        if namespace.l2_growth.admit(taken, bytes as u64, quota.saturating_sub(stored)) {
            return Ok(());
        }
        namespace.counters.over_l2_bytes.inc();
        Err(namespace.quota_reached("max_l2_bytes", quota, Some(RETRY_AFTER)).into())
    }
}
