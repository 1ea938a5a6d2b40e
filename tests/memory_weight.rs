//! L1's memory accounting agrees with the growth of the process.
//!
//! Runs in its own process, with the allocator of the service.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use twintier::backend::memory::{Eviction, MokaL1};
use twintier::cache::clock::Moment;
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

const ENTRIES: u64 = 200_000;

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
    for (eviction, value_size) in [(Eviction::Lru, 100), (Eviction::TinyLfu, 100), (Eviction::TinyLfu, 4096)] {
        let memory = MokaL1::new(1 << 40, eviction);
        let before = resident();
        for n in 0..ENTRIES {
            let key = KeyRef::new(&namespace, format!("a key of thirty bytes {n:08}").as_bytes()).to_key();
            let new = NewEntry::new(
                Content::Value(Bytes::from(vec![7; value_size])),
                Lifetime::of(Duration::from_secs(3600)),
            );
            let entry = Entry::written(&new, Version::new(1, n), Duration::ZERO, Moment(1));
            let note = FillGuard { generation: 1, applied: Version::ZERO, shown: 0 };
            memory.insert(key, cached_entry(entry, Version::ZERO, note, Moment(1), &namespace)).unwrap();
        }
        let (grown, usage) = (resident() - before, memory.usage());
        assert_eq!(usage.entries, ENTRIES);
        let ratio = usage.bytes as f64 / grown as f64;
        let each = |bytes: u64| bytes / ENTRIES;
        println!(
            "{eviction:?}, {value_size} B: weighed {}, measured {} bytes per entry",
            each(usage.bytes),
            each(grown)
        );
        assert!((0.85..1.2).contains(&ratio), "weighed {} bytes, the process grew by {grown}", usage.bytes);
        kept.push(memory);
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
