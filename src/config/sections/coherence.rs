//! Settings of coherence: the staleness bound, the partitions and the self-audit.

use std::time::Duration;

use crate::cache::coherence::CoherenceConfig;
use crate::cache::coherence::safeguards::Safeguards;
use crate::config::reader::Reader;
use crate::units::Ratio;

/// Reads the staleness bound and the partitions. `repair` follows from the section of Redis.
pub(crate) fn read(reader: &mut Reader) -> CoherenceConfig {
    CoherenceConfig {
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
        repair: false,
        safeguards: Safeguards::default(),
    }
}

/// Reads the number of fresh L1 hits per self-audit; 0 for none.
pub(crate) fn self_audit_every(reader: &mut Reader) -> u64 {
    let share = reader.share(
        "coherence.self_audit",
        Ratio::one_of(1000),
        "share of fresh L1 hits that are checked against Redis, at most 20 a second; 0 for none",
    );
    share.one_in()
}
