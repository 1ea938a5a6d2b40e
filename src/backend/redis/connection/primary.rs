//! One primary of Redis, as this replica knows it: where it is, which partitions it serves, its clock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::clock::RedisClock;
use super::context::RedisContext;
use super::health::{PrimaryHealth, RedisHealth};
use crate::backend::redis::config::Address;
use crate::cache::clock::Moment;

/// Shortest time without an audit after which a deployment counts as gone, so that another number of partitions may follow it.
const SHORTEST_SILENCE: Duration = Duration::from_secs(30);
/// How often it has to be looked at for that.
const SEEN_EVERY: Duration = Duration::from_secs(5);

/// A primary.
pub struct Primary {
    /// Where it is.
    pub address: Address,
    /// What all share.
    pub shared: Arc<RedisContext>,
    /// Its clock.
    pub clock: RedisClock,
    /// What is known of it.
    pub health: PrimaryHealth,
    /// Told when a number line here belongs to another life than a connection was greeted in, or may.
    pub other_life: watch::Sender<()>,
    /// The life that this replica has greeted last, by its identity, and the term under which it did.
    pub greeted: ArcSwapOption<(String, u64)>,
    /// The reason for which commands do not work, as it was given last.
    pub obstacle: ArcSwapOption<String>,
    /// One more than the configuration epoch under which sentinels name it; 0 where there are none.
    term: AtomicU64,
    partitions: watch::Sender<Arc<[u16]>>,
    /// By the first partition of the group whose counter says so.
    foreign: Mutex<HashMap<u16, Foreign>>,
}

/// A deployment of another number of partitions.
struct Foreign {
    /// Its last audit.
    audited: String,
    /// Since when that is its last.
    since: Moment,
    /// When that was looked at last.
    seen: Moment,
}

// === impl Primary ===

impl Primary {
    /// A primary of which nothing is known yet but its predecessor's clock.
    pub fn new(
        address: Address,
        partitions: Arc<[u16]>,
        clock: RedisClock,
        shared: &Arc<RedisContext>,
        health: &Arc<RedisHealth>,
    ) -> Primary {
        Primary {
            health: health.primary(&address, shared.config.connections),
            address,
            shared: shared.clone(),
            clock,
            other_life: watch::Sender::new(()),
            greeted: ArcSwapOption::empty(),
            obstacle: ArcSwapOption::empty(),
            term: AtomicU64::new(0),
            partitions: watch::Sender::new(partitions),
            foreign: Mutex::default(),
        }
    }

    /// The group that begins with `partition` is of a deployment of another number of partitions, which audited itself last then.
    pub fn saw_foreign(&self, partition: u16, audited: String, now: Moment) {
        let mut foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        // An outage is no reason to take it for gone: it has to be seen over and over, and without a sign of life.
        let unchanged = |before: &Foreign| before.audited == audited && now.since(before.seen) < SEEN_EVERY;
        let since = foreign.get(&partition).filter(|before| unchanged(before)).map_or(now, |before| before.since);
        foreign.insert(partition, Foreign { audited, since, seen: now });
    }

    /// The last audit of the deployment of another number of partitions that the group belongs to, if that is gone.
    pub fn gone(&self, partition: u16, now: Moment) -> Option<String> {
        let gone_after = (10 * self.shared.config.max_staleness).max(SHORTEST_SILENCE);
        let foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = |foreign: &&Foreign| {
            foreign.seen.since(foreign.since) >= gone_after && now.since(foreign.seen) < SEEN_EVERY
        };
        foreign.get(&partition).filter(gone).map(|foreign| foreign.audited.clone())
    }

    /// One more than the configuration epoch under which sentinels name it; 0 where there are none.
    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Acquire)
    }

    /// Sentinels name it under a configuration epoch. If that grows, another server may have been the primary in between: its number lines are
    /// greeted again.
    pub fn is_named(&self, term: u64) {
        let before = self.term.fetch_max(term, Ordering::AcqRel);
        if before != 0 && before < term {
            self.other_life.send_replace(());
        }
    }

    /// The partitions it serves.
    pub fn partitions(&self) -> Arc<[u16]> {
        self.partitions.borrow().clone()
    }

    /// The same, with word of changes.
    pub fn watch_partitions(&self) -> watch::Receiver<Arc<[u16]>> {
        self.partitions.subscribe()
    }

    /// Redis's clock stood at `micros` at some moment between `sent` and `received`.
    pub fn sample_clock(&self, micros: u64, sent: Moment, received: Moment) {
        if let Some(back) = self.clock.sample(micros, sent, received) {
            let back_ms = back.as_millis() as u64;
            tracing::warn!(server = %self.address, back_ms, "redis: its clock was set back; entries from before end as they would have");
        }
    }

    /// It serves other partitions from now on.
    pub fn serve(&self, partitions: Arc<[u16]>) {
        self.partitions.send_if_modified(|now| std::mem::replace(now, partitions.clone()) != partitions);
    }
}
