//! Sweeps what patterns have selected out of memory, and leases from before, in the background, so that they need not be remembered.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use super::Lines;
use crate::cache::coherence::Coherence;
use crate::cache::entry::{Held, Tags};
use crate::cache::key::Key;
use crate::cache::namespace::Namespace;
use crate::cache::tier::L1;

/// Sweeps one namespace after another.
pub struct Sweep {
    l1: Arc<dyn L1>,
    coherence: Arc<Coherence>,
    lines: Arc<Lines>,
    wanted: Mutex<Wanted>,
}

#[derive(Default)]
struct Wanted {
    namespaces: Vec<Arc<Namespace>>,
    /// Somebody is at work, and will see to those.
    at_work: bool,
}

// === impl Sweep ===

impl Sweep {
    pub fn new(l1: Arc<dyn L1>, coherence: Arc<Coherence>, lines: Arc<Lines>) -> Sweep {
        Sweep { l1, coherence, lines, wanted: Mutex::default() }
    }

    /// A pattern was invalidated in `namespace`.
    pub fn want(self: &Arc<Self>, namespace: &Arc<Namespace>) {
        let begins = {
            let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            if !wanted.namespaces.iter().any(|other| other.id == namespace.id) {
                wanted.namespaces.push(namespace.clone());
            }
            !std::mem::replace(&mut wanted.at_work, true)
        };
        let sweep = self.clone();
        match Handle::try_current() {
            Ok(runtime) if begins => _ = runtime.spawn_blocking(move || sweep.run()),
            Err(_) if begins => sweep.run(),
            _ => {}
        }
    }

    fn run(&self) {
        loop {
            let next = {
                let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
                wanted.at_work = !wanted.namespaces.is_empty();
                wanted.namespaces.pop()
            };
            match next {
                Some(namespace) => self.sweep(&namespace),
                None => return,
            }
        }
    }

    fn sweep(&self, namespace: &Namespace) {
        let patterns = namespace.tombstones().patterns();
        // What is only marked says so itself once it was asked.
        self.l1.each(&mut |key, held| {
            if key.namespace().id == namespace.id && self.coherence.covers(key.as_ref(), held) {
                self.remove(key, held);
            }
        });
        // Under the line, so that whoever asks for a lease finds it gone, or the pattern at work.
        for partition in 0..self.coherence.partitions() {
            self.lines.lock(partition).leases.retain(|key, lease| {
                key.namespace().id != namespace.id || lease.holds(partition, key, &Tags::default())
            });
        }
        patterns.iter().for_each(|(pattern, positions)| namespace.tombstones().reclaimed(pattern, positions));
    }

    /// Removes an entry, unless another has taken its place.
    fn remove(&self, key: &Key, held: &Arc<Held>) {
        let _line = self.lines.lock(self.coherence.partition_of(key.as_ref()));
        if self.l1.get(key.as_ref()).is_some_and(|now| Arc::ptr_eq(&now, held)) {
            self.l1.remove(key.as_ref());
        }
    }
}
