use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::cache::clock::ManualClock;
use crate::cache::coherence::{FillGuard, cached_entry};
use crate::cache::entry::{Content, Entry, NewEntry};
use crate::cache::lifetime::Lifetime;
use crate::cache::namespace::{Namespace, NamespaceRules, Namespaces};
use crate::cache::policy::NamespacePolicy;
use crate::cache::version::Version;

const TTL: Duration = Duration::from_secs(60);

struct World {
    l1: MemoryL1,
    clock: Arc<ManualClock>,
    namespace: Arc<Namespace>,
}

impl World {
    fn new(size: u64, eviction: Eviction, policy: NamespacePolicy) -> World {
        let clock = Arc::new(ManualClock::default());
        let rules = NamespaceRules { limit: 1, default_policy: policy, ..NamespaceRules::default() };
        let namespace = Namespaces::new(rules, 4).get("namespace", "default").expect("a name");
        World { l1: MemoryL1::new(L1Config { size, eviction }, clock.clone()), clock, namespace }
    }

    fn key(&self, name: &str) -> Key {
        KeyRef::new(&self.namespace, name.as_bytes()).to_key()
    }

    fn set(&self, name: &str, size: usize) -> Result<(), NotTaken> {
        self.set_for(name, size, TTL)
    }

    fn set_for(&self, name: &str, size: usize, ttl: Duration) -> Result<(), NotTaken> {
        let new = NewEntry::new(Content::Value(Bytes::from(vec![7; size])), Lifetime::of(ttl));
        let entry = Entry::written(&new, Version::new(1, 1), Duration::ZERO, self.clock.now());
        let guard = FillGuard { generation: 1, applied: Version::ZERO, shown: 0 };
        let held = cached_entry(entry, Version::ZERO, guard, self.clock.now(), &self.namespace);
        self.l1.insert(self.key(name), held)
    }

    fn has(&self, name: &str) -> bool {
        self.l1.get(self.key(name).as_ref()).is_some()
    }

    /// Bytes of one entry of a value of `size`.
    fn weight(size: usize) -> u64 {
        let world = World::new(1 << 30, Eviction::Lru, NamespacePolicy::default());
        world.set("name", size).expect("taken");
        world.l1.usage().bytes
    }

    /// Asserts that the counts agree with the entries.
    fn check(&self) {
        let usage = self.l1.usage();
        let (mut entries, mut bytes) = (0, 0);
        self.l1.each(&mut |key, held| {
            entries += 1;
            bytes += weight(key.bytes(), held);
            ControlFlow::Continue(())
        });
        let own = &self.namespace.counters;
        assert_eq!((usage.entries, usage.bytes), (entries, bytes));
        assert_eq!((own.entries.get(), own.bytes.get()), (entries, bytes));
        assert!(bytes <= usage.max_bytes, "{bytes} bytes of {}", usage.max_bytes);
    }
}

#[test]
fn lru_evicts_the_entry_that_was_not_used_for_longest() {
    let world = World::new(8 * World::weight(100), Eviction::Lru, NamespacePolicy::default());
    (0..8).for_each(|n| world.set(&format!("key{n}"), 100).expect("taken"));
    assert!(world.has("key0") && world.has("key2"), "read");
    world.set("new0", 100).expect("taken");
    world.set("new1", 100).expect("taken");
    let left = ["key0", "key1", "key2", "key3", "new0", "new1"].map(|name| world.has(name));
    assert_eq!(left, [true, false, true, false, true, true]);
    assert_eq!(world.l1.usage().counts.evicted_size, 2);
    world.check();
}

#[test]
fn tiny_lfu_keeps_entries_that_are_read_often_through_a_scan() {
    let world = World::new(100 * World::weight(100), Eviction::TinyLfu, NamespacePolicy::default());
    let keys: Vec<String> = (0..30).map(|n| format!("key{n}")).collect();
    keys.iter().for_each(|key| world.set(key, 100).expect("taken"));
    (0..20).for_each(|_| assert!(keys.iter().all(|key| world.has(key))));
    for n in 0..2000 {
        assert_eq!(world.set(&format!("scan{n}"), 100), Ok(()));
        assert!(world.has(&keys[n % keys.len()]), "read often");
    }
    world.check();
}

#[test]
fn an_entry_that_is_no_longer_read_leaves_a_tiny_lfu() {
    let world = World::new(8 * World::weight(100), Eviction::TinyLfu, NamespacePolicy::default());
    (0..8).for_each(|n| world.set(&format!("key{n}"), 100).expect("taken"));
    (0..8).for_each(|n| assert!(world.has(&format!("key{n}"))));
    (0..1000).for_each(|n| world.set(&format!("scan{n}"), 100).expect("taken"));
    assert!((0..8).all(|n| !world.has(&format!("key{n}"))));
}

