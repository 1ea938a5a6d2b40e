//! Namespaces that wait for a sweep of L1.

use std::collections::BTreeMap;

/// Namespaces that may have dead entries in L1, by number, with their count of invalidations.
pub(super) type SweepQueue = BTreeMap<u32, u64>;
