//! Warm start: a new replica loads the hot keys of the fleet before it reports ready.
//!
//! Replicas publish a list of their hot keys in the shared store. A new replica loads these keys,
//! and the configured keys and prefixes. Entries enter L1 as any other fill does; a list that is
//! lost or old costs only a cold start.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::hot_key_list::ListedKey;
use super::shared_store::SharedStore;
use super::warm_start_context::{HOT_KEYS_LIFETIME, SHARED_STORE_TIMEOUT, WarmStartContext};
use super::warm_start_load::{Loader, Progress};
use crate::cache::clock::Clock;
use crate::cache::log_fields::millis;
use crate::cache::namespace::Namespaces;
use crate::cache::tiered::Tiered;

pub use super::warm_start_context::WarmStartConfig;

/// Interval at which this replica publishes its list.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(5);
/// Time in which a key without reads loses half of its weight.
const HALF_LIFE: Duration = Duration::from_secs(600);

/// The warm start of one replica.
pub struct WarmStart {
    context: WarmStartContext,
    outcome: OnceLock<Warmed>,
}

/// Result of a warm start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warmed {
    /// Keys found: configured, listed, or below a prefix.
    pub listed: u64,
    /// Entries loaded.
    pub loaded: u64,
    /// Duration.
    pub took: Duration,
    /// True if it ended by its timeout.
    pub timed_out: bool,
}

// === impl WarmStart ===

impl WarmStart {
    /// Creates a warm start that has loaded nothing.
    pub fn new(
        config: WarmStartConfig,
        cache: Tiered,
        namespaces: Arc<Namespaces>,
        shared_store: Arc<dyn SharedStore>,
        clock: Arc<dyn Clock>,
    ) -> WarmStart {
        let context = WarmStartContext { config, cache, namespaces, shared_store, clock };
        WarmStart { context, outcome: OnceLock::new() }
    }

    /// Returns the result. `None` if the warm start is off or has not ended.
    pub fn outcome(&self) -> Option<Warmed> {
        self.outcome.get().copied()
    }

    /// Loads the configured keys and the hot keys. L1 has to accept fills by now.
    pub async fn load(&self) {
        let (started_at, progress) = (Instant::now(), Progress::default());
        let in_time =
            timeout(self.context.config.timeout, Loader::new(&self.context, &progress, started_at).load_all()).await;
        let (listed, loaded) = progress.counts();
        let warmed = Warmed { listed, loaded, took: started_at.elapsed(), timed_out: in_time.is_err() };
        tracing::info!(
            listed,
            loaded,
            took_ms = millis(warmed.took),
            timed_out = warmed.timed_out,
            "warm start finished"
        );
        let _ = self.outcome.set(warmed);
    }

    /// Publishes this replica's list at intervals until cancelled.
    pub async fn publish_hot_keys_regularly(&self) {
        loop {
            sleep(PUBLISH_INTERVAL).await;
            self.publish_hot_keys().await;
        }
    }

    /// Publishes this replica's list, merged with the stored one. Of two concurrent updates one may
    /// be lost, until the next interval.
    pub async fn publish_hot_keys(&self) {
        let WarmStartContext { config, cache, shared_store, clock, .. } = &self.context;
        let own: Vec<ListedKey> = cache.hot_keys(config.keys, None).into_iter().map(ListedKey::from).collect();
        if own.is_empty() {
            return;
        }
        let deadline = clock.now().plus(SHARED_STORE_TIMEOUT);
        let Ok(there) = shared_store.hot_keys(HOT_KEYS_LIFETIME, deadline).await else { return };
        let there =
            there.map(|note| super::hot_key_list::read(&note.text, note.age.as_secs_f64() / HALF_LIFE.as_secs_f64()));
        let merged = super::hot_key_list::merge(own, there.unwrap_or_default(), config.keys);
        let _ = shared_store.save_hot_keys(super::hot_key_list::write(&merged), HOT_KEYS_LIFETIME, deadline).await;
    }
}
