//! Settings of coherence: the staleness bound and the partitions.

use std::time::Duration;

use crate::config::reader::Reader;
use crate::units::Ratio;

/// Staleness bound, and number of partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coherence {
    /// Time after a write or Invalidate in which another replica may still answer the old value.
    pub max_staleness: Duration,
    /// Partitions of the key space, each with its own position. The same in every replica of a
    /// deployment.
    pub partitions: u16,
    /// Share of fresh L1 hits that are checked against Redis.
    pub self_audit: Ratio,
}

// === impl Coherence ===

impl Coherence {
    pub(crate) fn read(reader: &mut Reader) -> Self {
        Coherence {
            max_staleness: reader.duration(
                "coherence.max_staleness",
                Duration::from_secs(2),
                Duration::from_millis(250)..=Duration::from_secs(60),
                "how long after a write another replica may still answer the old value",
            ),
            partitions: reader.count(
                "coherence.partitions",
                64,
                1..=1024,
                "partitions of the key space; the same in every replica of a deployment",
            ),
            self_audit: reader.share(
                "coherence.self_audit",
                Ratio::one_of(1000),
                "share of fresh L1 hits that are checked against Redis, at most 20 a second; 0 for none",
            ),
        }
    }
}
