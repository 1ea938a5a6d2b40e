//! Settings of the memory tier.

use crate::backend::memory::{Eviction, L1Config};
use crate::cache::policy::Limits;
use crate::config::reader::Reader;
use crate::units::MIB;

/// Share of the memory tier that one value may take: above it, a few values would evict everything
/// else.
const SHARE: u64 = 8;

/// Eviction policies by name. `None` is chosen by the service.
const EVICTION: [(&str, Option<Eviction>); 3] =
    [("auto", None), ("lru", Some(Eviction::Lru)), ("tiny_lfu", Some(Eviction::TinyLfu))];

/// Reads the section.
///
/// Without Redis an entry that memory refuses is a lost Set, so the default then is LRU, which
/// takes every new entry.
pub(crate) fn read(reader: &mut Reader, limits: &Limits, has_redis: bool) -> L1Config {
    let size = reader.size("l1.size", 256 * MIB, MIB..=MIB * MIB, "most bytes of entries the memory tier holds");
    if limits.value_size as u64 > size / SHARE {
        reader.contradict("limits.value_size", "l1.size", "must be at most an eighth of l1.size");
    }
    let eviction = reader.choice("l1.eviction", None, &EVICTION, "eviction policy of a full memory tier");
    let default = if has_redis { Eviction::TinyLfu } else { Eviction::Lru };
    L1Config { size, eviction: eviction.unwrap_or(default) }
}
