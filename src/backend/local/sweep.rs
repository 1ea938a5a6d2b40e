//! Background sweep: removes invalidated entries from L1, to free memory, and leases that patterns
//! cover, so that the patterns need not be remembered.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::partition::LocalPartitions;
use crate::cache::clock::Clock;
use crate::cache::coherence::Coherence;
use crate::cache::entry::{CachedEntry, Tags};
use crate::cache::key::Key;
use crate::cache::namespace::Namespace;
use crate::cache::tier::L1;
use crate::sync::Mutex;

/// Shortest pause between two sweeps, so that the steps of one invalidation are swept together.
const MIN_SWEEP_PAUSE: Duration = Duration::from_millis(20);
/// Pause after a sweep, in multiples of its duration.
const PAUSE_FACTOR: u32 = 4;

/// Sweeper of namespaces, one after another.
pub struct Sweep {
    l1: Arc<dyn L1>,
    coherence: Arc<Coherence>,
    partitions: Arc<LocalPartitions>,
    clock: Arc<dyn Clock>,
    wanted: Mutex<SweepRequest>,
}

#[derive(Default)]
struct SweepRequest {
    namespaces: Vec<Arc<Namespace>>,
    /// True while a task sweeps the namespaces.
    running: bool,
}

// === impl Sweep ===

impl Sweep {
    pub fn new(
        l1: Arc<dyn L1>,
        coherence: Arc<Coherence>,
        partitions: Arc<LocalPartitions>,
        clock: Arc<dyn Clock>,
    ) -> Sweep {
        Sweep { l1, coherence, partitions, clock, wanted: Mutex::default() }
    }

    /// Requests a sweep of `namespace`, after an invalidation by selector.
    pub fn want(self: &Arc<Self>, namespace: &Arc<Namespace>) {
        let begins = {
            let mut wanted = self.wanted.lock();
            if !wanted.namespaces.iter().any(|other| other.id == namespace.id) {
                wanted.namespaces.push(namespace.clone());
            }
            !std::mem::replace(&mut wanted.running, true)
        };
        let sweep = self.clone();
        match Handle::try_current() {
            Ok(runtime) if begins => {
                let handle = runtime.clone();
                _ = runtime.spawn(async move {
                    loop {
                        tokio::time::sleep(MIN_SWEEP_PAUSE).await;
                        let (sweep, started_at) = (sweep.clone(), Instant::now());
                        match handle.spawn_blocking(move || sweep.run_next()).await {
                            Ok(true) => tokio::time::sleep(started_at.elapsed() * PAUSE_FACTOR).await,
                            _ => return,
                        }
                    }
                });
            }
            Err(_) if begins => while sweep.run_next() {},
            _ => {}
        }
    }

    /// Sweeps the next namespace; false if there is none.
    fn run_next(&self) -> bool {
        let next = {
            let mut wanted = self.wanted.lock();
            wanted.running = !wanted.namespaces.is_empty();
            wanted.namespaces.pop()
        };
        let Some(namespace) = next else { return false };
        self.sweep(&namespace);
        true
    }

    fn sweep(&self, namespace: &Namespace) {
        let patterns = namespace.invalidation_log().patterns();
        self.l1.each(&mut |key, held| {
            if key.namespace().id == namespace.id {
                if self.coherence.covers(key.as_ref(), held) {
                    self.remove(key, held);
                } else if held.marked_at().is_some() && held.entry.marked_at.is_none() {
                    self.keep_marked(key, held);
                }
            }
            ControlFlow::Continue(())
        });
        // Under the partition's lock, so that a lease request finds the lease removed or the
        // pattern remembered.
        for partition in 0..self.coherence.partitions() {
            self.partitions.lock(partition).leases.retain(|key, lease| {
                key.namespace().id != namespace.id || lease.holds(partition, key, &Tags::default())
            });
        }
        patterns
            .iter()
            .for_each(|(pattern, positions)| namespace.invalidation_log().drop_reclaimed(pattern, positions));
    }

    /// Removes an invalidated entry, unless another has replaced it. Remembers the version of its
    /// source.
    pub fn remove(&self, key: &Key, held: &Arc<CachedEntry>) {
        let mut state = self.partitions.lock(self.coherence.partition_of(key.as_ref()));
        if self.l1.get(key.as_ref()).is_some_and(|now| Arc::ptr_eq(&now, held)) {
            if let Some(source) = held.entry.source_version {
                state.remember_source(key, source, self.clock.now());
            }
            self.l1.remove(key.as_ref());
        }
    }

    /// Limits an entry that was marked stale to its stale window.
    fn keep_marked(&self, key: &Key, held: &Arc<CachedEntry>) {
        let _state = self.partitions.lock(self.coherence.partition_of(key.as_ref()));
        if self.l1.get(key.as_ref()).is_some_and(|now| Arc::ptr_eq(&now, held)) {
            self.coherence.put(key, held, held.entry.clone().marked_since(held.marked_at()));
        }
    }
}
