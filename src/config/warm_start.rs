//! How a replica loads what the others read most, before it says that it is ready.

use std::time::Duration;

use super::reader::Reader;

/// The warm start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmStart {
    /// Whether it is made, where there is a Redis.
    pub enabled: bool,
    /// Most keys that are listed and loaded.
    pub keys: usize,
    /// Longest time that loading them may take.
    pub timeout: Duration,
    /// Most keys that are loaded in a second.
    pub keys_per_second: u32,
}

// === impl WarmStart ===

impl WarmStart {
    pub(super) fn read(reader: &mut Reader) -> Self {
        WarmStart {
            enabled: reader.boolean(
                "warm_start.enabled",
                true,
                "load the keys that the fleet reads most before saying ready, and tell the fleet which are read most here",
            ),
            keys: reader.count("warm_start.keys", 1000, 1..=10_000, "most keys that are listed and loaded"),
            timeout: reader.duration(
                "warm_start.timeout",
                Duration::from_secs(5),
                Duration::from_millis(10)..=Duration::from_secs(60),
                "how long loading them may hold readiness back",
            ),
            keys_per_second: reader.count(
                "warm_start.keys_per_second",
                5000,
                1..=1_000_000,
                "most keys that are loaded in a second",
            ),
        }
    }
}
