//! Policies of namespaces: the default in `cache`, overrides in `namespaces.<name>`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cache::namespace::NamespaceRules;
use crate::cache::policy::namespace_policy::{BYTES, COUNT, EAGERNESS, JITTER, LEASE, RATE, TTL, VALUE_SIZE, WINDOW};
use crate::cache::policy::{Compression, DefaultConsistency, Limits, NamespacePolicy, Switches, limits};
use crate::config::reader::{Fallback, Reader};
use crate::config::setting::Origin;

const SECTION: &str = "namespaces";
const FIELDS: [&str; 26] = [
    "enabled",
    "l1",
    "l2",
    "default_ttl",
    "min_ttl",
    "max_ttl",
    "jitter",
    "soft_ttl",
    "l1_ttl",
    "stale_window",
    "negative_ttl",
    "compression",
    "compression_threshold",
    "max_value_size",
    "max_bytes",
    "reserved_bytes",
    "max_l2_bytes",
    "max_requests_per_second",
    "max_bytes_per_second",
    "max_in_flight",
    "max_leases",
    "immutable",
    "consistency",
    "allow_no_expiry",
    "early_refresh",
    "lease_duration",
];

/// Reads the switches of the whole service.
pub(crate) fn read_switches(reader: &mut Reader) -> Switches {
    Switches {
        enabled: reader.boolean(
            "cache.enabled",
            true,
            "false: cache nothing; Gets miss, Sets store nothing, Invalidates still work",
        ),
        l1: reader.boolean("cache.l1", true, "false: skip memory: neither read nor fill it"),
        l2: reader.boolean(
            "cache.l2",
            true,
            "false: skip Redis; entries live in this replica's memory only and replicas are not kept coherent",
        ),
    }
}

/// Reads the policies, and which namespaces may exist.
pub(crate) fn read_rules(reader: &mut Reader, limits: &Limits) -> NamespaceRules {
    let default_policy = read_policy(reader, &Section { namespace: None, base: &NamespacePolicy::default() });
    NamespaceRules {
        strict: reader.boolean(
            "cache.strict_namespaces",
            false,
            "refuse a namespace that is not configured under namespaces",
        ),
        configured: read_namespaces(reader, &default_policy),
        default_policy,
        limit: limits.namespaces,
        tombstones: limits.tombstones,
        tombstone_bytes: limits.tombstone_bytes,
        ..NamespaceRules::default()
    }
}

/// Checks that namespaces are sampled if one has a quota in Redis.
pub(crate) fn check_l2_quotas(reader: &mut Reader, rules: &NamespaceRules, sampling: Duration) {
    let limited = rules.configured.iter().filter(|(_, policy)| policy.max_l2_bytes > 0);
    let paths: Vec<String> = limited.map(|(name, _)| format!("{SECTION}.{name}.max_l2_bytes")).collect();
    let default = (rules.default_policy.max_l2_bytes > 0).then(|| "cache.max_l2_bytes".to_owned());
    for path in paths.into_iter().chain(default).filter(|_| sampling.is_zero()) {
        // One that is inherited is reported where it is inherited from.
        if reader.is_given(&path) {
            reader.contradict(&path, "redis.namespace_sampling", "needs samples");
        }
    }
}

fn read_namespaces(reader: &mut Reader, default: &NamespacePolicy) -> BTreeMap<String, NamespacePolicy> {
    let mut namespaces = BTreeMap::new();
    for (rest, empty, origin) in reader.section(SECTION) {
        let Some(name) = name(&rest, empty) else { continue };
        if !namespaces.contains_key(name) {
            check_name(reader, name, origin);
            namespaces.insert(name.to_owned(), read_namespace(reader, name, default));
        }
    }
    namespaces
}

/// Returns the namespace that a path below the section configures: `user.profiles` of
/// `user.profiles.max_ttl`.
fn name(rest: &str, empty: bool) -> Option<&str> {
    match rest.rsplit_once('.') {
        Some((name, field)) if FIELDS.contains(&field) || !empty => Some(name),
        _ => empty.then_some(rest),
    }
}

fn check_name(reader: &mut Reader, name: &str, origin: Origin) {
    let path = format!("{SECTION}.{name}");
    if let Err(violation) = limits::namespace(&path, name) {
        reader.problem(path, format!("a namespace {}", violation.description), origin);
    }
}

