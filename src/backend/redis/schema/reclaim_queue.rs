//! Queue of namespaces whose invalidated patterns have to be reclaimed.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::sync::Mutex;

/// Limit of queued namespaces. A further one is queued when its pattern is seen again.
const MAX_NAMESPACES: usize = 4096;
/// Delay for a pattern of another replica: by then that replica has started_at to reclaim.
const FOREIGN_PATTERN_DELAY: Duration = Duration::from_secs(1);
/// Longest sleep.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

/// Namespaces to reclaim, and when.
#[derive(Default)]
pub struct ReclaimQueue {
    names: Mutex<BTreeMap<Box<str>, Instant>>,
    changed: Notify,
}

// === impl ReclaimQueue ===

impl ReclaimQueue {
    /// Records an active pattern in `namespace`.
    pub fn seen(&self, namespace: &str) {
        self.add(namespace, FOREIGN_PATTERN_DELAY);
    }

    /// Queues `namespace` for after `pause`, or earlier if it is queued already.
    pub fn add(&self, namespace: &str, pause: Duration) {
        let at = Instant::now() + pause;
        let mut names = self.names.lock();
        let before = names.get(namespace);
        if before.is_some_and(|before| *before <= at) || (before.is_none() && names.len() >= MAX_NAMESPACES) {
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
                let mut names = self.names.lock();
                let first = names.iter().min_by_key(|(_, at)| **at).map(|(name, at)| (name.clone(), *at));
                match first {
                    Some((name, at)) if at <= Instant::now() => {
                        names.remove(&name);
                        return name;
                    }
                    first => first.map_or(Instant::now() + MAX_SLEEP, |(_, at)| at),
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
        let (queue, started_at) = (ReclaimQueue::default(), Instant::now());
        queue.seen("later");
        queue.seen("now");
        queue.add("now", Duration::ZERO);
        queue.seen("now");
        assert_eq!((&*queue.next().await, started_at.elapsed()), ("now", Duration::ZERO));
        assert_eq!(&*queue.next().await, "later");
        assert!(started_at.elapsed() >= FOREIGN_PATTERN_DELAY);
        assert!(tokio::time::timeout(MAX_SLEEP / 2, queue.next()).await.is_err(), "nothing else is wanted");
    }
}
