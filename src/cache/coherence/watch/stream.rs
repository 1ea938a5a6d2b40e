//! Watches: streams of all changes, in the order of each partition.
//!
//! A watch receives every change, or a discontinuity if changes may have been missed. The queue of
//! a watch is bounded; applying messages never waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::filter::WatchFilter;
use super::queue::{Discontinuity, QueuedItem, WatchedChange, Watcher};
use crate::cache::clock::Moment;
use crate::cache::coherence::coherence::Coherence;
use crate::cache::coherence::partition::PartitionState;
use crate::cache::error::CacheError;
use crate::cache::tier::bus::Message;
use crate::cache::token::Token;
use crate::cache::version::Version;

/// Request for a watch.
#[derive(Clone, Debug)]
pub struct Watching {
    /// The changes to receive.
    pub filter: WatchFilter,
    /// Token to resume from. `None` to start from now.
    pub from: Option<Token>,
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Most watches of this replica.
    pub limit: usize,
}

/// An event of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something changed.
    Change(WatchedChange),
    /// Changes may have been missed.
    Discontinuity(Discontinuity),
    /// Every change up to the token was delivered.
    Heartbeat {
        /// Positions up to which everything was delivered.
        token: Token,
        /// Every change acknowledged longer ago than this was delivered. `None` while that is not
        /// proven.
        proof_age: Option<Duration>,
        /// Time since the watch began.
        elapsed: Duration,
    },
}

/// An open watch. It closes when dropped.
pub struct Watch {
    coherence: Arc<Coherence>,
    watcher: Arc<Watcher>,
    parts: VecDeque<WatchedChange>,
    heartbeat: Duration,
    started_at: Moment,
    heartbeat_at: Instant,
}

// === impl Coherence ===

impl Coherence {
    /// Opens a watch.
    ///
    /// It receives every change that this replica receives from now on, or since the token to
    /// resume from.
    pub fn watch(self: &Arc<Self>, watching: Watching) -> Result<Watch, CacheError> {
        let Watching { filter, from, heartbeat, limit } = watching;
        self.watches.begin(limit)?;
        let started_at = self.clock.now();
        let watcher = Watcher::new(filter);
        for (index, partition) in self.partitions.iter().enumerate() {
            let mut state = partition.state();
            if let Some(from) = &from {
                self.resume(&watcher, index as u16, &state, from.position(index as u16));
            }
            state.watchers.add(watcher.clone());
        }
        let (coherence, parts) = (self.clone(), VecDeque::new());
        Ok(Watch { coherence, watcher, parts, heartbeat, started_at, heartbeat_at: Instant::now() })
    }

    /// Queues the changes of the partition after `after`, if all are remembered. To be called under
    /// the lock of the partition's state.
    fn resume(&self, watcher: &Watcher, index: u16, state: &PartitionState, after: Version) {
        let reached = state.watermark;
        if !state.synced {
            return watcher.report_discontinuity(Discontinuity::Gap);
        }
        let missed = if after.epoch == reached.epoch {
            self.partition(index).change_log().messages_between(after, reached)
        } else {
            None
        };
        let Some(missed) = missed else { return watcher.report_discontinuity(Discontinuity::TooOld) };
        for (version, change) in missed.into_iter().filter(|(_, change)| watcher.filter().matches_change(change)) {
            let message = Message { partition: index, version, change, own: false };
            watcher.offer(Arc::new(message), Discontinuity::TooOld);
        }
    }

    /// Returns the last applied position of each partition.
    fn positions(&self) -> Token {
        let mut token = Token::default();
        for (index, partition) in self.partitions.iter().enumerate() {
            let reached = partition.state().watermark;
            if reached > Version::ZERO {
                token.add(index as u16, reached);
            }
        }
        token
    }

    fn oldest_proof(&self) -> Moment {
        self.partitions.iter().map(|partition| partition.proved_at()).min().unwrap_or(Moment::NEVER)
    }
}

// === impl Watch ===

impl Watch {
    /// Returns the next event; at the latest the next heartbeat.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(part) = self.parts.pop_front() {
                self.coherence.watches.counters.changes.inc();
                return Event::Change(part);
            }
            if Instant::now() >= self.heartbeat_at {
                self.queue_heartbeat();
            }
            match self.watcher.next() {
                Some(QueuedItem::Change(message)) => self.parts = self.watcher.parts(&message),
                Some(QueuedItem::Discontinuity(why)) => {
                    self.coherence.watches.counters.discontinuities.inc();
                    return Event::Discontinuity(why);
                }
                Some(QueuedItem::Heartbeat { token, proof }) => {
                    let now = self.coherence.clock.now();
                    let proof_age = (proof > Moment::NEVER).then(|| now.since(proof));
                    return Event::Heartbeat { token, proof_age, elapsed: now.since(self.started_at) };
                }
                None => tokio::select! {
                    () = self.watcher.changed() => {}
                    () = sleep_until(self.heartbeat_at) => {}
                },
            }
        }
    }

    /// Appends a heartbeat to the queue.
    ///
    /// Every change up to its positions, and every change that its proof covers, is in the queue
    /// before it or was delivered.
    fn queue_heartbeat(&mut self) {
        let (proof, token) = (self.coherence.oldest_proof(), self.coherence.positions());
        self.watcher.queue_heartbeat(token, proof);
        self.heartbeat_at = Instant::now() + self.heartbeat;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for partition in &self.coherence.partitions {
            partition.state().watchers.remove(&self.watcher);
        }
        self.coherence.watches.end(self.coherence.clock.now());
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
