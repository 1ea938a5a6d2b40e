//! Namespaces that share L1: none crowds out another.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::cache::clock::ManualClock;
use crate::cache::coherence::{FillGuard, cached_entry};
use crate::cache::entry::{Content, Entry, NewEntry};
use crate::cache::lifetime::Lifetime;
use crate::cache::namespace::{NamespaceRules, Namespaces};
use crate::cache::policy::{NamespacePolicy, PolicyPatch};
use crate::cache::version::Version;

const MIB: u64 = 1 << 20;
const POLICIES: [Eviction; 2] = [Eviction::Lru, Eviction::TinyLfu];

struct Tenants {
    l1: MemoryL1,
    clock: Arc<ManualClock>,
    namespaces: Namespaces,
}

impl Tenants {
    fn new(size: u64, eviction: Eviction, configured: &[(&str, NamespacePolicy)]) -> Tenants {
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(1000));
        let configured = configured.iter().map(|(name, policy)| ((*name).to_owned(), policy.clone())).collect();
        let rules = NamespaceRules { limit: 300, configured, l1_size: size, ..NamespaceRules::default() };
        Tenants {
            l1: MemoryL1::new(L1Config { size, eviction }, clock.clone()),
            clock,
            namespaces: Namespaces::new(rules, 4),
        }
    }

    fn of(&self, name: &str) -> Arc<Namespace> {
        self.namespaces.get("namespace", name).expect("room")
    }

    fn set(&self, namespace: &Arc<Namespace>, key: &str, size: usize) -> Result<(), NotTaken> {
        let new = NewEntry::new(Content::Value(Bytes::from(vec![7; size])), Lifetime::of(Duration::from_secs(9999)));
        let entry = Entry::written(&new, Version::new(1, 1), Duration::ZERO, self.clock.now());
        let guard = FillGuard { generation: 1, applied: Version::ZERO, shown: 0 };
        let held = cached_entry(entry, Version::ZERO, guard, self.clock.now(), namespace);
        self.l1.insert(KeyRef::new(namespace, key.as_bytes()).to_key(), held)
    }

    fn fill(&self, namespace: &Arc<Namespace>, entries: usize, size: usize) {
        (0..entries).for_each(|n| self.set(namespace, &format!("key{n}"), size).expect("taken"));
    }

    /// Reads the first `entries` keys, and returns how many are there.
    fn read(&self, namespace: &Arc<Namespace>, entries: usize) -> usize {
        let found = (0..entries).filter(|n| {
            let found = self.l1.get(KeyRef::new(namespace, format!("key{n}").as_bytes())).is_some();
            let counters = &namespace.counters;
            if found {
                counters.l1_hits.inc()
            } else {
                counters.misses.inc()
            }
            found
        });
        found.count()
    }

    fn bytes(&self, namespace: &Namespace) -> u64 {
        namespace.counters.bytes.get()
    }
}

#[test]
fn a_neighbour_that_writes_three_times_the_memory_leaves_the_hot_entries() {
    for eviction in POLICIES {
        for size in [200, 1000, 100_000, 1 << 20] {
            let tenants = Tenants::new(8 * MIB, eviction, &[]);
            let (hot, neighbour) = (tenants.of("hot"), tenants.of("neighbour"));
            tenants.fill(&hot, 1000, 200);
            assert_eq!(tenants.read(&hot, 1000), 1000);
            tenants.fill(&neighbour, (24 << 20) / size, size);
            assert_eq!(tenants.read(&hot, 1000), 1000, "{eviction:?}, entries of {size} bytes");
            let used = tenants.l1.usage().bytes;
            assert!((6 * MIB..=8 * MIB).contains(&used), "{eviction:?}: all of the memory is used: {used}");
        }
    }
}

#[test]
fn a_hot_set_that_is_only_read_keeps_its_share() {
    for eviction in POLICIES {
        let tenants = Tenants::new(8 * MIB, eviction, &[]);
        let (hot, neighbour) = (tenants.of("hot"), tenants.of("neighbour"));
        tenants.fill(&hot, 1000, 200);
        for n in 0..300 {
            tenants.clock.advance(Duration::from_secs(1));
            if n % 50 == 0 {
                assert_eq!(tenants.read(&hot, 1000), 1000, "{eviction:?}, after {n} s");
            }
            (0..100).for_each(|of| tenants.set(&neighbour, &format!("{n}/{of}"), 1000).expect("taken"));
        }
        assert_eq!(tenants.read(&hot, 1000), 1000, "{eviction:?}");
    }
}

