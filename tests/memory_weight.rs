//! L1's memory accounting agrees with the growth of the process.
//!
//! Runs in its own process, with the allocator of the service.
#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use twintier::backend::boot_clock::BootClock;
use twintier::backend::memory::{Eviction, L1Config, MemoryL1};
use twintier::cache::clock::Clock as _;
use twintier::cache::coherence::{FillGuard, cached_entry};
use twintier::cache::entry::{Content, Entry, NewEntry};
use twintier::cache::invalidation::selector::Selector;
use twintier::cache::key::KeyRef;
use twintier::cache::lifetime::Lifetime;
use twintier::cache::namespace::{NamespaceRules, Namespaces};
use twintier::cache::tier::L1;
use twintier::cache::version::Version;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * rustix::param::page_size() as u64
}

#[test]
#[cfg(target_os = "linux")]
fn an_entry_costs_its_counted_weight() {
    let rules = NamespaceRules { limit: 1, ..NamespaceRules::default() };
    let namespace = Namespaces::new(rules, 64).get("namespace", "default").unwrap();
    // All caches are kept to the end: freed memory of one would hide the growth of the next.
    let mut kept = Vec::new();
    for (size, entries) in
        [(16, 200_000), (100, 200_000), (1000, 100_000), (4096, 30_000), (40_000, 3_000), (65_536, 2_000)]
    {
        let l1 = MemoryL1::new(L1Config { size: 1 << 40, eviction: Eviction::Lru }, Arc::new(BootClock));
        let before = resident();
        for n in 0..entries {
            let key = KeyRef::new(&namespace, format!("a key of thirty bytes {n:08}").as_bytes()).to_key();
            let new =
                NewEntry::new(Content::Value(Bytes::from(vec![7; size])), Lifetime::of(Duration::from_secs(3600)));
            let entry = Entry::written(&new, Version::new(1, n), Duration::ZERO, BootClock.now());
            let guard = FillGuard { generation: 1, applied: Version::ZERO, shown: 0 };
            l1.insert(key, cached_entry(entry, Version::ZERO, guard, BootClock.now(), &namespace)).unwrap();
        }
        // An answer shares the value with the entry, which then counts its owners.
        l1.each(&mut |_, held| {
            drop(held.entry.content.clone());
            ControlFlow::Continue(())
        });
        let (grown, usage) = (resident() - before, l1.usage());
        assert_eq!(usage.entries, entries);
        let ratio = usage.bytes as f64 / grown as f64;
        let beyond = |bytes: u64| bytes as i64 / entries as i64 - (30 + size as i64);
        println!("{size} B: beyond key and value weighed {}, measured {} bytes", beyond(usage.bytes), beyond(grown));
        assert!((0.9..1.1).contains(&ratio), "weighed {} bytes, the process grew by {grown}", usage.bytes);
        assert!(size > 1000 || beyond(grown) <= 400, "{} bytes beyond key and value", beyond(grown));
        kept.push(l1);
    }
    invalidated_tags();
}

/// Asserts that the invalidation log of tags costs its counted weight, too.
#[cfg(target_os = "linux")]
fn invalidated_tags() {
    const TAGS: u64 = 20_000;
    let rules = NamespaceRules { limit: 1, tombstone_bytes: 1 << 40, ..NamespaceRules::default() };
    let namespaces = Namespaces::new(rules, 64);
    let namespace = namespaces.get("namespace", "default").unwrap();
    let before = resident();
    for n in 0..TAGS {
        let tag = Selector::Tag(format!("tag {n:08}").into());
        (0..64)
            .for_each(|partition| namespace.invalidation_log().record(partition, &tag, Version::new(1, n + 1), None));
    }
    let (grown, counted) = (resident() - before, namespaces.invalidation_log_bytes() as u64);
    let ratio = counted as f64 / grown as f64;
    println!("a tag: counted {}, measured {} bytes", counted / TAGS, grown / TAGS);
    assert!((0.85..1.3).contains(&ratio), "counted {counted} bytes, the process grew by {grown}");
}
