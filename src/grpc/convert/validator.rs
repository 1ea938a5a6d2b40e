//! Requests of the contract to those of the core, and answers back. Every broken rule of a request is reported, not only the first.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cache::clock::Clock;
use crate::cache::error::{CacheError, Violation, Violations};
use crate::cache::namespace::{Namespace, Namespaces};
use crate::cache::policy::{Events, Limits, limits};
use crate::cache::tier::{LeaseId, NotALease};
use crate::cache::tiered::Barrier;
use crate::cache::token::Token;
use crate::pb;

/// What requests are checked against.
pub struct RequestContext {
    /// Limits.
    pub limits: Limits,
    /// Namespaces.
    pub namespaces: Arc<Namespaces>,
    /// Partitions of the deployment.
    pub partitions: u16,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What events are mapped to.
    pub events: Events,
}

/// Collects broken rules.
#[derive(Default)]
pub(super) struct Validator(pub(super) Violations);

impl Validator {
    pub(super) fn take<T>(&mut self, result: Result<T, Violation>) -> Option<T> {
        result.map_err(|violation| self.0.push(violation)).ok()
    }

    pub(super) fn namespace(
        &mut self,
        found: Result<Arc<Namespace>, CacheError>,
    ) -> Result<Option<Arc<Namespace>>, CacheError> {
        match found {
            Ok(namespace) => Ok(Some(namespace)),
            Err(CacheError::Invalid(violations)) => {
                self.0.append(violations);
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    pub(super) fn token(&mut self, rules: &RequestContext, tokens: &[String]) -> Token {
        let mut merged = Token::default();
        if tokens.len() > rules.limits.tokens {
            self.0.push(Violation::too_large("tokens", tokens.len(), rules.limits.tokens, "tokens"));
            return merged;
        }
        for (index, text) in tokens.iter().enumerate() {
            let field = || format!("tokens[{index}]");
            if text.len() > limits::MAX_TOKEN_BYTES {
                self.0.push(Violation::too_large(field(), text.len(), limits::MAX_TOKEN_BYTES, "bytes"));
                continue;
            }
            match Token::decode(text, rules.partitions) {
                Ok(token) => merged.merge(&token),
                Err(bad) => self.0.push(Violation::new(field(), bad.to_string())),
            }
        }
        merged
    }

    /// `found`, if no rule was broken.
    pub(super) fn done<T>(self, found: Option<T>) -> Result<T, CacheError> {
        match found {
            Some(found) if self.0.is_empty() => Ok(found),
            _ => Err(CacheError::Invalid(self.0)),
        }
    }
}

pub(super) fn barrier(wire: i32) -> Result<Barrier, Violation> {
    match pb::Barrier::try_from(wire) {
        Ok(pb::Barrier::Unspecified | pb::Barrier::None) => Ok(Barrier::None),
        Ok(pb::Barrier::Fleet) => Ok(Barrier::Fleet),
        Err(_) => Err(Violation::new("barrier", format!("must be a Barrier; was {wire}"))),
    }
}

/// A lease as a response gave it. What was sent is not repeated: who knows a lease holds it.
pub(super) fn lease(field: impl Into<String>, text: &str) -> Result<LeaseId, Violation> {
    text.parse().map_err(|bad: NotALease| Violation::new(field, bad.to_string()))
}

/// A duration of the wire: not negative, and well-formed.
pub(super) fn duration(field: &str, wire: &prost_types::Duration) -> Result<Duration, Violation> {
    let negative = || Violation::new(field, format!("must not be negative; was {}s {}ns", wire.seconds, wire.nanos));
    let seconds = u64::try_from(wire.seconds).map_err(|_| negative())?;
    let nanos = u32::try_from(wire.nanos).map_err(|_| negative())?;
    if seconds > MAX_SECONDS || nanos >= 1_000_000_000 {
        let was = format!("must be a valid duration; was {}s {}ns", wire.seconds, wire.nanos);
        return Err(Violation::new(field, was));
    }
    Ok(Duration::new(seconds, nanos))
}

/// The largest Duration of protobuf: 10,000 years.
const MAX_SECONDS: u64 = 315_576_000_000;

/// A token for the wire: empty when nothing was seen.
pub fn token_text(token: &Token, partitions: u16) -> String {
    if token.is_empty() { String::new() } else { token.encode(partitions) }
}

/// A duration for the wire.
pub fn to_wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.as_secs() as i64, nanos: duration.subsec_nanos() as i32 }
}

/// A duration that was measured, as errors and answers show it: nobody reads less than a millisecond.
pub(super) fn whole_millis(duration: Duration) -> Duration {
    duration - Duration::from_nanos(u64::from(duration.subsec_nanos() % 1_000_000))
}

/// A wall-clock time for the wire.
pub fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    prost_types::Timestamp { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() as i32 }
}
