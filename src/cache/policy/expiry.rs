//! Lifetime of an entry: the requested expiry, within the policy of its namespace.

use std::time::Duration;

use super::namespace_policy::{JITTER, NamespacePolicy, TTL};
use crate::cache::error::{Violation, Violations};
use crate::cache::lifetime::Lifetime;
use crate::cache::quoted::short_number;
use crate::units::format_duration;

/// Shortest idle time of sliding expiry.
const MIN_IDLE: Duration = Duration::from_secs(1);
/// Resolution of times in the shared tier.
const MILLISECOND: Duration = Duration::from_millis(1);

/// Requested expiry of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The default of its namespace.
    Default {
        /// True for a negative entry.
        negative: bool,
    },
    /// A time to live.
    Ttl(Duration),
    /// A point in time, as the duration from now.
    Until(Duration),
    /// No expiry: until it is removed or evicted.
    Never,
    /// Sliding expiry: each read extends it.
    Sliding {
        /// Time without a read after which it expires.
        idle: Duration,
        /// Longest life. `None` for the longest time to live of the namespace.
        longest: Option<Duration>,
    },
}

/// Lifetime that a Set requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RequestedExpiry {
    /// Expiry.
    pub expiry: Expiry,
    /// Age at which it is due for refresh.
    pub soft_ttl: Option<Duration>,
    /// Largest share by which its life is shortened at random.
    pub jitter: Option<f64>,
}

// === impl NamespacePolicy ===

impl NamespacePolicy {
    /// Returns the lifetime of an entry that `requested` describes. `chance`, from 0 to 1,
    /// decides on jitter. `prefix` precedes the names of fields in violations.
    pub fn lifetime(&self, requested: &RequestedExpiry, prefix: &str, chance: f64) -> Result<Lifetime, Violations> {
        let mut violations = Violations::default();
        let mut take = |result: Result<(), Violation>| violations.extend(result.err());
        take(self.check_expiry(requested.expiry, prefix));
        if let Some(jitter) = requested.jitter {
            let field = format!("{prefix}jitter");
            if !JITTER.contains(&jitter) {
                take(Err(Violation::new(field, format!("must be from 0 to 0.5; was {}", short_number(jitter)))));
            } else if matches!(requested.expiry, Expiry::Until(_) | Expiry::Never) {
                take(Err(Violation::new(field, "must be absent with expire_time and no_expiry")));
            }
        }
        let longest = self.longest(requested.expiry);
        if let Some(soft) = requested.soft_ttl
            && (soft.is_zero() || longest.is_some_and(|longest| soft >= longest))
        {
            let below = longest.map_or(String::new(), |longest| {
                format!(" and less than the time to live, {}", format_duration(longest))
            });
            let rule = format!("must be more than 0s{below}; was {}", format_duration(soft));
            take(Err(Violation::new(format!("{prefix}soft_ttl"), rule)));
        }
        if violations.is_empty() { Ok(self.resolve(requested, chance)) } else { Err(violations) }
    }

    /// Checks that a requested time to live is within its bounds.
    pub fn check_ttl(&self, prefix: &str, field: &str, ttl: Duration) -> Result<(), Violation> {
        let bound = if ttl < *TTL.start() {
            format!("least {}", format_duration(*TTL.start()))
        } else if ttl < self.min_ttl {
            format!("least {} (min_ttl)", format_duration(self.min_ttl))
        } else if ttl > self.max_ttl {
            format!("most {} (max_ttl)", format_duration(self.max_ttl))
        } else {
            return Ok(());
        };
        let rule = format!("must be at {bound}; was {}", format_duration(ttl));
        Err(Violation::new(format!("{prefix}{field}"), rule))
    }

    /// Checks that the namespace allows entries without expiry.
    pub fn check_no_expiry(&self, prefix: &str) -> Result<(), Violation> {
        if self.allow_no_expiry {
            return Ok(());
        }
        let rule = "must be absent: the namespace does not allow it (allow_no_expiry)";
        Err(Violation::new(format!("{prefix}no_expiry"), rule))
    }

    fn check_expiry(&self, expiry: Expiry, prefix: &str) -> Result<(), Violation> {
        let max_ttl = || format!("{} (max_ttl)", format_duration(self.max_ttl));
        match expiry {
            Expiry::Default { .. } => Ok(()),
            Expiry::Ttl(ttl) => self.check_ttl(prefix, "ttl", ttl),
            Expiry::Until(left) => self.check_ttl(prefix, "expire_time", left),
            Expiry::Never => self.check_no_expiry(prefix),
            Expiry::Sliding { idle, .. } if idle < MIN_IDLE || idle > self.max_ttl => {
                let [least, idle] = [MIN_IDLE, idle].map(format_duration);
                let rule = format!("must be from {least} to {}; was {idle}", max_ttl());
                Err(Violation::new(format!("{prefix}sliding.idle"), rule))
            }
            Expiry::Sliding { idle, longest: Some(longest) } if longest < idle || longest > self.max_ttl => {
                let rule = format!("must be from idle to {}; was {}", max_ttl(), format_duration(longest));
                Err(Violation::new(format!("{prefix}sliding.max_ttl"), rule))
            }
            Expiry::Sliding { .. } => Ok(()),
        }
    }

