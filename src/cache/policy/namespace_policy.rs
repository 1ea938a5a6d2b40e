//! Policy of a namespace, its bounds, and changes of it at run time.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::field_text::FieldText;
use super::values::{Compression, DefaultConsistency};
use crate::cache::error::{Violation, Violations};
use crate::cache::log_fields::millis;
use crate::cache::quoted::short_number;
use crate::units::format_duration;

/// Switches of the whole service or of a namespace. Either can switch something off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switches {
    /// False: Gets miss and Sets store nothing; Invalidates still work.
    pub enabled: bool,
    /// False: L1 is neither read nor filled.
    pub l1: bool,
    /// False: L2 is neither read nor written; entries live in this replica's memory only and
    /// replicas are not kept coherent.
    pub l2: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Switches { enabled: true, l1: true, l2: true }
    }
}

impl Switches {
    /// Returns the switches that are on in both.
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

        /// Change of a policy. `None` in a field leaves it as it is.
        #[derive(Clone, Debug, Default, PartialEq)]
        #[allow(missing_docs)]
        pub struct PolicyPatch {
            $(pub $field: Option<$kind>,)+
        }

        impl PolicyPatch {
            /// Returns this change, overridden by `later`.
            pub fn and_then(self, later: PolicyPatch) -> PolicyPatch {
                PolicyPatch { $($field: later.$field.or(self.$field),)+ }
            }

            /// Creates a change of every field to its value in `policy`.
            pub fn of(policy: &NamespacePolicy) -> PolicyPatch {
                PolicyPatch { $($field: Some(policy.$field),)+ }
            }

            /// Returns the changed fields, each as text.
            pub fn fields(&self) -> Vec<(&'static str, String)> {
                let fields = [$((stringify!($field), self.$field.as_ref().map(FieldText::write)),)+];
                fields.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
            }

            /// Returns the changed fields for the log: `enabled=false, max_ttl_ms=3600000`.
            pub fn in_words(&self) -> String {
                let word = |(field, value): &(&str, String)| match <Duration as FieldText>::read(value) {
                    Some(duration) => format!("{field}_ms={}", millis(duration)),
                    None => format!("{field}={value}"),
                };
                self.fields().iter().map(word).collect::<Vec<_>>().join(", ")
            }

            /// Creates a change of one field from its text. `None` if there is no such field or
            /// value.
            pub fn of_field(field: &str, value: &str) -> Option<PolicyPatch> {
                match field {
                    $(stringify!($field) => {
                        Some(PolicyPatch { $field: Some(FieldText::read(value)?), ..PolicyPatch::default() })
                    })+
                    _ => None,
                }
            }

