//! Cost of hot-key counting for a Get (`cargo bench --bench hot_keys_cost`).
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use twintier::backend::boot_clock::BootClock;
use twintier::cache::clock::Clock;
use twintier::cache::key::{Key, KeyRef};
use twintier::cache::namespace::{NamespaceRules, Namespaces};
use twintier::cache::stats::hot_keys::HotKeys;

const GETS: usize = 20_000_000;
const ROUNDS: usize = 5;

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("run by `cargo bench`");
        return;
    }
    let namespaces = Namespaces::new(NamespaceRules { limit: 8, ..Default::default() }, 64);
    let namespace = namespaces.get("namespace", "").unwrap();
    let keys: Vec<Key> = (0..1000).map(|n| KeyRef::new(&namespace, format!("key:{n}").as_bytes()).to_key()).collect();
    println!("| threads | atomic add | hot keys |");
    println!("|---|---|---|");
    for threads in [1, 2] {
        let hits = Arc::new(AtomicU64::new(0));
        let hot = Arc::new(HotKeys::new(2048, BootClock.now()));
        let add = best(threads, &keys, |_| _ = black_box(hits.fetch_add(1, Ordering::Relaxed)));
        // The time is passed in: every Get reads the clock anyway, so reading it is no cost of
        // counting.
        let begun = (BootClock.now(), Instant::now());
        let read = best(threads, &keys, |(n, key)| {
            let now = if n.is_multiple_of(1024) { begun.0.plus(begun.1.elapsed()) } else { begun.0 };
            hot.read(key.as_ref(), now);
        });
        println!("| {threads} | {add:.1} ns | {read:.1} ns |");
    }
}

/// Nanoseconds per Get, the best of some rounds.
fn best(threads: usize, keys: &[Key], get: impl Fn((usize, &Key)) + Sync) -> f64 {
    let round = || {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..GETS).for_each(|n| get((n, &keys[n % keys.len()]))));
            }
        });
        begun.elapsed()
    };
    let best = (0..ROUNDS).map(|_| round()).min().unwrap_or(Duration::ZERO);
    best.as_secs_f64() * 1e9 / GETS as f64
}
