//! The warm start: replicas leave a list of the keys read most on the board, and one that begins loads what they name before it says that it is
//! ready, beside the keys and prefixes that are configured. Entries enter memory as any other fill does; a list that is lost or old costs nothing
//! but a cold start.

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

/// How often this replica leaves its list.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(5);
/// Time in which a key that nobody reads any more loses half of its weight.
const HALF_LIFE: Duration = Duration::from_secs(600);

/// The warm start of one replica.
pub struct WarmStart {
    context: WarmStartContext,
    outcome: OnceLock<Warmed>,
}

/// What a warm start came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warmed {
    /// Keys found: configured, listed, or below a prefix.
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
        board: Arc<dyn SharedStore>,
        clock: Arc<dyn Clock>,
    ) -> WarmStart {
        let context = WarmStartContext { config, cache, namespaces, shared_store: board, clock };
        WarmStart { context, outcome: OnceLock::new() }
    }

    /// What it came to; none: it was not made, or not yet.
    pub fn outcome(&self) -> Option<Warmed> {
        self.outcome.get().copied()
    }

    /// Loads the keys that are configured and those that are listed. To be called once memory may be filled.
    pub async fn load(&self) {
        let (begun, progress) = (Instant::now(), Progress::default());
        let in_time =
            timeout(self.context.config.timeout, Loader::new(&self.context, &progress, begun).load_all()).await;
        let (listed, loaded) = progress.counts();
        let warmed = Warmed { listed, loaded, took: begun.elapsed(), timed_out: in_time.is_err() };
        tracing::info!(listed, loaded, took_ms = millis(warmed.took), timed_out = warmed.timed_out, "started warm");
        let _ = self.outcome.set(warmed);
    }

    /// Leaves this replica's list, for ever.
    pub async fn publish_hot_keys_regularly(&self) {
        loop {
            sleep(PUBLISH_INTERVAL).await;
            self.publish_hot_keys().await;
        }
    }

    /// Leaves this replica's list, put together with the one that is there. Of two that do so at once one may be lost, until the next time.
    pub async fn publish_hot_keys(&self) {
        let WarmStartContext { config, cache, shared_store, clock, .. } = &self.context;
        let own: Vec<ListedKey> = cache.hot_keys(config.keys, None).into_iter().map(ListedKey::from).collect();
        if own.is_empty() {
            return;
        }
        let until = clock.now().plus(SHARED_STORE_TIMEOUT);
        let Ok(there) = shared_store.hot_keys(HOT_KEYS_LIFETIME, until).await else { return };
        let there =
            there.map(|note| super::hot_key_list::read(&note.text, note.age.as_secs_f64() / HALF_LIFE.as_secs_f64()));
        let merged = super::hot_key_list::merge(own, there.unwrap_or_default(), config.keys);
        let _ = shared_store.save_hot_keys(super::hot_key_list::write(&merged), HOT_KEYS_LIFETIME, until).await;
    }
}
