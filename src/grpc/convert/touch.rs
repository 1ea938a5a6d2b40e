//! Touch: checks the request and renders the response.

use super::set::time_until;
use super::validator::{RequestContext, Validator, duration, to_wire, token_text};
use crate::cache::error::{CacheError, Violation};
use crate::cache::key::{Key, KeyRef};
use crate::cache::tier::{Touch, TouchMode};
use crate::cache::tiered::{TouchAnswer, TouchOutcome};
use crate::cache::token::Token;
use crate::pb;

/// Checks a Touch.
pub fn touch(context: &RequestContext, request: &pb::TouchRequest) -> Result<(Key, Touch, Token), CacheError> {
    use pb::touch_request::Expiry as Wire;
    let mut validator = Validator::default();
    let namespace = validator.namespace(context.namespaces.get("namespace", &request.namespace))?;
    let policy = namespace.as_ref().map_or_else(Default::default, |namespace| namespace.policy().clone());
    validator.take(context.limits.key("key", request.key.as_bytes()));
    let ttl = match request.expiry {
        Some(Wire::Ttl(ttl)) => validator.take(duration("ttl", &ttl)).map(|ttl| {
            validator.take(policy.check_ttl("", "ttl", ttl));
            Some(ttl)
        }),
        Some(Wire::ExpireTime(time)) => validator.take(time_until(context, "expire_time", time)).map(|ttl| {
            validator.take(policy.check_ttl("", "expire_time", ttl));
            Some(ttl)
        }),
        Some(Wire::NoExpiry(_)) => validator.take(policy.check_no_expiry("")).map(|()| None),
        None => validator.take(Err(Violation::new("expiry", "must be given: ttl, expire_time or no_expiry"))),
    };
    let mode = validator.take(match pb::TouchMode::try_from(request.mode) {
        Ok(pb::TouchMode::Unspecified | pb::TouchMode::Overwrite) => Ok(TouchMode::Overwrite),
        Ok(pb::TouchMode::Extend) => Ok(TouchMode::Extend),
        Ok(pb::TouchMode::Shorten) => Ok(TouchMode::Shorten),
        Err(_) => Err(Violation::new("mode", format!("must be a TouchMode; was {}", request.mode))),
    });
    let token = validator.token(context, &request.tokens);
    let touch = namespace.zip(ttl).zip(mode).map(|((namespace, ttl), mode)| {
        let key = KeyRef::new(&namespace, request.key.as_bytes()).to_key();
        (key, Touch { ttl, mode }, token)
    });
    validator.done(touch)
}

/// Returns the response to a Touch.
pub fn touch_response(answer: TouchAnswer, mut token: Token, partitions: u16) -> pb::TouchResponse {
    token.merge(&answer.token);
    let outcome = match answer.outcome {
        TouchOutcome::Touched => pb::TouchOutcome::Touched,
        TouchOutcome::Unchanged => pb::TouchOutcome::Unchanged,
        TouchOutcome::NotPresent => pb::TouchOutcome::NotPresent,
        TouchOutcome::Disabled => pb::TouchOutcome::Disabled,
    };
    pb::TouchResponse {
        outcome: outcome.into(),
        version: answer.version.map(|version| version.to_string()).unwrap_or_default(),
        ttl: answer.ttl.map(to_wire),
        token: token_text(&token, partitions),
    }
}
