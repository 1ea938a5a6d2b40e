//! How long an entry lives.

use std::time::Duration;

use super::namespace::{NamespacePolicy, TTL};
use crate::cache::error::Violation;

impl NamespacePolicy {
    /// The time to live of a Set that asks for `asked`.
    pub fn ttl(&self, field: &str, asked: Option<Duration>) -> Result<Duration, Violation> {
        let Some(ttl) = asked else { return Ok(self.default_ttl) };
        if ttl < *TTL.start() {
            return Err(Violation::new(field, format!("must be at least 1 ms; was {ttl:?}")));
        }
        if ttl < self.min_ttl {
            return Err(Violation::new(field, format!("must be at least {:?} (min_ttl); was {ttl:?}", self.min_ttl)));
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
        let seconds = Duration::from_secs;
        let policy = NamespacePolicy { min_ttl: seconds(2), max_ttl: seconds(10), ..NamespacePolicy::default() };
        assert_eq!(policy.ttl("ttl", None), Ok(policy.default_ttl));
        assert_eq!(policy.ttl("ttl", Some(seconds(10))), Ok(seconds(10)));
        assert!(policy.ttl("ttl", Some(seconds(11))).is_err());
        assert!(policy.ttl("ttl", Some(seconds(1))).is_err());
        assert!(policy.ttl("ttl", Some(Duration::from_micros(999))).is_err());
    }
}
