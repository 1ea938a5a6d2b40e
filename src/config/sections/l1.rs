//! Settings of the memory tier.

use crate::cache::policy::Limits;
use crate::config::reader::Reader;
use crate::units::MIB;

/// Share of the memory tier that one value may take: above it, a few values would evict everything
/// else.
const SHARE: u64 = 8;

/// The memory tier of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L1 {
    /// Most bytes of entries.
    pub size: u64,
    /// Eviction policy when full.
    pub eviction: Eviction,
}

/// Eviction policies of the memory tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// Chosen by the service.
    Auto,
    /// Evicts the least recently used entry.
    Lru,
    /// Evicts the entry estimated least frequently used, and refuses newcomers used less than it.
    TinyLfu,
}

const EVICTION: [(&str, Eviction); 3] =
    [("auto", Eviction::Auto), ("lru", Eviction::Lru), ("tiny_lfu", Eviction::TinyLfu)];

// === impl L1 ===

impl L1 {
    pub(crate) fn read(reader: &mut Reader, limits: &Limits) -> Self {
        let size = reader.size("l1.size", 256 * MIB, MIB..=MIB * MIB, "most bytes of entries the memory tier holds");
        if limits.value_size as u64 > size / SHARE {
            reader.contradict("limits.value_size", "l1.size", "must be at most an eighth of l1.size");
        }
        let eviction = reader.choice("l1.eviction", Eviction::Auto, &EVICTION, "eviction policy of a full memory tier");
        L1 { size, eviction }
    }
}
