//! Namespaces in which patterns are at work, and somebody has to see to what they selected.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Names that are remembered. One beyond them is seen to when it is met again.
const NAMES: usize = 4096;
/// When somebody else's pattern is looked at: by then the replica it came from is at work.
const SOON: Duration = Duration::from_secs(1);
/// Longest sleep.
const IDLE: Duration = Duration::from_secs(3600);

/// Namespaces to be seen to, and when.
#[derive(Default)]
pub struct ReclaimQueue {
    names: Mutex<BTreeMap<Box<str>, Instant>>,
    changed: Notify,
}

// === impl Wanted ===

impl ReclaimQueue {
    /// A pattern was seen at work in `namespace`.
    pub fn seen(&self, namespace: &str) {
        self.add(namespace, SOON);
    }

    /// `namespace` is to be seen to after `pause`, or earlier if that was wanted before.
    pub fn add(&self, namespace: &str, pause: Duration) {
        let at = Instant::now() + pause;
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let before = names.get(namespace);
        if before.is_some_and(|before| *before <= at) || (before.is_none() && names.len() >= NAMES) {
            return;
        }
        names.insert(namespace.into(), at);
        drop(names);
        self.changed.notify_one();
    }

    /// Waits for the next namespace that is due.
    pub async fn next(&self) -> Box<str> {
        loop {
            let next = {
                let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
                let first = names.iter().min_by_key(|(_, at)| **at).map(|(name, at)| (name.clone(), *at));
                match first {
                    Some((name, at)) if at <= Instant::now() => {
                        names.remove(&name);
                        return name;
                    }
                    first => first.map_or(Instant::now() + IDLE, |(_, at)| at),
                }
            };
            let _ = timeout_at(next, self.changed.notified()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_namespace_is_seen_to_once_and_at_the_earliest_time_it_was_wanted() {
        let (wanted, begun) = (ReclaimQueue::default(), Instant::now());
        wanted.seen("later");
        wanted.seen("now");
        wanted.add("now", Duration::ZERO);
        wanted.seen("now");
        assert_eq!((&*wanted.next().await, begun.elapsed()), ("now", Duration::ZERO));
        assert_eq!(&*wanted.next().await, "later");
        assert!(begun.elapsed() >= SOON);
        assert!(tokio::time::timeout(IDLE / 2, wanted.next()).await.is_err(), "nothing else is wanted");
    }
}