/// Reads one namespace. Settings that are absent are inherited from `cache`.
pub(crate) fn read_namespace(reader: &mut Reader, name: &str, default: &NamespacePolicy) -> NamespacePolicy {
    let path = |field: &str| format!("{SECTION}.{name}.{field}");
    reader.section(&format!("{SECTION}.{name}"));
    let policy = read_policy(reader, &Section { namespace: Some(name), base: default });
    // The switches of the service are not inherited: a namespace may not switch on what is off
    // there.
    NamespacePolicy {
        enabled: reader.boolean(
            &path("enabled"),
            true,
            "false: Gets of the namespace miss and Sets store nothing; Invalidates still work",
        ),
        l1: reader.boolean(&path("l1"), true, "false: skip memory: neither read nor fill it"),
        l2: reader.boolean(
            &path("l2"),
            true,
            "false: skip Redis; entries live in this replica's memory only and replicas are not kept coherent",
        ),
        // A namespace does not inherit it: all of them together would reserve more than L1 has.
        reserved_bytes: reader.size(&path("reserved_bytes"), 0, BYTES, "bytes of l1.size that no other namespace uses"),
        ..policy
    }
}

/// Checks the reservations against the size of L1, and each against the quota of its namespace.
pub(crate) fn check_reservations(reader: &mut Reader, rules: &NamespaceRules, size: u64) {
    let reserving = || rules.configured.iter().filter(|(_, policy)| policy.reserved_bytes > 0);
    let sum = reserving().fold(0u64, |sum, (_, policy)| sum.saturating_add(policy.reserved_bytes));
    for (name, policy) in reserving() {
        let [reserved, most] = ["reserved_bytes", "max_bytes"].map(|field| format!("{SECTION}.{name}.{field}"));
        if policy.max_bytes > 0 && policy.reserved_bytes > policy.max_bytes {
            reader.contradict(&reserved, &most, "must be at most max_bytes");
        }
        if sum > size {
            let rule = format!("must be, summed over all namespaces, at most l1.size; the sum is {sum} bytes");
            reader.contradict(&reserved, "l1.size", &rule);
        }
    }
}

/// Section of a policy: `cache`, or a namespace that inherits from it.
struct Section<'a> {
    namespace: Option<&'a str>,
    base: &'a NamespacePolicy,
}

impl Section<'_> {
    /// Returns the path of a setting, given its path in `cache`.
    fn path(&self, of_cache: &str) -> String {
        match self.namespace {
            None => of_cache.to_owned(),
            Some(name) => format!("{SECTION}.{name}{}", of_cache.trim_start_matches("cache")),
        }
    }

    fn fallback<T>(&self, value: T, of_cache: &'static str) -> Fallback<T> {
        match self.namespace {
            None => Fallback::Value(value),
            Some(_) => Fallback::Inherited(value, of_cache),
        }
    }
}

/// Reads one field of a policy, whose fallback is that of the section.
macro_rules! setting {
    ($reader:ident, $section:ident, $kind:ident, $field:ident, $($rule:expr),+) => {{
        let path = concat!("cache.", stringify!($field));
        $reader.$kind(&$section.path(path), $section.fallback($section.base.$field, path), $($rule),+)
    }};
}

fn read_policy(reader: &mut Reader, section: &Section<'_>) -> NamespacePolicy {
    let times = read_times(reader, section);
    let rest = read_rest(reader, section, times);
    let policy = read_quotas(reader, section, rest);
    check_times(reader, section, &policy);
    policy
}

/// Reads the times to live, and the other fields that are about time.
fn read_times(reader: &mut Reader, section: &Section<'_>) -> NamespacePolicy {
    NamespacePolicy {
        default_ttl: setting!(reader, section, duration, default_ttl, TTL, "default time to live of a Set"),
        min_ttl: setting!(reader, section, duration, min_ttl, TTL, "shortest time to live a Set may request"),
        max_ttl: setting!(reader, section, duration, max_ttl, TTL, "longest time to live a Set may request"),
        jitter: setting!(
            reader,
            section,
            number,
            jitter,
            JITTER,
            "largest share by which times to live are shortened at random"
        ),
        soft_ttl: setting!(reader, section, duration, soft_ttl, WINDOW, "default soft time to live of a Set; 0s: none"),
        l1_ttl: setting!(reader, section, duration, l1_ttl, TTL, "longest time that memory keeps an entry"),
        stale_window: setting!(
            reader,
            section,
            duration,
            stale_window,
            WINDOW,
            "how long past its time to live an entry is kept, to be answered flagged stale"
        ),
        negative_ttl: setting!(
            reader,
            section,
            duration,
            negative_ttl,
            TTL,
            "default time to live of a negative entry, limited by max_ttl"
        ),
        early_refresh: setting!(
            reader,
            section,
            number,
            early_refresh,
            EAGERNESS,
            "weight of random early refresh before entries expire, in multiples of the time that filling them takes; 0: off"
        ),
        lease_duration: setting!(reader, section, duration, lease_duration, LEASE, "default duration of a lease"),
        ..NamespacePolicy::default()
    }
}