#[test]
fn counts_agree_with_what_is_there_after_each_kind_of_removal() {
    let world = World::new(20 * World::weight(100), Eviction::Lru, NamespacePolicy::default());
    (0..10).for_each(|n| world.set(&format!("key{n}"), 100).expect("taken"));
    (0..5).for_each(|n| world.set(&format!("key{n}"), 10 * n).expect("taken"));
    (7..9).for_each(|n| world.l1.remove(world.key(&format!("key{n}")).as_ref()));
    world.l1.remove(world.key("absent").as_ref());
    world.check();
    let counts = world.l1.usage().counts;
    assert_eq!((counts.replaced, counts.removed, counts.evicted_size), (5, 2, 0));
    (0..40).for_each(|n| world.set(&format!("new{n}"), 100).expect("taken"));
    world.check();
    world.clock.advance(2 * TTL);
    assert_eq!(world.l1.usage().entries, 0);
    let counts = world.l1.usage().counts;
    assert_eq!(counts.replaced + counts.removed + counts.evicted_size + counts.evicted_expired, 55);
    world.check();
}

#[test]
fn expired_entries_leave_while_others_are_inserted() {
    let world = World::new(1 << 30, Eviction::Lru, NamespacePolicy::default());
    (0..1000).for_each(|n| world.set_for(&format!("old{n}"), 10, Duration::from_secs(1)).expect("taken"));
    world.clock.advance(Duration::from_secs(2));
    (0..10_000).for_each(|n| world.set(&format!("new{n}"), 10).expect("taken"));
    assert!((0..1000).all(|n| !world.has(&format!("old{n}"))));
    world.check();
}

#[test]
fn an_expired_entry_is_evicted_before_any_other() {
    let world = World::new(8 * World::weight(100), Eviction::TinyLfu, NamespacePolicy::default());
    (0..7).for_each(|n| world.set(&format!("key{n}"), 100).expect("taken"));
    world.set_for("dies", 100, Duration::from_secs(1)).expect("taken");
    (0..100).for_each(|_| assert!(world.has("dies")));
    world.clock.advance(Duration::from_secs(2));
    world.set("new0", 100).expect("taken");
    assert!((0..7).all(|n| world.has(&format!("key{n}"))) && !world.has("dies"));
    let counts = world.l1.usage().counts;
    assert_eq!((counts.evicted_expired, counts.evicted_size), (1, 0));
}

#[test]
fn an_entry_leaves_after_the_l1_ttl_of_its_namespace() {
    let policy = NamespacePolicy { l1_ttl: Duration::from_secs(5), ..NamespacePolicy::default() };
    let world = World::new(1 << 20, Eviction::Lru, policy);
    world.set("name", 10).expect("taken");
    world.clock.advance(Duration::from_secs(4));
    assert_eq!(world.l1.usage().entries, 1);
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(world.l1.usage().entries, 0);
}

#[test]
fn a_namespace_stays_within_its_quota() {
    let quota = 2 * World::weight(100);
    let world = World::new(1 << 20, Eviction::Lru, NamespacePolicy { max_bytes: quota, ..NamespacePolicy::default() });
    assert_eq!(world.set("key0", 100).and(world.set("key1", 100)), Ok(()));
    // Use is measured by the number of inserts: a read right after an insert is as recent as that one.
    assert_eq!(world.set("key0", 100), Ok(()));
    assert_eq!(world.set("key2", 100), Ok(()), "the least used one leaves for it");
    assert_eq!(["key0", "key1", "key2"].map(|name| world.has(name)), [true, false, true]);
    assert_eq!(world.set("key2", 90), Ok(()), "the entry before it frees its room");
    assert!(world.has("key0"));
    assert_eq!(world.set("key2", 1000), Err(NotTaken::OverQuota(quota)), "larger than the quota");
    assert_eq!(["key0", "key2"].map(|name| world.has(name)), [true, false]);
    world.check();
}

#[test]
fn a_value_above_its_share_is_not_taken_and_removes_the_entry_before_it() {
    let world = World::new(1 << 20, Eviction::Lru, NamespacePolicy::default());
    world.set("name", 1 << 17).expect("taken");
    assert_eq!(world.set("name", (1 << 17) + 1), Err(NotTaken::TooLarge));
    assert!(!world.has("name"));
    assert_eq!(world.l1.usage().counts.rejected, 1);
}

#[test]
fn a_visit_may_change_the_l1_that_it_visits() {
    let world = World::new(1 << 20, Eviction::Lru, NamespacePolicy::default());
    (0..100).for_each(|n| world.set(&n.to_string(), 10).expect("taken"));
    let mut visited = 0;
    world.l1.each(&mut |key, _| {
        visited += 1;
        world.l1.remove(key.as_ref());
        if visited < 90 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!(world.l1.usage().entries, 10);
    world.check();
}

#[test]
fn counts_and_limit_hold_while_threads_insert_read_and_remove() {
    let world = World::new(200 * World::weight(100), Eviction::TinyLfu, NamespacePolicy::default());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let world = &world;
            scope.spawn(move || {
                for n in 0..5000 {
                    let name = format!("key{}", (n * 7 + thread * 13) % 500);
                    match n % 5 {
                        0 => world.l1.remove(world.key(&name).as_ref()),
                        1 | 2 => _ = world.has(&name),
                        _ => world.set(&name, n % 300).expect("taken"),
                    }
                }
            });
        }
    });
    world.check();
}
