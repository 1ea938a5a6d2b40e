//! Configuration of a warm start, and the parts of the replica that it uses.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::shared_store::SharedStore;
use crate::cache::clock::Clock;
use crate::cache::namespace::Namespaces;
use crate::cache::tiered::Tiered;

/// Lifetime of the list of hot keys in the shared store.
pub(super) const HOT_KEYS_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Timeout of a call to the shared store.
pub(super) const SHARED_STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// Configuration of a warm start.
#[derive(Clone, Debug)]
pub struct WarmStartConfig {
    /// Most hot keys that are listed and loaded, and most keys that are loaded by prefix.
    pub keys: usize,
    /// Keys to load in any case, each with its namespace.
    pub load_keys: Vec<(String, Bytes)>,
    /// Prefixes whose keys to load, each with its namespace. An empty prefix selects the whole
    /// namespace.
    pub load_prefixes: Vec<(String, String)>,
    /// Timeout of the warm start.
    pub timeout: Duration,
    /// Most keys to load per second.
    pub keys_per_second: u32,
}

/// Configuration of a warm start, with the parts of the replica that it uses.
pub struct WarmStartContext {
    pub(super) config: WarmStartConfig,
    pub(super) cache: Tiered,
    pub(super) namespaces: Arc<Namespaces>,
    pub(super) shared_store: Arc<dyn SharedStore>,
    pub(super) clock: Arc<dyn Clock>,
}