/// Reads the fields that are not about time.
fn read_rest(reader: &mut Reader, section: &Section<'_>, times: NamespacePolicy) -> NamespacePolicy {
    let compressions = [("none", Compression::None), ("zstd", Compression::Zstd), ("lz4", Compression::Lz4)];
    let consistencies = [("bounded", DefaultConsistency::Bounded), ("strong", DefaultConsistency::Strong)];
    NamespacePolicy {
        compression: setting!(reader, section, choice, compression, &compressions, "compression of values in Redis"),
        compression_threshold: setting!(
            reader,
            section,
            size,
            compression_threshold,
            VALUE_SIZE,
            "smallest value that is compressed"
        ),
        max_value_size: setting!(
            reader,
            section,
            size,
            max_value_size,
            VALUE_SIZE,
            "largest value; limits.value_size applies as well"
        ),
        immutable: setting!(
            reader,
            section,
            boolean,
            immutable,
            "true: an entry is written once and never overwritten"
        ),
        consistency: setting!(reader, section, choice, consistency, &consistencies, "default consistency of a Get"),
        allow_no_expiry: setting!(
            reader,
            section,
            boolean,
            allow_no_expiry,
            "true: a Set may request an entry that lives until it is removed or evicted"
        ),
        ..times
    }
}

/// Reads the quotas.
fn read_quotas(reader: &mut Reader, section: &Section<'_>, rest: NamespacePolicy) -> NamespacePolicy {
    NamespacePolicy {
        max_bytes: setting!(
            reader,
            section,
            size,
            max_bytes,
            BYTES,
            "most bytes in the memory of a replica; beyond it the namespace evicts its own entries; 0: no limit of its own"
        ),
        max_l2_bytes: setting!(
            reader,
            section,
            size,
            max_l2_bytes,
            BYTES,
            "most bytes in Redis, as estimated by redis.namespace_sampling; beyond it Sets are refused; 0: no limit"
        ),
        max_requests_per_second: setting!(
            reader,
            section,
            number,
            max_requests_per_second,
            RATE,
            "most requests a second at a replica; 0: no limit"
        ),
        max_bytes_per_second: setting!(
            reader,
            section,
            size,
            max_bytes_per_second,
            BYTES,
            "most bytes of keys and values a second at a replica, received and sent; 0: no limit"
        ),
        max_in_flight: setting!(
            reader,
            section,
            count,
            max_in_flight,
            COUNT,
            "most requests in flight at a replica; 0: no limit of its own"
        ),
        max_leases: setting!(
            reader,
            section,
            count,
            max_leases,
            COUNT,
            "most leases of a replica that are neither used, returned nor over; 0: no limit of its own"
        ),
        ..rest
    }
}

fn check_times(reader: &mut Reader, section: &Section<'_>, policy: &NamespacePolicy) {
    for (smaller, larger, holds) in [
        ("cache.min_ttl", "cache.default_ttl", policy.min_ttl <= policy.default_ttl),
        ("cache.default_ttl", "cache.max_ttl", policy.default_ttl <= policy.max_ttl),
    ] {
        let (smaller, larger) = (section.path(smaller), section.path(larger));
        // A contradiction that is inherited as a whole is reported where it is inherited from.
        if !holds && (section.namespace.is_none() || reader.is_given(&smaller) || reader.is_given(&larger)) {
            reader.contradict(&smaller, &larger, &format!("must be at most {larger}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_that_are_read() {
        let settings = crate::config::config::reference();
        let read = settings.iter().filter_map(|setting| setting.path.strip_prefix("namespaces.<name>."));
        let (mut read, mut fields) = (read.collect::<Vec<_>>(), FIELDS.to_vec());
        read.sort_unstable();
        fields.sort_unstable();
        assert_eq!(read, fields);
    }

    #[test]
    fn a_name_may_have_dots() {
        assert_eq!(name("user.profiles.max_ttl", false), Some("user.profiles"));
        assert_eq!(name("profiles.unknown", false), Some("profiles"));
        assert_eq!(name("user.profiles", true), Some("user.profiles"));
        assert_eq!(name("profiles.max_ttl", true), Some("profiles"));
        assert_eq!(name("profiles", false), None);
    }
}
