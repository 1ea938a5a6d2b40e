//! One primary of Redis: address, partitions, clock, health.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::clock::RedisClock;
use super::context::RedisContext;
use super::health::{PrimaryHealth, RedisHealth};
use crate::backend::redis::config::Address;
use crate::cache::clock::Moment;
use crate::sync::Mutex;

/// Shortest time without an audit after which a deployment counts as gone, so that one with another
/// number of partitions may follow it.
const MIN_SILENCE: Duration = Duration::from_secs(30);
/// Longest time between two checks for that.
const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A primary.
pub struct Primary {
    /// Its address.
    pub address: Address,
    /// State that all connections share.
    pub context: Arc<RedisContext>,
    /// Its clock.
    pub clock: RedisClock,
    /// Its health.
    pub health: PrimaryHealth,
    /// Notified when a partition here may belong to another life than that of the handshake.
    pub other_life: watch::Sender<()>,
    /// Identity and term of the last handshake.
    pub greeted: ArcSwapOption<(String, u64)>,
    /// The last reason why commands do not work.
    pub obstacle: ArcSwapOption<String>,
    /// One more than the configuration epoch under which sentinels name it; 0 where there are none.
    term: AtomicU64,
    partitions: watch::Sender<Arc<[u16]>>,
    /// Deployments of another number of partitions, by the first partition of the group.
    foreign: Mutex<HashMap<u16, Foreign>>,
}

/// A deployment of another number of partitions.
struct Foreign {
    /// Its last audit.
    audited: String,
    /// Time since which that is its last.
    since: Moment,
    /// Time of the last check.
    seen: Moment,
}

// === impl Primary ===

impl Primary {
    /// Creates a primary with its predecessor's clock.
    pub fn new(
        address: Address,
        partitions: Arc<[u16]>,
        clock: RedisClock,
        context: &Arc<RedisContext>,
        health: &Arc<RedisHealth>,
    ) -> Primary {
        Primary {
            health: health.primary(&address, context.config.connections),
            address,
            context: context.clone(),
            clock,
            other_life: watch::Sender::new(()),
            greeted: ArcSwapOption::empty(),
            obstacle: ArcSwapOption::empty(),
            term: AtomicU64::new(0),
            partitions: watch::Sender::new(partitions),
            foreign: Mutex::default(),
        }
    }

    /// Records that the group that begins with `partition` is of a deployment of another number of
    /// partitions, with its last audit.
    pub fn record_foreign(&self, partition: u16, audited: String, now: Moment) {
        let mut foreign = self.foreign.lock();
        // An outage does not mean that it is gone: it has to be seen repeatedly, without a new
        // audit.
        let unchanged = |before: &Foreign| before.audited == audited && now.since(before.seen) < MAX_CHECK_INTERVAL;
        let since = foreign.get(&partition).filter(|before| unchanged(before)).map_or(now, |before| before.since);
        foreign.insert(partition, Foreign { audited, since, seen: now });
    }

    /// Returns the last audit of the deployment of another number of partitions that the group
    /// belongs to, if that deployment is gone.
    pub fn departed_deployment(&self, partition: u16, now: Moment) -> Option<String> {
        let gone_after = (10 * self.context.config.max_staleness).max(MIN_SILENCE);
        let foreign = self.foreign.lock();
        let gone = |foreign: &&Foreign| {
            foreign.seen.since(foreign.since) >= gone_after && now.since(foreign.seen) < MAX_CHECK_INTERVAL
        };
        foreign.get(&partition).filter(gone).map(|foreign| foreign.audited.clone())
    }

    /// One more than the configuration epoch under which sentinels name it; 0 where there are none.
    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Acquire)
    }

    /// Sets the term under which sentinels name it.
    ///
    /// If the term grows, another server may have been the primary in between: the handshake is
    /// repeated.
    pub fn set_term(&self, term: u64) {
        let before = self.term.fetch_max(term, Ordering::AcqRel);
        if before != 0 && before < term {
            self.other_life.send_replace(());
        }
    }

    /// The partitions that it serves.
    pub fn partitions(&self) -> Arc<[u16]> {
        self.partitions.borrow().clone()
    }

    /// The partitions that it serves, with notifications of changes.
    pub fn watch_partitions(&self) -> watch::Receiver<Arc<[u16]>> {
        self.partitions.subscribe()
    }

    /// Adds a sample of the clock: it showed `micros` at some time between `sent_at` and
    /// `received_at`.
    pub fn sample_clock(&self, micros: u64, sent_at: Moment, received_at: Moment) {
        if let Some(back) = self.clock.sample(micros, sent_at, received_at) {
            let back_ms = back.as_millis() as u64;
            tracing::warn!(server = %self.address, back_ms, "redis: server clock was set back; entries expire as before");
        }
    }

    /// Replaces the partitions that it serves.
    pub fn set_partitions(&self, partitions: Arc<[u16]>) {
        self.partitions.send_if_modified(|now| std::mem::replace(now, partitions.clone()) != partitions);
    }
}
