//! Namespaces that wait for a sweep of L1.

use std::collections::BTreeMap;

/// Namespaces that may have dead entries in memory, by number, with how often something was invalidated there.
pub(super) type SweepQueue = BTreeMap<u32, u64>;