            /// Names of all fields.
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
    /// False: L1 is neither read nor filled.
    l1: bool = true,
    /// False: L2 is neither read nor written; entries live in this replica's memory only and
    /// replicas are not kept coherent.
    l2: bool = true,
    /// Default time to live of a Set.
    default_ttl: Duration = 5 * MINUTE,
    /// Shortest time to live that a Set may request.
    min_ttl: Duration = *TTL.start(),
    /// Longest time to live that a Set may request.
    max_ttl: Duration = 30 * DAY,
    /// Largest share by which times to live are shortened at random.
    jitter: f64 = 0.0,
    /// Default soft time to live of a Set. Zero: none.
    soft_ttl: Duration = Duration::ZERO,
    /// Longest time that L1 keeps an entry.
    l1_ttl: Duration = *TTL.end(),
    /// Time past its time to live for which an entry is kept, to be answered flagged stale while
    /// the shared tier is unavailable, or to a caller that accepts it. Zero: the entry is not kept.
    stale_window: Duration = Duration::ZERO,
    /// Default time to live of a negative entry, at most the longest time to live.
    negative_ttl: Duration = MINUTE / 2,
    /// Compression of values in the shared tier.
    compression: Compression = Compression::None,
    /// Smallest value that is compressed, bytes.
    compression_threshold: u64 = 1024,
    /// Largest value, bytes. The service's limit applies, too.
    max_value_size: u64 = *VALUE_SIZE.end(),
    /// Most bytes in the L1 of a replica. 0: no limit of its own.
    max_bytes: u64 = 0,
    /// Bytes of the L1 of a replica that no other namespace uses.
    reserved_bytes: u64 = 0,
    /// Most bytes in the shared tier, estimated. 0: no limit.
    max_l2_bytes: u64 = 0,
    /// Most requests per second at a replica. 0: no limit.
    max_requests_per_second: f64 = 0.0,
    /// Most bytes of keys and values per second at a replica, received and sent. 0: no limit.
    max_bytes_per_second: u64 = 0,
    /// Most requests in flight at a replica. 0: no limit of its own.
    max_in_flight: u64 = 0,
    /// Most leases that a replica has granted and that are not used, returned or over. 0: no limit
    /// of its own.
    max_leases: u64 = 1000,
    /// True: an entry is written once and never overwritten.
    immutable: bool = false,
    /// Default consistency of a Get.
    consistency: DefaultConsistency = DefaultConsistency::Bounded,
    /// True: a Set may request an entry that lives until it is removed or evicted.
    allow_no_expiry: bool = false,
    /// How early entries are chosen at random for refresh before they expire, in multiples of the
    /// cost of a fill. 0: never.
    early_refresh: f64 = 1.0,
    /// Default duration of a lease.
    lease_duration: Duration = Duration::from_secs(10),
}

/// Bounds of a time to live. The shared tier counts in milliseconds.
pub const TTL: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(365 * 24 * 3600);
/// Bounds of `soft_ttl` and `stale_window`.
pub const WINDOW: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(365 * 24 * 3600);
/// Bounds of `jitter`.
pub const JITTER: RangeInclusive<f64> = 0.0..=0.5;
/// Bounds of `compression_threshold` and `max_value_size`: to the largest `limits.value_size`.
pub const VALUE_SIZE: RangeInclusive<u64> = 0..=64 << 20;
/// Bounds of `max_bytes`, `reserved_bytes`, `max_l2_bytes` and `max_bytes_per_second`.
pub const BYTES: RangeInclusive<u64> = 0..=1 << 40;
/// Bounds of `max_requests_per_second`.
pub const RATE: RangeInclusive<f64> = 0.0..=10_000_000.0;
/// Bounds of `max_in_flight` and `max_leases`.
pub const COUNT: RangeInclusive<u64> = 0..=1_000_000;
/// Bounds of `early_refresh`.
pub const EAGERNESS: RangeInclusive<f64> = 0.0..=100.0;
/// Bounds of a lease.
pub const LEASE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(300);

// === impl NamespacePolicy ===

impl NamespacePolicy {
    /// Returns the switches of the policy.
    pub fn switches(&self) -> Switches {
        Switches { enabled: self.enabled, l1: self.l1, l2: self.l2 }
    }

    /// Returns all values that are out of bounds or contradict another. Fields are named as in the
    /// contract's `Policy`.
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
            ("reserved_bytes", self.reserved_bytes, BYTES),
            ("max_l2_bytes", self.max_l2_bytes, BYTES),
            ("max_bytes_per_second", self.max_bytes_per_second, BYTES),
        ];
        for (field, value, bounds) in sizes {
            found.extend(outside(field, &value, &bounds, |value| format!("{value} bytes")));
        }
        let counts = [("max_in_flight", self.max_in_flight, COUNT), ("max_leases", self.max_leases, COUNT)];
        for (field, value, bounds) in counts {
            found.extend(outside(field, &value, &bounds, u64::to_string));
        }
        if self.max_bytes > 0 && self.reserved_bytes > self.max_bytes {
            let [reserved, most] = [self.reserved_bytes, self.max_bytes].map(|bytes| format!("{bytes} bytes"));
            found.push(Violation::new("reserved_bytes", format!("must be at most max_bytes, {most}; was {reserved}")));
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
    /// Returns true if nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == PolicyPatch::default()
    }

    /// Returns the changed policy, or all its violations.
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
