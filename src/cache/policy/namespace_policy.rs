//! What holds for the entries of a namespace, and how that is changed at run time.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::field_text::FieldText;
use super::values::{Compression, DefaultConsistency};
use crate::cache::error::{Violation, Violations};
use crate::cache::log_fields::millis;
use crate::cache::quoted::short_number;
use crate::units::format_duration;

/// What is switched on: for the whole service, or for a namespace. What one of them has switched off is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switches {
    /// False: Gets miss and Sets store nothing; Invalidates still work.
    pub enabled: bool,
    /// False: memory is neither asked nor filled.
    pub l1: bool,
    /// False: the shared tier is neither read nor written; entries live in this replica's memory under no promise.
    pub l2: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Switches { enabled: true, l1: true, l2: true }
    }
}

impl Switches {
    /// What both have on.
    pub fn and(self, other: Switches) -> Switches {
        Switches { enabled: self.enabled && other.enabled, l1: self.l1 && other.l1, l2: self.l2 && other.l2 }
    }
}

macro_rules! policy {
    ($($(#[$doc:meta])+ $field:ident: $kind:ty = $default:expr,)+) => {
        /// Policy of one namespace.
        #[derive(Clone, Debug, PartialEq)]
        pub struct NamespacePolicy {
            $($(#[$doc])+ pub $field: $kind,)+
        }

        impl Default for NamespacePolicy {
            fn default() -> Self {
                NamespacePolicy { $($field: $default,)+ }
            }
        }

        /// What is changed of a policy; none: nothing.
        #[derive(Clone, Debug, Default, PartialEq)]
        #[allow(missing_docs)]
        pub struct PolicyPatch {
            $(pub $field: Option<$kind>,)+
        }

        impl PolicyPatch {
            /// This change, and what `later` changes beyond it or otherwise.
            pub fn and_then(self, later: PolicyPatch) -> PolicyPatch {
                PolicyPatch { $($field: later.$field.or(self.$field),)+ }
            }

            /// A change of every field to what it is in `policy`.
            pub fn of(policy: &NamespacePolicy) -> PolicyPatch {
                PolicyPatch { $($field: Some(policy.$field),)+ }
            }

            /// The fields that are changed, each as text.
            pub fn fields(&self) -> Vec<(&'static str, String)> {
                let fields = [$((stringify!($field), self.$field.as_ref().map(FieldText::write)),)+];
                fields.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
            }

            /// The fields that are changed, for the log: `enabled=false, max_ttl_ms=3600000`.
            pub fn in_words(&self) -> String {
                let word = |(field, value): &(&str, String)| match <Duration as FieldText>::read(value) {
                    Some(duration) => format!("{field}_ms={}", millis(duration)),
                    None => format!("{field}={value}"),
                };
                self.fields().iter().map(word).collect::<Vec<_>>().join(", ")
            }

            /// A change of one field, of which the text was made; none: there is no such field, or no such value.
            pub fn of_field(field: &str, value: &str) -> Option<PolicyPatch> {
                match field {
                    $(stringify!($field) => {
                        Some(PolicyPatch { $field: Some(FieldText::read(value)?), ..PolicyPatch::default() })
                    })+
                    _ => None,
                }
            }

            /// Every field.
            pub const FIELDS: &[&str] = &[$(stringify!($field),)+];

            fn over(&self, policy: &NamespacePolicy) -> NamespacePolicy {
                NamespacePolicy { $($field: self.$field.unwrap_or(policy.$field),)+ }
            }
        }
    };
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

policy! {
    /// False: Gets miss and Sets store nothing; Invalidates still work.
    enabled: bool = true,
    /// False: memory is neither asked nor filled.
    l1: bool = true,
    /// False: the shared tier is neither read nor written; entries live in this replica's memory under no promise.
    l2: bool = true,
    /// Time to live of a Set that names none.
    default_ttl: Duration = 5 * MINUTE,
    /// Shortest time to live a Set may ask for.
    min_ttl: Duration = *TTL.start(),
    /// Longest time to live a Set may ask for.
    max_ttl: Duration = 30 * DAY,
    /// Share by which times to live are shortened at random, at most.
    jitter: f64 = 0.0,
    /// Soft time to live of a Set that names none. Zero: none.
    soft_ttl: Duration = Duration::ZERO,
    /// Longest time that memory keeps an entry.
    l1_ttl: Duration = *TTL.end(),
    /// For how long past its time to live an entry is kept, to be answered flagged stale while the shared tier is away or to a caller who
    /// accepts it. Zero: not at all.
    stale_window: Duration = Duration::ZERO,
    /// Time to live of a negative entry whose Set names none, as far as the longest allows it.
    negative_ttl: Duration = MINUTE / 2,
    /// How values are compressed in the shared tier.
    compression: Compression = Compression::None,
    /// Smallest value that is compressed, bytes.
    compression_threshold: u64 = 1024,
    /// Largest value, bytes, as far as the service's limit allows it.
    max_value_size: u64 = *VALUE_SIZE.end(),
    /// Most bytes in the memory of a replica. 0: no limit of its own.
    max_bytes: u64 = 0,
    /// Most requests a second at a replica. 0: no limit.
    max_requests_per_second: f64 = 0.0,
    /// True: an entry is written once and never overwritten.
    immutable: bool = false,
    /// What a Get that names no consistency gets.
    consistency: DefaultConsistency = DefaultConsistency::Bounded,
    /// True: a Set may ask for an entry that lives until it is removed or evicted.
    allow_no_expiry: bool = false,
    /// How eagerly entries are drawn for refresh before they expire, in multiples of what making them costs. 0: not at all.
    early_refresh: f64 = 1.0,
    /// Duration of a lease whose Get names none.
    lease_duration: Duration = Duration::from_secs(10),
}

/// Bounds of a time to live: from what Redis can express.
pub const TTL: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(365 * 24 * 3600);
/// Bounds of `soft_ttl` and `stale_window`.
pub const WINDOW: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(365 * 24 * 3600);
/// Bounds of `jitter`.
pub const JITTER: RangeInclusive<f64> = 0.0..=0.5;
/// Bounds of `compression_threshold` and `max_value_size`: to the largest `limits.value_size`.
pub const VALUE_SIZE: RangeInclusive<u64> = 0..=64 << 20;
/// Bounds of `max_bytes`.
pub const BYTES: RangeInclusive<u64> = 0..=1 << 40;
/// Bounds of `max_requests_per_second`.
pub const RATE: RangeInclusive<f64> = 0.0..=10_000_000.0;
/// Bounds of `early_refresh`.
pub const EAGERNESS: RangeInclusive<f64> = 0.0..=100.0;
/// Bounds of a lease.
pub const LEASE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(300);

// === impl NamespacePolicy ===

impl NamespacePolicy {
    /// What of it is switched on.
    pub fn switches(&self) -> Switches {
        Switches { enabled: self.enabled, l1: self.l1, l2: self.l2 }
    }

    /// Everything that is out of bounds, or contradicts something else. Fields are named as in the contract's `Policy`.
    pub fn violations(&self) -> Violations {
        let mut found = Violations::default();
        let ttls = [
            ("default_ttl", self.default_ttl, TTL),
            ("min_ttl", self.min_ttl, TTL),
            ("max_ttl", self.max_ttl, TTL),
            ("l1_ttl", self.l1_ttl, TTL),
            ("negative_ttl", self.negative_ttl, TTL),
            ("soft_ttl", self.soft_ttl, WINDOW),
            ("stale_window", self.stale_window, WINDOW),
            ("lease_duration", self.lease_duration, LEASE),
        ];
        for (field, value, bounds) in ttls {
            found.extend(outside(field, &value, &bounds, |value| format_duration(*value)));
        }
        let numbers = [
            ("jitter", self.jitter, JITTER),
            ("max_requests_per_second", self.max_requests_per_second, RATE),
            ("early_refresh", self.early_refresh, EAGERNESS),
        ];
        for (field, value, bounds) in numbers {
            found.extend(outside(field, &value, &bounds, |value| short_number(*value)));
        }
        let sizes = [
            ("compression_threshold", self.compression_threshold, VALUE_SIZE),
            ("max_value_size", self.max_value_size, VALUE_SIZE),
            ("max_bytes", self.max_bytes, BYTES),
        ];
        for (field, value, bounds) in sizes {
            found.extend(outside(field, &value, &bounds, |value| format!("{value} bytes")));
        }
        if self.min_ttl > self.default_ttl {
            let [min, default] = [self.min_ttl, self.default_ttl].map(format_duration);
            found.push(Violation::new("min_ttl", format!("must be at most default_ttl, {default}; was {min}")));
        }
        if self.default_ttl > self.max_ttl {
            let [default, max] = [self.default_ttl, self.max_ttl].map(format_duration);
            found.push(Violation::new("default_ttl", format!("must be at most max_ttl, {max}; was {default}")));
        }
        found
    }
}

fn outside<T: PartialOrd>(
    field: &str,
    value: &T,
    bounds: &RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Option<Violation> {
    let rule = || format!("must be from {} to {}; was {}", show(bounds.start()), show(bounds.end()), show(value));
    (!bounds.contains(value)).then(|| Violation::new(field, rule()))
}

// === impl PolicyPatch ===

impl PolicyPatch {
    /// True when nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == PolicyPatch::default()
    }

    /// The policy as changed, or everything that is wrong with it.
    pub fn apply(&self, policy: &NamespacePolicy) -> Result<NamespacePolicy, Violations> {
        let changed = self.over(policy);
        match changed.violations() {
            violations if violations.is_empty() => Ok(changed),
            violations => Err(violations),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_policy_is_within_its_bounds() {
        assert_eq!(NamespacePolicy::default().violations().named(), []);
    }

    #[test]
    fn a_change_changes_what_it_names_and_nothing_else() {
        let policy = NamespacePolicy::default();
        let first = PolicyPatch { immutable: Some(true), jitter: Some(0.1), ..PolicyPatch::default() };
        let both = first.and_then(PolicyPatch { jitter: Some(0.2), l1: Some(false), ..PolicyPatch::default() });
        let changed = both.apply(&policy).expect("within bounds");
        assert_eq!(changed, NamespacePolicy { immutable: true, jitter: 0.2, l1: false, ..policy.clone() });
        assert!(PolicyPatch::default().is_empty() && !both.is_empty());
        assert_eq!(PolicyPatch::default().apply(&policy), Ok(policy));
    }

    #[test]
    fn a_change_is_written_down_and_read_again() {
        let policy = NamespacePolicy { jitter: 0.1, l1: false, compression: Compression::Zstd, ..Default::default() };
        let all = PolicyPatch::of(&policy);
        assert_eq!(all.fields().len(), PolicyPatch::FIELDS.len());
        let fields = all.fields();
        let read = fields.iter().map(|(field, value)| PolicyPatch::of_field(field, value).expect("known"));
        assert_eq!(read.reduce(PolicyPatch::and_then), Some(all));
        assert_eq!(PolicyPatch::of_field("ttl", "1ns"), None);
        assert_eq!(PolicyPatch::of_field("max_ttl", "1 day"), None);
    }

    #[test]
    fn everything_that_is_wrong_with_a_change_is_named() {
        let patch = PolicyPatch {
            max_ttl: Some(Duration::from_secs(1)),
            jitter: Some(f64::NAN),
            max_bytes: Some(u64::MAX),
            ..PolicyPatch::default()
        };
        let violations = patch.apply(&NamespacePolicy::default()).expect_err("wrong");
        let fields: Vec<&str> = violations.named().iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["jitter", "max_bytes", "default_ttl"]);
        assert_eq!(violations.named()[2].description, "must be at most max_ttl, 1s; was 5m");
    }
}
