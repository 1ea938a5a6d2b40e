//! The policy of every namespace: that of `cache`, and what `namespaces.<name>` changes of it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::reader::{Fallback, Reader};
use super::setting::Origin;
use crate::cache::policy::expiry::MIN_TTL;
use crate::cache::policy::{NamespacePolicy, limits};

const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
const TTL: RangeInclusive<Duration> = MIN_TTL..=LONGEST;
const WINDOW: RangeInclusive<Duration> = Duration::ZERO..=LONGEST;

const SECTION: &str = "namespaces";
const FIELDS: [&str; 4] = ["enabled", "default_ttl", "max_ttl", "stale_window"];

/// What is cached, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// False: nothing is cached; Invalidates still work.
    pub enabled: bool,
    /// Policy of a namespace that is not configured.
    pub default_policy: NamespacePolicy,
    /// Policies of the configured namespaces.
    pub namespaces: BTreeMap<String, NamespacePolicy>,
    /// Whether a namespace that is not configured is refused.
    pub strict: bool,
}

// === impl CacheSettings ===

impl CacheSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let built_in = NamespacePolicy::default();
        let enabled = reader.boolean("cache.enabled", true, "false: nothing is cached; Invalidates still work");
        let default_policy = NamespacePolicy {
            // Not the switch above: a namespace may not enable itself when the whole cache is off.
            enabled: built_in.enabled,
            default_ttl: reader.duration(
                "cache.default_ttl",
                built_in.default_ttl,
                TTL,
                "time to live of a Set that names none",
            ),
            max_ttl: reader.duration("cache.max_ttl", built_in.max_ttl, TTL, "longest time to live a Set may ask for"),
            stale_window: reader.duration(
                "cache.stale_window",
                built_in.stale_window,
                WINDOW,
                "how long past freshness memory keeps an entry, to answer it flagged stale",
            ),
        };
        if default_policy.default_ttl > default_policy.max_ttl {
            reader.contradict("cache.default_ttl", "cache.max_ttl", "must be at most cache.max_ttl");
        }
        let strict = reader.boolean(
            "cache.strict_namespaces",
            false,
            "refuse a namespace that is not configured under namespaces",
        );
        let namespaces = read_namespaces(reader, &default_policy);
        CacheSettings { enabled, default_policy, namespaces, strict }
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

/// The namespace that a path below the section configures: `user.profiles` of `user.profiles.max_ttl`.
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

/// Reads one namespace; what it leaves open is as in `cache`.
pub(super) fn read_namespace(reader: &mut Reader, name: &str, default: &NamespacePolicy) -> NamespacePolicy {
    let path = |field: &str| format!("{SECTION}.{name}.{field}");
    reader.section(&format!("{SECTION}.{name}"));
    let policy = NamespacePolicy {
        enabled: reader.boolean(
            &path("enabled"),
            default.enabled,
            "false: Gets of the namespace miss and Sets store nothing; Invalidates still work",
        ),
        default_ttl: reader.duration(
            &path("default_ttl"),
            Fallback::Inherited(default.default_ttl, "cache.default_ttl"),
            TTL,
            "time to live of a Set in the namespace that names none",
        ),
        max_ttl: reader.duration(
            &path("max_ttl"),
            Fallback::Inherited(default.max_ttl, "cache.max_ttl"),
            TTL,
            "longest time to live a Set in the namespace may ask for",
        ),
        stale_window: reader.duration(
            &path("stale_window"),
            Fallback::Inherited(default.stale_window, "cache.stale_window"),
            WINDOW,
            "how long past freshness memory keeps an entry of the namespace, to answer it flagged stale",
        ),
    };
    let inherited = !reader.is_given(&path("default_ttl")) && !reader.is_given(&path("max_ttl"));
    if policy.default_ttl > policy.max_ttl && !inherited {
        let (default_ttl, max_ttl) = (path("default_ttl"), path("max_ttl"));
        reader.contradict(&default_ttl, &max_ttl, &format!("must be at most {max_ttl}"));
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_dots() {
        assert_eq!(name("user.profiles.max_ttl", false), Some("user.profiles"));
        assert_eq!(name("profiles.unknown", false), Some("profiles"));
        assert_eq!(name("user.profiles", true), Some("user.profiles"));
        assert_eq!(name("profiles.max_ttl", true), Some("profiles"));
        assert_eq!(name("profiles", false), None);
    }
}
