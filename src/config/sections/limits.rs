//! Settings of the limits of a request.

use crate::cache::policy::Limits;
use crate::config::reader::Reader;
use crate::units::MIB;

const KIB: u64 = 1 << 10;

pub(crate) fn read(reader: &mut Reader) -> Limits {
    let default = Limits::default();
    // The limits are far below what a usize holds.
    Limits {
        key_size: reader.size("limits.key_size", default.key_size as u64, 1..=8 * KIB, "longest key") as usize,
        value_size: reader.size("limits.value_size", default.value_size as u64, KIB..=64 * MIB, "largest value")
            as usize,
        keys: reader.count("limits.keys", default.keys, 1..=10_000, "most keys in one request"),
        tokens: reader.count("limits.tokens", default.tokens, 1..=128, "most tokens in one request"),
        namespaces: reader.count(
            "limits.namespaces",
            default.namespaces,
            1..=65_536,
            "most namespaces of a replica",
        ),
        tags: reader.count("limits.tags", default.tags, 1..=64, "most tags of an entry, and in one Invalidate"),
        tag_size: reader.size("limits.tag_size", default.tag_size as u64, 1..=255, "longest tag") as usize,
        pattern_size: reader.size("limits.pattern_size", default.pattern_size as u64, 1..=KIB, "longest pattern")
            as usize,
        tombstones: reader.count(
            "limits.tombstones",
            default.tombstones,
            100..=1_000_000,
            "most invalidated prefixes and tags of a namespace that are remembered; with more, entries older than the oldest half count as invalidated",
        ),
        tombstone_bytes: reader.size(
            "limits.tombstone_bytes",
            default.tombstone_bytes as u64,
            MIB..=MIB * KIB * KIB,
            "most bytes of remembered prefixes and tags in memory, over all namespaces; with more, the namespace with the most drops half of them, as beyond limits.tombstones",
        ) as usize,
        decoded_size: reader.size(
            "limits.decoded_size",
            default.decoded_size as u64,
            MIB..=KIB * MIB,
            "most memory of a decoded request: its elements, without their values",
        ) as usize,
        watches: reader.count("limits.watches", default.watches, 0..=65_536, "most watches of a replica at once"),
    }
}
