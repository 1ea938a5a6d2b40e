//! Fixtures for the core's own tests: an L1 that is a plain map, and a replica's coherence over it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::clock::{Clock, ManualClock, Moment};
use super::coherence::safeguards::Safeguards;
use super::coherence::{Coherence, CoherenceConfig, FillGuard, cached_entry};
use super::entry::{CachedEntry, Content, Entry, NewEntry};
use super::key::{Key, KeyRef};
use super::lifetime::Lifetime;
use super::namespace::{Namespace, NamespaceRules, Namespaces};
use super::tier::{L1, L1Usage, NotTaken};
use super::version::Version;

/// Methods of the entries of a shared tier that a test does not call.
macro_rules! not_asked {
    (namespaces; barrier; $($rest:tt)*) => {
        fn namespaces(&self, _: Moment) -> BoxFuture<'_, Result<std::collections::BTreeSet<String>, L2Error>> {
            unreachable!("not called in these tests")
        }
        fn scan_keys<'a>(
            &'a self,
            _: $crate::cache::tier::KeyScan<'a>,
            _: Moment,
        ) -> BoxFuture<'a, Result<$crate::cache::tier::ScannedKeys, L2Error>> {
            unreachable!("not called in these tests")
        }
        fn barrier(&self) -> Box<dyn $crate::cache::tier::FleetBarrier + '_> {
            unreachable!("not called in these tests")
        }
        not_asked! { $($rest)* }
    };
    ($($name:ident($($argument:ty),*) -> $answer:ty;)*) => {
        $(fn $name<'a>(&'a self, $(_: $argument),*) -> BoxFuture<'a, Result<$answer, L2Error>> {
            unreachable!("not called in these tests")
        })*
    };
}
pub(crate) use not_asked;

/// Implements the leases of a shared tier that a test does not call.
macro_rules! no_leases {
    ($double:ty) => {
        impl $crate::cache::tier::LeaseStore for $double {
            not_asked! {
                acquire(&'a Key, $crate::cache::tier::LeaseClaim, Moment) -> $crate::cache::tier::Acquired;
                release(&'a Key, $crate::cache::tier::LeaseRelease, Moment) -> bool;
            }
        }
    };
}
pub(crate) use no_leases;

/// Implements a shared tier's failovers, of which it has none, and its status.
macro_rules! no_failovers {
    ($double:ty) => {
        impl $crate::cache::tier::FailoverStore for $double {
            fn takeover(
                &self,
                _: u16,
                _: u64,
                _: Moment,
            ) -> BoxFuture<'_, Result<$crate::cache::tier::Takeover, L2Error>> {
                unreachable!("not called in these tests")
            }
            fn settle(
                &self,
                _: u16,
                _: u64,
                _: $crate::cache::tier::Settlement,
                _: Moment,
            ) -> BoxFuture<'_, Result<bool, L2Error>> {
                unreachable!("not called in these tests")
            }
            fn is_behind(&self, _: u16) {}
        }

        impl $crate::cache::tier::TierStatus for $double {
            fn report(&self) -> $crate::cache::tier::L2Report {
                Default::default()
            }
            fn operations(&self) -> Option<&$crate::cache::stats::LabeledHistograms> {
                None
            }
            fn halted(&self) -> Option<String> {
                None
            }
            fn close(&self) -> BoxFuture<'_, ()> {
                Box::pin(std::future::ready(()))
            }
        }
    };
}
pub(crate) use no_failovers;

/// The staleness bound in these tests.
pub const BOUND: Duration = Duration::from_secs(2);
/// The epoch in these tests.
pub const EPOCH: u64 = 1000;
/// The one partition.
pub const ALL: [u16; 1] = [0];

/// An L1 without limit or eviction.
#[derive(Default)]
pub struct MapL1(Mutex<HashMap<Key, Arc<CachedEntry>>>);

impl L1 for MapL1 {
    fn get(&self, key: KeyRef<'_>) -> Option<Arc<CachedEntry>> {
        self.0.lock().expect("no panic").get(&key.to_key()).cloned()
    }

    fn insert(&self, key: Key, held: Arc<CachedEntry>) -> Result<(), NotTaken> {
        self.0.lock().expect("no panic").insert(key, held);
        Ok(())
    }

    fn remove(&self, key: KeyRef<'_>) {
        self.0.lock().expect("no panic").remove(&key.to_key());
    }

    fn each(&self, visit: &mut dyn FnMut(&Key, &Arc<CachedEntry>) -> ControlFlow<()>) {
        let all = self.part(0).unwrap_or_default();
        let _ = all.iter().try_for_each(|(key, held)| visit(key, held));
    }

    fn part(&self, number: usize) -> Option<Vec<(Key, Arc<CachedEntry>)>> {
        let copy = |(key, held): (&Key, &Arc<CachedEntry>)| (key.clone(), held.clone());
        (number == 0).then(|| self.0.lock().expect("no panic").iter().map(copy).collect())
    }

    fn usage(&self) -> L1Usage {
        L1Usage::default()
    }
}

/// One replica's coherence over a map, with a manual clock. One partition, so that every key shares
/// its number line.
pub struct Bench {
    pub coherence: Arc<Coherence>,
    pub l1: Arc<MapL1>,
    pub clock: Arc<ManualClock>,
    pub namespace: Arc<Namespace>,
    pub namespaces: Arc<Namespaces>,
}

impl Bench {
    pub fn new(safeguards: Safeguards) -> Bench {
        let rules = NamespaceRules { limit: 8, ..NamespaceRules::default() };
        Bench::with(rules, safeguards)
    }

    pub fn with(rules: NamespaceRules, safeguards: Safeguards) -> Bench {
        let (l1, clock) = (Arc::new(MapL1::default()), Arc::new(ManualClock::default()));
        let namespaces = Arc::new(Namespaces::new(rules, 1));
        let namespace = namespaces.get("namespace", "default").expect("room");
        let config = CoherenceConfig { partitions: 1, max_staleness: BOUND, repair: true, safeguards };
        let coherence = Arc::new(Coherence::new(config, l1.clone(), namespaces.clone(), clock.clone()));
        Bench { coherence, l1, clock, namespace, namespaces }
    }

    pub fn key(&self, name: &str) -> Key {
        KeyRef::new(&self.namespace, name.as_bytes()).to_key()
    }

    /// Returns what a fill would bring: an entry of `sequence`, read when the counter was at
    /// `position`.
    pub fn read(&self, sequence: u64, position: u64, note: FillGuard) -> Arc<CachedEntry> {
        let content = Content::Value(bytes::Bytes::from(sequence.to_string()));
        let new = NewEntry::new(content, Lifetime::of(Duration::from_secs(3600)));
        let entry = Entry::written(&new, Version::new(EPOCH, sequence), Duration::ZERO, self.clock.now());
        cached_entry(entry, Version::new(EPOCH, position), note, self.clock.now(), &self.namespace)
    }

    pub fn now(&self) -> Moment {
        self.clock.now()
    }
}
