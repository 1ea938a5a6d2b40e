//! Set.

use std::time::{Duration, SystemTime};

use super::{Checks, Rules, barrier, duration, token_text};
use crate::cache::clock::Moment;
use crate::cache::coherence::token::Token;
use crate::cache::entry::{Content, Lifetime, NewEntry, Tags};
use crate::cache::error::{CacheError, Violation};
use crate::cache::key::KeyRef;
use crate::cache::policy::{NamespacePolicy, limits};
use crate::cache::tier::{Condition, Write};
use crate::cache::tiered::{Set, SetAnswer, SetOutcome};
use crate::pb;

/// Checks a Set.
pub fn set(rules: &Rules, request: pb::SetRequest, deadline: Moment) -> Result<(Set, Token), CacheError> {
    use pb::set_request::Content as Wire;
    let mut checks = Checks::default();
    let namespace = checks.namespace(rules.namespaces.get("namespace", &request.namespace))?;
    checks.take(rules.limits.key("key", request.key.as_bytes()));
    checks.take(limits::content_type("content_type", &request.content_type));
    let content = match request.content {
        Some(Wire::Value(value)) => {
            checks.take(rules.limits.value("value", &value));
            Some(Content::Value(value))
        }
        Some(Wire::KnownAbsent(_)) if request.content_type.is_empty() => Some(Content::KnownAbsent),
        Some(Wire::KnownAbsent(_)) => {
            checks.take(Err(Violation::new("content_type", "must be empty with known_absent")))
        }
        None => checks.take(Err(Violation::new("content", "must be given: value or known_absent"))),
    };
    let condition = condition(request.condition).map_err(|violation| checks.0.push(violation)).unwrap_or_default();
    // Also checked when the namespace is none, so that everything that is wrong is said at once.
    let policy = namespace
        .as_ref()
        .map_or_else(NamespacePolicy::default, |namespace| NamespacePolicy::clone(&namespace.policy()));
    let ttl = checks.take(ttl(rules, &policy, request.expiry));
    let token = checks.token(rules, &request.tokens);
    let barrier = checks.take(barrier(request.barrier)).unwrap_or_default();
    let set = namespace.zip(content).zip(ttl).map(|((namespace, content), ttl)| Set {
        write: Write {
            key: KeyRef::new(&namespace, request.key.as_bytes()).to_key(),
            entry: NewEntry {
                content,
                content_type: request.content_type.into(),
                tags: Tags::default(),
                source_version: None,
                lifetime: Lifetime { stale_window: policy.stale_window, ..Lifetime::of(ttl) },
            },
            condition,
            request: None,
        },
        barrier,
        deadline,
    });
    checks.done(set.map(|set| (set, token)))
}

/// The response to a Set.
pub fn set_response(answer: SetAnswer, mut token: Token, partitions: u16) -> pb::SetResponse {
    token.merge(&answer.token);
    let outcome = match answer.outcome {
        SetOutcome::Stored => pb::SetOutcome::Stored,
        SetOutcome::AlreadyPresent => pb::SetOutcome::AlreadyPresent,
        SetOutcome::NotPresent => pb::SetOutcome::NotPresent,
        SetOutcome::VersionMismatch => pb::SetOutcome::VersionMismatch,
        SetOutcome::LeaseVoid => pb::SetOutcome::LeaseVoid,
        SetOutcome::SourceVersionOlder => pb::SetOutcome::SourceVersionOlder,
        SetOutcome::Disabled => pb::SetOutcome::Disabled,
    };
    let version = answer.version.map(|version| version.to_string()).unwrap_or_default();
    pb::SetResponse { outcome: outcome.into(), version, token: token_text(&token, partitions) }
}

fn condition(wire: Option<pb::set_request::Condition>) -> Result<Condition, Violation> {
    use pb::set_request::Condition as Wire;
    match wire {
        None => Ok(Condition::None),
        Some(Wire::IfAbsent(_)) => Ok(Condition::Absent),
        Some(Wire::IfPresent(_)) => Ok(Condition::Present),
        Some(Wire::IfVersion(text)) => {
            let version = text.parse().map_err(|bad| Violation::new("if_version", format!("{bad}; was {text:?}")))?;
            Ok(Condition::Version(version))
        }
        Some(Wire::Lease(_)) => Err(Violation::new("lease", "is not known")),
    }
}

fn ttl(
    rules: &Rules,
    policy: &NamespacePolicy,
    expiry: Option<pb::set_request::Expiry>,
) -> Result<Duration, Violation> {
    use pb::set_request::Expiry as Wire;
    match expiry {
        None => policy.ttl("ttl", None),
        Some(Wire::NoExpiry(_) | Wire::Sliding(_)) => Err(Violation::new("expiry", "is not known")),
        Some(Wire::Ttl(wire)) => policy.ttl("ttl", Some(duration("ttl", &wire)?)),
        Some(Wire::ExpireTime(wire)) => {
            let valid = (0..1_000_000_000).contains(&wire.nanos);
            let time = SystemTime::try_from(wire).ok().filter(|_| valid);
            let time = time.ok_or_else(|| Violation::new("expire_time", "must be a valid timestamp"))?;
            let now = rules.clock.wall();
            match time.duration_since(now) {
                Ok(left) => policy.ttl("expire_time", Some(left)),
                Err(past) => {
                    let ago = past.duration();
                    Err(Violation::new("expire_time", format!("must lie in the future; was {ago:?} ago")))
                }
            }
        }
    }
}
