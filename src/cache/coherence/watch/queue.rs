//! Queue between the bus messages and one watch. It is bounded, and messages never wait for it.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use tokio::sync::Notify;

use super::filter::WatchFilter;
use crate::cache::clock::Moment;
use crate::cache::invalidation::selector::Selector;
use crate::cache::tier::bus::{Change, Covers, Effect, Message};
use crate::cache::token::Token;
use crate::cache::version::Version;
use crate::sync::Mutex;

/// Most changes, and most bytes of changes, in the queue of one watch.
const MAX_QUEUED_CHANGES: usize = 8192;
const MAX_QUEUED_BYTES: usize = 1 << 20;
/// Most bytes of keys in one event.
const MAX_PART_BYTES: usize = 512 << 10;

/// A change, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedChange {
    /// The partition.
    pub partition: u16,
    /// The position.
    pub version: Version,
    /// The effect on the covered entries.
    pub effect: Effect,
    /// The covered entries.
    pub covers: ChangeScope,
    /// True for the last part of the change at this position.
    pub last: bool,
}

/// The entries that a reported change covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeScope {
    /// These keys.
    Keys(Vec<Bytes>),
    /// Entries that this selects.
    Selected(Selector),
}

/// Reason why changes may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discontinuity {
    /// The client read too slowly.
    SlowWatcher,
    /// This replica may have missed messages.
    Gap,
    /// The token to resume from is too old.
    TooOld,
}

/// The watches of a partition.
#[derive(Default)]
pub(crate) struct Watchers(Vec<Arc<Watcher>>);

/// The receiving end of a watch.
pub(crate) struct Watcher {
    filter: WatchFilter,
    queue: Mutex<WatchQueue>,
    more: Notify,
}

#[derive(Default)]
struct WatchQueue {
    waiting: VecDeque<QueuedItem>,
    bytes: usize,
}

/// An item in the queue of a watch.
pub(crate) enum QueuedItem {
    Change(Arc<Message>),
    Discontinuity(Discontinuity),
    Heartbeat { token: Token, proof: Moment },
}

// === impl Watchers ===

impl Watchers {
    pub fn add(&mut self, watcher: Arc<Watcher>) {
        self.0.push(watcher);
    }

    pub fn remove(&mut self, watcher: &Arc<Watcher>) {
        self.0.retain(|other| !Arc::ptr_eq(other, watcher));
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Publishes a message to the watches.
    ///
    /// To be called in the order of the messages, before the watermark moves.
    pub fn publish(&self, message: &Message) {
        let mut shared = None;
        for watcher in self.0.iter().filter(|watcher| watcher.filter.matches_change(&message.change)) {
            let message = shared.get_or_insert_with(|| {
                let change = message.change.compact();
                Arc::new(Message { change, ..*message })
            });
            watcher.offer(message.clone(), Discontinuity::SlowWatcher);
        }
    }

    /// Reports to the watches that messages may have been missed.
    pub fn report_gap(&self) {
        self.0.iter().for_each(|watcher| watcher.report_discontinuity(Discontinuity::Gap));
    }
}

// === impl Watcher ===

impl Watcher {
    pub fn new(filter: WatchFilter) -> Arc<Watcher> {
        Arc::new(Watcher { filter, queue: Mutex::default(), more: Notify::new() })
    }

    /// Returns the filter of the watch.
    pub fn filter(&self) -> &WatchFilter {
        &self.filter
    }

    /// Waits until there may be an item in the queue.
    pub async fn changed(&self) {
        self.more.notified().await;
    }

    fn queue(&self) -> MutexGuard<'_, WatchQueue> {
        self.queue.lock()
    }

    /// Appends a change. If the queue is over its limits it is dropped, and `overflow` is reported
    /// instead.
    pub fn offer(&self, message: Arc<Message>, overflow: Discontinuity) {
        let mut queue = self.queue();
        queue.bytes += message.change.size();
        queue.waiting.push_back(QueuedItem::Change(message));
        if queue.waiting.len() > MAX_QUEUED_CHANGES || queue.bytes > MAX_QUEUED_BYTES {
            *queue = WatchQueue::default();
            queue.waiting.push_back(QueuedItem::Discontinuity(overflow));
        }
        drop(queue);
        self.more.notify_one();
    }