#[test]
fn a_namespace_that_is_not_used_makes_room_for_others() {
    for eviction in POLICIES {
        let tenants = Tenants::new(8 * MIB, eviction, &[]);
        let (idle, busy) = (tenants.of("idle"), tenants.of("busy"));
        tenants.fill(&idle, 6000, 1000);
        tenants.clock.advance(Duration::from_secs(120));
        tenants.fill(&busy, 20_000, 1000);
        assert!(tenants.bytes(&busy) > 7 * MIB, "{eviction:?}: {}", tenants.bytes(&busy));
    }
}

#[test]
fn many_busy_namespaces_have_equal_shares() {
    for eviction in POLICIES {
        let tenants = Tenants::new(8 * MIB, eviction, &[]);
        let all: Vec<_> = (0..8).map(|n| tenants.of(&format!("n{n}"))).collect();
        for n in 0..4000 {
            for (index, namespace) in all.iter().enumerate() {
                // The first writes as much as all others together.
                (0..if index == 0 { 7 } else { 1 })
                    .for_each(|of| tenants.set(namespace, &format!("{n}/{of}"), 1000).expect("taken"));
            }
        }
        for namespace in &all {
            let bytes = tenants.bytes(namespace);
            assert!(bytes.abs_diff(MIB) < MIB / 8, "{eviction:?}: {} has {bytes}", namespace.name());
        }
    }
}

#[test]
fn a_reservation_holds_whatever_others_do() {
    for eviction in POLICIES {
        let reserving = NamespacePolicy { reserved_bytes: 2 * MIB, max_bytes: 3 * MIB, ..NamespacePolicy::default() };
        let tenants = Tenants::new(8 * MIB, eviction, &[("reserved", reserving)]);
        let reserved = tenants.of("reserved");
        tenants.fill(&reserved, 2000, 500);
        let kept = tenants.bytes(&reserved);
        assert!(kept < 2 * MIB);
        tenants.clock.advance(Duration::from_secs(3600));
        for n in 0..200 {
            tenants.fill(&tenants.of(&format!("other{n}")), 500, 1000);
        }
        assert_eq!(tenants.bytes(&reserved), kept, "{eviction:?}: though it was not used for an hour");
        assert!(tenants.l1.usage().bytes <= 6 * MIB + kept);
        tenants.fill(&reserved, 20_000, 500);
        let bytes = tenants.bytes(&reserved);
        assert!(bytes <= 3 * MIB && bytes > 2 * MIB, "{eviction:?}: {bytes}");
        assert!(tenants.l1.usage().bytes <= 8 * MIB);
    }
}

#[test]
fn a_lowered_quota_is_kept_after_some_inserts() {
    let tenants = Tenants::new(8 * MIB, Eviction::Lru, &[]);
    let namespace = tenants.of("n");
    tenants.fill(&namespace, 10_000, 100);
    let patch = PolicyPatch { max_bytes: Some(MIB), ..PolicyPatch::default() };
    tenants.namespaces.change_policy("n", patch).expect("allowed");
    tenants.fill(&namespace, 10, 100);
    assert!(tenants.bytes(&namespace) <= MIB, "{}", tenants.bytes(&namespace));
    let patch = |bytes| PolicyPatch { reserved_bytes: Some(bytes), ..PolicyPatch::default() };
    assert!(tenants.namespaces.change_policy("n", patch(8 * MIB)).is_ok());
    let refused = tenants.namespaces.change_policy("other", patch(1)).err().expect("refused").to_string();
    assert!(refused.contains("others reserve 8388608 of 8388608"), "{refused}");
}

#[test]
fn quotas_hold_while_threads_insert_read_and_remove() {
    let quota = NamespacePolicy { max_bytes: MIB / 2, ..NamespacePolicy::default() };
    let tenants = Tenants::new(2 * MIB, Eviction::TinyLfu, &[("a", quota)]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (tenants, name) = (&tenants, ["a", "b", "c", "a"][thread]);
            scope.spawn(move || {
                let namespace = tenants.of(name);
                for n in 0..5000 {
                    let key = format!("key{}", (n * 7 + thread * 13) % 3000);
                    match n % 5 {
                        0 => tenants.l1.remove(KeyRef::new(&namespace, key.as_bytes())),
                        1 => _ = tenants.read(&namespace, 1),
                        _ => tenants.set(&namespace, &key, n % 900).expect("taken"),
                    }
                    assert!(name != "a" || tenants.bytes(&namespace) <= MIB / 2);
                }
            });
        }
    });
    let (mut entries, mut bytes) = (0, 0);
    tenants.l1.each(&mut |key, held| {
        entries += 1;
        bytes += weight(key.bytes(), held);
        ControlFlow::Continue(())
    });
    let usage = tenants.l1.usage();
    assert_eq!((usage.entries, usage.bytes), (entries, bytes));
    assert!(bytes <= 2 * MIB);
}