    /// Returns the longest life of an entry. `None` if it lives until it is removed or evicted.
    fn longest(&self, expiry: Expiry) -> Option<Duration> {
        match expiry {
            Expiry::Default { negative: true } => Some(self.negative_ttl.clamp(self.min_ttl, self.max_ttl)),
            Expiry::Default { negative: false } => Some(self.default_ttl),
            Expiry::Ttl(ttl) | Expiry::Until(ttl) => Some(ttl),
            Expiry::Never => None,
            Expiry::Sliding { longest, .. } => Some(longest.unwrap_or(self.max_ttl)),
        }
    }

    fn resolve(&self, requested: &RequestedExpiry, chance: f64) -> Lifetime {
        let jitter = match requested.expiry {
            Expiry::Until(_) | Expiry::Never => 0.0,
            _ => requested.jitter.unwrap_or(self.jitter),
        };
        let kept = 1.0 - (jitter * chance).clamp(0.0, *JITTER.end());
        let longest = self.longest(requested.expiry);
        let default_soft = Some(self.soft_ttl).filter(|soft| !soft.is_zero());
        let soft = requested.soft_ttl.or(default_soft.filter(|soft| longest.is_none_or(|longest| *soft < longest)));
        // An entry that is due for refresh stays so for a while before it expires.
        let soft_ttl = soft.map(|soft| soft.mul_f64(kept).max(MILLISECOND));
        let life = longest.map(|longest| longest.mul_f64(kept).max(MILLISECOND));
        let (ttl, sliding) = match requested.expiry {
            Expiry::Sliding { idle, .. } => (Some(idle), life.map(|life| life.max(idle))),
            _ => (life, None),
        };
        Lifetime { ttl, soft_ttl, stale_window: self.stale_window, sliding }
    }

