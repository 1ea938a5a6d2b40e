//! Collects the violations of a request; checks that several requests share.

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

/// The context that requests are checked against.
pub struct RequestContext {
    /// Limits of requests.
    pub limits: Limits,
    /// The known namespaces.
    pub namespaces: Arc<Namespaces>,
    /// Number of partitions of the deployment.
    pub partitions: u16,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Mapping of events to invalidations.
    pub events: Events,
}

/// Minimum of the request size limit: gRPC's default message limit.
const DEFAULT_GRPC_MESSAGE_BYTES: usize = 4 << 20;

impl RequestContext {
    /// Returns the maximum size of a request in bytes: a value at its limit and room for the rest.
    ///
    /// A value that is slightly too large thus receives our error, not tonic's.
    pub fn max_request_size(&self) -> usize {
        let limits = &self.limits;
        let tokens = limits.tokens * limits::MAX_TOKEN_BYTES.min(64 * usize::from(self.partitions));
        (2 * limits.value_size).max(DEFAULT_GRPC_MESSAGE_BYTES).max(limits.keys * (limits.key_size + 8))
            + tokens
            + 64 * 1024
    }
}

/// Collects the broken rules of a request.
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

    pub(super) fn token(&mut self, context: &RequestContext, tokens: &[String]) -> Token {
        let mut merged = Token::default();
        if tokens.len() > context.limits.tokens {
            self.0.push(Violation::too_large("tokens", tokens.len(), context.limits.tokens, "tokens"));
            return merged;
        }
        for (index, text) in tokens.iter().enumerate() {
            let field = || format!("tokens[{index}]");
            if text.len() > limits::MAX_TOKEN_BYTES {
                self.0.push(Violation::too_large(field(), text.len(), limits::MAX_TOKEN_BYTES, "bytes"));
                continue;
            }
            match Token::decode(text, context.partitions) {
                Ok(token) => merged.merge(&token),
                Err(bad) => self.0.push(Violation::new(field(), bad.to_string())),
            }
        }
        merged
    }

    /// Returns `found` if no rule was broken.
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

/// Parses a lease id. The error does not quote the input: lease ids are secrets.
pub(super) fn lease(field: impl Into<String>, text: &str) -> Result<LeaseId, Violation> {
    text.parse().map_err(|bad: NotALease| Violation::new(field, bad.to_string()))
}

/// Parses a duration: not negative, and well-formed.
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

/// The maximum protobuf Duration: 10,000 years.
const MAX_SECONDS: u64 = 315_576_000_000;

/// Encodes a token. An empty token is an empty text.
pub fn token_text(token: &Token, partitions: u16) -> String {
    if token.is_empty() { String::new() } else { token.encode(partitions) }
}

/// Converts a duration to a message.
pub fn to_wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.as_secs() as i64, nanos: duration.subsec_nanos() as i32 }
}

/// Truncates a measured duration to milliseconds, for errors and responses.
pub(super) fn whole_millis(duration: Duration) -> Duration {
    duration - Duration::from_nanos(u64::from(duration.subsec_nanos() % 1_000_000))
}

/// Converts a wall-clock time to a message.
pub fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    prost_types::Timestamp { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() as i32 }
}
