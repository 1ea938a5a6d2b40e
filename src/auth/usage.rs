//! Uses of the limits of an identity. Counts outlive a reload.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sync::Mutex;

/// Something of which an identity may use a limited number at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedUse {
    /// Requests in flight.
    InFlight,
    /// Connections.
    Connections,
    /// Watches.
    Watches,
}

/// Numbers of [`LimitedUse`].
const LIMITED_USES: usize = 3;

/// The uses of one identity.
#[derive(Debug, Default)]
pub struct Usage {
    counts: [AtomicUsize; LIMITED_USES],
    /// Namespaces that it made known, or is about to.
    namespaces: Mutex<HashSet<Box<str>>>,
}

/// One use of something limited. Dropping it ends the use.
#[derive(Debug)]
pub struct UsageGuard {
    usage: Arc<Usage>,
    kind: LimitedUse,
}

/// Namespaces that a request may make known. Dropping it forgets those that it did not.
#[derive(Debug)]
pub struct NamespaceClaims {
    usage: Arc<Usage>,
    names: Vec<Box<str>>,
}

// === impl LimitedUse ===

impl LimitedUse {
    /// Returns the name of the setting that limits it.
    pub fn setting(self) -> &'static str {
        match self {
            LimitedUse::InFlight => "max_in_flight",
            LimitedUse::Connections => "max_connections",
            LimitedUse::Watches => "max_watches",
        }
    }
}

// === impl Usage ===

impl Usage {
    /// Begins a use, if fewer than `limit` have begun.
    pub fn begin(self: &Arc<Self>, kind: LimitedUse, limit: usize) -> Option<UsageGuard> {
        let one_more = |used: usize| (used < limit).then_some(used + 1);
        let count = &self.counts[kind as usize];
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(UsageGuard { usage: self.clone(), kind })
    }

    /// Claims unknown namespaces, if the identity then has claimed at most `limit`.
    pub fn claim(self: &Arc<Self>, names: Vec<Box<str>>, limit: usize) -> Option<NamespaceClaims> {
        let mut claimed = self.namespaces.lock();
        let new: Vec<_> = names.into_iter().filter(|name| !claimed.contains(name)).collect();
        if claimed.len() + new.len() > limit {
            return None;
        }
        claimed.extend(new.iter().cloned());
        Some(NamespaceClaims { usage: self.clone(), names: new })
    }
}

impl Drop for UsageGuard {
    fn drop(&mut self) {
        self.usage.counts[self.kind as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl NamespaceClaims ===

impl NamespaceClaims {
    /// Keeps the claims of namespaces that are known now, and forgets the others.
    pub fn settle(mut self, is_known: impl Fn(&str) -> bool) {
        self.names.retain(|name| !is_known(name));
    }
}

impl Drop for NamespaceClaims {
    fn drop(&mut self) {
        if !self.names.is_empty() {
            let mut claimed = self.usage.namespaces.lock();
            self.names.iter().for_each(|name| _ = claimed.remove(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_ends_when_its_guard_is_dropped() {
        let usage = Arc::new(Usage::default());
        let one = usage.begin(LimitedUse::InFlight, 1);
        assert!(one.is_some() && usage.begin(LimitedUse::InFlight, 1).is_none());
        assert!(usage.begin(LimitedUse::Watches, 1).is_some(), "each kind has its own count");
        drop(one);
        assert!(usage.begin(LimitedUse::InFlight, 1).is_some());
    }

    #[test]
    fn a_namespace_that_was_not_made_known_counts_no_longer() {
        let usage = Arc::new(Usage::default());
        let claim = |names: &[&str]| usage.claim(names.iter().map(|name| (*name).into()).collect(), 2);
        claim(&["a"]).expect("room").settle(|_| true);
        let pending = claim(&["b"]).expect("room");
        assert!(claim(&["c"]).is_none() && claim(&["a"]).is_some());
        pending.settle(|_| false);
        assert!(claim(&["c", "d"]).is_none());
        claim(&["c"]).expect("room").settle(|name| name == "c");
        assert!(claim(&["d"]).is_none());
    }
}