    /// Returns true if an entry may be served this long after it expired or was marked stale.
    pub fn may_serve_stale(&self, staleness: Duration) -> bool {
        staleness <= self.stale_window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy() -> NamespacePolicy {
        NamespacePolicy { min_ttl: 2 * SECOND, max_ttl: 400 * SECOND, ..NamespacePolicy::default() }
    }

    fn asked(expiry: Expiry) -> RequestedExpiry {
        RequestedExpiry { expiry, soft_ttl: None, jitter: None }
    }

    fn fields(policy: &NamespacePolicy, asked: RequestedExpiry) -> Vec<String> {
        let violations = policy.lifetime(&asked, "items[3].", 1.0).expect_err("refused");
        violations.named().iter().map(|violation| violation.field.clone()).collect()
    }

    #[test]
    fn a_ttl_is_the_default_or_within_the_limits() {
        let ttl = |expiry| policy().lifetime(&asked(expiry), "", 0.0).expect("allowed").ttl;
        assert_eq!(ttl(Expiry::Default { negative: false }), Some(300 * SECOND));
        assert_eq!(ttl(Expiry::Default { negative: true }), Some(30 * SECOND));
        assert_eq!(ttl(Expiry::Ttl(400 * SECOND)), Some(400 * SECOND));
        for refused in [401 * SECOND, SECOND, Duration::from_micros(999)] {
            assert_eq!(fields(&policy(), asked(Expiry::Ttl(refused))), ["items[3].ttl"]);
            assert_eq!(fields(&policy(), asked(Expiry::Until(refused))), ["items[3].expire_time"]);
        }
        let brief = NamespacePolicy { default_ttl: SECOND, max_ttl: SECOND, ..NamespacePolicy::default() };
        let negative = asked(Expiry::Default { negative: true });
        assert_eq!(brief.lifetime(&negative, "", 0.0).expect("allowed").ttl, Some(SECOND));
    }

    #[test]
    fn an_error_writes_durations_as_settings_accept_them() {
        let policy = NamespacePolicy { max_ttl: 30 * 86_400 * SECOND, ..policy() };
        let says = |asked: RequestedExpiry| {
            let violations = policy.lifetime(&asked, "", 0.0).expect_err("refused");
            violations.named()[0].description.clone()
        };
        let (idle, long) = (5400 * SECOND, 31 * 86_400 * SECOND + SECOND / 4);
        assert_eq!(says(asked(Expiry::Ttl(long))), "must be at most 30d (max_ttl); was 31d250ms");
        assert_eq!(says(asked(Expiry::Ttl(SECOND))), "must be at least 2s (min_ttl); was 1s");
        assert_eq!(says(asked(Expiry::Until(Duration::ZERO))), "must be at least 1ms; was 0s");
        let sliding = |idle, longest| asked(Expiry::Sliding { idle, longest });
        assert_eq!(says(sliding(SECOND / 2, None)), "must be from 1s to 30d (max_ttl); was 500ms");
        assert_eq!(says(sliding(idle, Some(SECOND))), "must be from idle to 30d (max_ttl); was 1s");
        let soft = RequestedExpiry { soft_ttl: Some(2 * idle), ..asked(Expiry::Ttl(idle)) };
        assert_eq!(says(soft), "must be more than 0s and less than the time to live, 1h30m; was 3h");
    }

    #[test]
    fn no_expiry_has_to_be_allowed() {
        assert_eq!(fields(&policy(), asked(Expiry::Never)), ["items[3].no_expiry"]);
        let policy = NamespacePolicy { allow_no_expiry: true, jitter: 0.5, ..policy() };
        assert_eq!(policy.lifetime(&asked(Expiry::Never), "", 1.0).expect("allowed").ttl, None);
        assert_eq!(fields(&policy, RequestedExpiry { jitter: Some(0.1), ..asked(Expiry::Never) }), ["items[3].jitter"]);
    }

    #[test]
    fn jitter_shortens_life_and_what_is_due_before_its_end() {
        let policy = NamespacePolicy { jitter: 0.2, soft_ttl: 60 * SECOND, ..policy() };
        let at = |chance| policy.lifetime(&asked(Expiry::Ttl(100 * SECOND)), "", chance).expect("allowed");
        assert_eq!((at(0.0).ttl, at(0.0).soft_ttl), (Some(100 * SECOND), Some(60 * SECOND)));
        assert_eq!((at(1.0).ttl, at(1.0).soft_ttl), (Some(80 * SECOND), Some(48 * SECOND)));
        let end = policy.lifetime(&asked(Expiry::Until(100 * SECOND)), "", 1.0).expect("allowed");
        assert_eq!(end.ttl, Some(100 * SECOND), "an absolute end is kept");
        let own = RequestedExpiry { jitter: Some(0.5), ..asked(Expiry::Ttl(100 * SECOND)) };
        assert_eq!(policy.lifetime(&own, "", 1.0).expect("allowed").ttl, Some(50 * SECOND));
        for wrong in [-0.1, 0.51, f64::NAN] {
            assert_eq!(fields(&policy, RequestedExpiry { jitter: Some(wrong), ..own }), ["items[3].jitter"]);
        }
    }

    #[test]
    fn what_is_due_is_due_before_the_end() {
        let policy = NamespacePolicy { soft_ttl: 60 * SECOND, ..policy() };
        let soft = |ttl| policy.lifetime(&asked(Expiry::Ttl(ttl)), "", 0.0).expect("allowed").soft_ttl;
        assert_eq!((soft(61 * SECOND), soft(60 * SECOND)), (Some(60 * SECOND), None));
        let own = |soft| RequestedExpiry { soft_ttl: Some(soft), ..asked(Expiry::Ttl(10 * SECOND)) };
        assert_eq!(policy.lifetime(&own(9 * SECOND), "", 0.0).expect("allowed").soft_ttl, Some(9 * SECOND));
        for wrong in [10 * SECOND, Duration::ZERO] {
            assert_eq!(fields(&policy, own(wrong)), ["items[3].soft_ttl"]);
        }
    }

    #[test]
    fn a_sliding_entry_has_a_hard_end() {
        let sliding = |idle, longest| asked(Expiry::Sliding { idle, longest });
        let life = policy().lifetime(&sliding(3 * SECOND, None), "", 0.0).expect("allowed");
        assert_eq!((life.ttl, life.sliding), (Some(3 * SECOND), Some(400 * SECOND)));
        let jittered = RequestedExpiry { jitter: Some(0.5), ..sliding(3 * SECOND, Some(4 * SECOND)) };
        let life = policy().lifetime(&jittered, "", 1.0).expect("allowed");
        assert_eq!((life.ttl, life.sliding), (Some(3 * SECOND), Some(3 * SECOND)));
        assert_eq!(fields(&policy(), sliding(SECOND / 2, None)), ["items[3].sliding.idle"]);
        assert_eq!(fields(&policy(), sliding(401 * SECOND, None)), ["items[3].sliding.idle"]);
        assert_eq!(fields(&policy(), sliding(3 * SECOND, Some(2 * SECOND))), ["items[3].sliding.max_ttl"]);
    }
}