    /// Appends a discontinuity, unless the last item is one.
    pub fn report_discontinuity(&self, why: Discontinuity) {
        let mut queue = self.queue();
        if !matches!(queue.waiting.back(), Some(QueuedItem::Discontinuity(_))) {
            queue.waiting.push_back(QueuedItem::Discontinuity(why));
        }
        drop(queue);
        self.more.notify_one();
    }

    /// Takes the next item of the queue.
    pub fn next(&self) -> Option<QueuedItem> {
        let mut queue = self.queue();
        let next = queue.waiting.pop_front();
        if let Some(QueuedItem::Change(message)) = &next {
            queue.bytes -= message.change.size();
        }
        next
    }

    /// Appends a heartbeat.
    pub fn queue_heartbeat(&self, token: Token, proof: Moment) {
        self.queue().waiting.push_back(QueuedItem::Heartbeat { token, proof });
    }

    /// Returns the parts of a change that pass the filter, each of a bounded size.
    pub fn parts(&self, message: &Message) -> VecDeque<WatchedChange> {
        let mut covered = VecDeque::new();
        match &message.change.covers {
            Covers::Selected(selectors) => covered.extend(
                selectors.iter().filter(|one| self.filter.matches_selector(one)).cloned().map(ChangeScope::Selected),
            ),
            Covers::Keys(keys) => {
                let (mut part, mut bytes) = (Vec::new(), 0);
                for changed in keys.iter().filter(|changed| self.filter.matches_key(changed)) {
                    if bytes > MAX_PART_BYTES {
                        covered.push_back(ChangeScope::Keys(std::mem::take(&mut part)));
                        bytes = 0;
                    }
                    bytes += changed.key.len();
                    part.push(changed.key.clone());
                }
                covered.push_back(ChangeScope::Keys(part));
            }
        }
        let Message { partition, version, change: Change { effect, .. }, .. } = *message;
        let part = |covers| WatchedChange { partition, version, effect, covers, last: false };
        let mut parts: VecDeque<WatchedChange> = covered.into_iter().map(part).collect();
        parts.back_mut().into_iter().for_each(|part| part.last = true);
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::coherence::watch::filter::Scope;
    use crate::cache::entry::Tags;
    use crate::cache::tier::bus::ChangedKey;

    fn watcher() -> Arc<Watcher> {
        Watcher::new(WatchFilter { namespace: "ns".into(), scope: Scope::Namespace })
    }

    fn message(sequence: u64, keys: usize, size: usize) -> Arc<Message> {
        let key = || ChangedKey { key: vec![b'k'; size].into(), tags: Tags::default() };
        let covers = Covers::Keys((0..keys).map(|_| key()).collect());
        let change = Change { namespace: "ns".into(), effect: Effect::Set, covers };
        Arc::new(Message { partition: 0, version: Version::new(1, sequence), change, own: false })
    }

    fn offer(watcher: &Watcher, messages: u64, size: usize, overflow: Discontinuity) {
        for sequence in 1..=messages {
            watcher.offer(message(sequence, 1, size), overflow);
            let queue = watcher.queue();
            assert!(queue.bytes <= MAX_QUEUED_BYTES && queue.waiting.len() <= MAX_QUEUED_CHANGES);
        }
    }

    #[test]
    fn the_queue_is_bounded_and_a_drop_is_reported_once() {
        for (messages, size) in [(1_000, 8_000), (MAX_QUEUED_CHANGES as u64 + 1, 1)] {
            let watcher = watcher();
            offer(&watcher, messages, size, Discontinuity::TooOld);
            assert!(matches!(watcher.next(), Some(QueuedItem::Discontinuity(Discontinuity::TooOld))));
            while let Some(next) = watcher.next() {
                assert!(matches!(next, QueuedItem::Change(_)));
            }
            assert_eq!(watcher.queue().bytes, 0);
        }
    }

    #[test]
    fn discontinuities_with_nothing_between_are_one() {
        let watcher = watcher();
        (0..64).for_each(|_| watcher.report_discontinuity(Discontinuity::Gap));
        assert!(watcher.next().is_some() && watcher.next().is_none());
    }

    #[test]
    fn very_many_keys_are_delivered_in_parts() {
        let parts = watcher().parts(&message(1, 6, MAX_PART_BYTES / 2 - 1));
        let parts: Vec<_> = parts.into_iter().map(|part| (part.last, part.covers)).collect();
        assert!(
            matches!(&parts[..], [(false, ChangeScope::Keys(one)), (true, ChangeScope::Keys(two))] if one.len() + two.len() == 6)
        );
    }
}
