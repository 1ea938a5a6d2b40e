//! The warm start: replicas leave a list of the keys read most on the board, and one that begins loads what they name before it says that it is
//! ready. Entries enter memory as any other fill does; a list that is lost or old costs nothing but a cold start.

mod list;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::board::Board;
use super::clock::Clock;
use super::key::{Key, KeyRef};
use super::log_fields::millis;
use super::namespace::Namespaces;
use super::tiered::Tiered;
use list::Listed;

/// How often this replica leaves its list.
const LEAVE_EVERY: Duration = Duration::from_secs(5);
/// For how long a list is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Time in which a key that nobody reads any more loses half of its weight.
const HALF_LIFE: Duration = Duration::from_secs(600);
/// Longest wait for the board.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most keys that are loaded in one trip, and most often that there is one in a second.
const TRIP: (usize, usize) = (64, 50);

/// How a replica starts warm.
#[derive(Clone, Copy, Debug)]
pub struct WarmStartConfig {
    /// Most keys that are listed and loaded.
    pub keys: usize,
    /// Longest time that loading them may take.
    pub timeout: Duration,
    /// Most keys that are loaded in a second.
    pub keys_per_second: u32,
}

/// The warm start of one replica.
pub struct WarmStart {
    config: WarmStartConfig,
    cache: Tiered,
    namespaces: Arc<Namespaces>,
    board: Arc<dyn Board>,
    clock: Arc<dyn Clock>,
    outcome: OnceLock<Warmed>,
}

/// What a warm start came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warmed {
    /// Keys found listed.
    pub listed: u64,
    /// Entries loaded.
    pub loaded: u64,
    /// How long it took.
    pub took: Duration,
    /// Whether it ended because its time was up.
    pub timed_out: bool,
}

// === impl WarmStart ===

impl WarmStart {
    /// Nothing is loaded yet.
    pub fn new(
        config: WarmStartConfig,
        cache: Tiered,
        namespaces: Arc<Namespaces>,
        board: Arc<dyn Board>,
        clock: Arc<dyn Clock>,
    ) -> WarmStart {
        WarmStart { config, cache, namespaces, board, clock, outcome: OnceLock::new() }
    }

    /// What it came to; none: it was not made, or not yet.
    pub fn outcome(&self) -> Option<Warmed> {
        self.outcome.get().copied()
    }

    /// Loads the keys that are listed. To be called once memory may be filled.
    pub async fn load(&self) {
        let begun = Instant::now();
        let listed = AtomicU64::new(0);
        let loaded = AtomicU64::new(0);
        let in_time = timeout(self.config.timeout, self.load_listed(begun, &listed, &loaded)).await;
        let (listed, loaded) = (listed.into_inner(), loaded.into_inner());
        let warmed = Warmed { listed, loaded, took: begun.elapsed(), timed_out: in_time.is_err() };
        tracing::info!(listed, loaded, took_ms = millis(warmed.took), timed_out = warmed.timed_out, "started warm");
        let _ = self.outcome.set(warmed);
    }

    /// Leaves this replica's list, for ever.
    pub async fn leave_lists(&self) {
        loop {
            sleep(LEAVE_EVERY).await;
            self.leave_list().await;
        }
    }

    /// Leaves this replica's list, put together with the one that is there. Of two that do so at once one may be lost, until the next time.
    pub async fn leave_list(&self) {
        let own: Vec<Listed> = self.cache.hot_keys(self.config.keys, None).into_iter().map(Listed::from).collect();
        if own.is_empty() {
            return;
        }
        let until = self.clock.now().plus(PATIENCE);
        let Ok(there) = self.board.hot_keys(KEPT, until).await else { return };
        let there = there.map(|note| list::read(&note.text, note.age.as_secs_f64() / HALF_LIFE.as_secs_f64()));
        let merged = list::merge(own, there.unwrap_or_default(), self.config.keys);
        let _ = self.board.save_hot_keys(list::write(&merged), KEPT, until).await;
    }

    async fn load_listed(&self, begun: Instant, listed: &AtomicU64, loaded: &AtomicU64) {
        // Longer than the time there is: that its end is noticed.
        let until = self.clock.now().plus(self.config.timeout + PATIENCE);
        let Ok(Some(note)) = self.board.hot_keys(KEPT, until).await else { return };
        let mut keys = list::read(&note.text, 0.0);
        keys.truncate(self.config.keys);
        listed.store(keys.len() as u64, Ordering::Relaxed);
        let keys: Vec<Key> = keys.iter().filter_map(|listed| self.key(listed)).collect();
        let a_second = self.config.keys_per_second;
        let trip = (a_second as usize / TRIP.1).clamp(1, TRIP.0);
        for (number, keys) in keys.chunks(trip).enumerate() {
            sleep_until(begun + Duration::from_secs(1) * (number * trip) as u32 / a_second).await;
            loaded.fetch_add(self.cache.warm(keys).await as u64, Ordering::Relaxed);
        }
    }

    /// The key that is listed; none: of a namespace that this replica has no account of.
    fn key(&self, listed: &Listed) -> Option<Key> {
        let namespace = self.namespaces.find(&listed.namespace)?;
        Some(KeyRef::new(&namespace, &listed.key).to_key())
    }
}
