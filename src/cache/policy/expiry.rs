//! How long an entry lives.

use std::time::Duration;

use crate::cache::error::Violation;

/// Policy of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespacePolicy {
    /// False: Gets miss and Sets store nothing; Invalidates still work.
    pub enabled: bool,
    /// Time to live of a Set that names none.
    pub default_ttl: Duration,
    /// Longest time to live a Set may ask for.
    pub max_ttl: Duration,
    /// For how long past freshness memory keeps an entry, to be answered flagged stale while Redis is away or to a caller who accepts it.
    /// Zero: never.
    pub stale_window: Duration,
}

impl Default for NamespacePolicy {
    fn default() -> Self {
        NamespacePolicy {
            enabled: true,
            default_ttl: Duration::from_secs(300),
            max_ttl: Duration::from_secs(30 * 24 * 3600),
            stale_window: Duration::ZERO,
        }
    }
}

/// Shortest time to live: what Redis can express.
pub const MIN_TTL: Duration = Duration::from_millis(1);

impl NamespacePolicy {
    /// The time to live of a Set that asks for `asked`.
    pub fn ttl(&self, field: &str, asked: Option<Duration>) -> Result<Duration, Violation> {
        let Some(ttl) = asked else { return Ok(self.default_ttl) };
        if ttl < MIN_TTL {
            return Err(Violation::new(field, format!("must be at least 1 ms; was {ttl:?}")));
        }
        if ttl > self.max_ttl {
            return Err(Violation::new(field, format!("must be at most {:?} (max_ttl); was {ttl:?}", self.max_ttl)));
        }
        Ok(ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_the_default_or_within_the_limits() {
        let policy = NamespacePolicy { max_ttl: Duration::from_secs(10), ..NamespacePolicy::default() };
        assert_eq!(policy.ttl("ttl", None), Ok(policy.default_ttl));
        assert_eq!(policy.ttl("ttl", Some(Duration::from_secs(10))), Ok(Duration::from_secs(10)));
        assert!(policy.ttl("ttl", Some(Duration::from_secs(11))).is_err());
        assert!(policy.ttl("ttl", Some(Duration::from_micros(999))).is_err());
    }
}
