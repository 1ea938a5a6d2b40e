//! Requests of the contract to those of the core, and answers back. Every broken rule of a request is reported, not only the first.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cache::clock::{Clock, Moment};
use crate::cache::coherence::token::Token;
use crate::cache::entry::{Content, Held, NewEntry};
use crate::cache::error::{CacheError, Violation};
use crate::cache::key::{Key, KeyRef};
use crate::cache::namespace::{Namespace, Namespaces};
use crate::cache::policy::{Limits, NamespacePolicy, limits};
use crate::cache::tier::Condition;
use crate::cache::tiered::{
    Answer, Barrier, Consistency, Invalidate, Invalidated, Miss, Outcome, Selector, Set, SetAnswer, SetOutcome,
    StaleReason, Tier,
};
use crate::pb;

/// What requests are checked against.
pub struct Rules {
    /// Limits.
    pub limits: Limits,
    /// Namespaces.
    pub namespaces: Arc<Namespaces>,
    /// Partitions of the deployment.
    pub partitions: u16,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// A Get as the core needs it, but for the key, which stays in the request.
pub struct GetParts {
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// Which answers are allowed.
    pub consistency: Consistency,
    /// What the caller has seen.
    pub token: Token,
}

/// Collects broken rules.
#[derive(Default)]
struct Checks(Vec<Violation>);

impl Checks {
    fn take<T>(&mut self, result: Result<T, Violation>) -> Option<T> {
        result.map_err(|violation| self.0.push(violation)).ok()
    }

    fn namespace(&mut self, found: Result<Arc<Namespace>, CacheError>) -> Result<Option<Arc<Namespace>>, CacheError> {
        match found {
            Ok(namespace) => Ok(Some(namespace)),
            Err(CacheError::Invalid(violations)) => {
                self.0.extend(violations);
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    fn token(&mut self, rules: &Rules, tokens: &[String]) -> Token {
        let mut merged = Token::default();
        if tokens.len() > rules.limits.tokens {
            self.0.push(Violation::too_large("tokens", tokens.len(), rules.limits.tokens, "tokens"));
            return merged;
        }
        for (index, text) in tokens.iter().enumerate() {
            let field = || format!("tokens[{index}]");
            if text.len() > limits::TOKEN_SIZE {
                self.0.push(Violation::too_large(field(), text.len(), limits::TOKEN_SIZE, "bytes"));
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
    fn done<T>(self, found: Option<T>) -> Result<T, CacheError> {
        match found {
            Some(found) if self.0.is_empty() => Ok(found),
            _ => Err(CacheError::Invalid(self.0)),
        }
    }
}

// === requests ===

/// Checks a Get.
pub fn get(rules: &Rules, request: &pb::GetRequest) -> Result<GetParts, CacheError> {
    let mut checks = Checks::default();
    let namespace = checks.namespace(rules.namespaces.get_to_read("namespace", &request.namespace))?;
    checks.take(rules.limits.key("key", request.key.as_bytes()));
    let bound = request.max_staleness.as_ref().and_then(|bound| checks.take(duration("max_staleness", bound)));
    let consistency = match pb::Consistency::try_from(request.consistency) {
        Ok(pb::Consistency::Unspecified | pb::Consistency::Bounded) => Some(Consistency::Bounded(bound)),
        Ok(pb::Consistency::Strong) if request.max_staleness.is_none() => Some(Consistency::Strong),
        Ok(pb::Consistency::Strong) => {
            checks.take(Err(Violation::new("max_staleness", "must be absent with CONSISTENCY_STRONG")))
        }
        Err(_) => {
            let was = format!("must be a Consistency; was {}", request.consistency);
            checks.take(Err(Violation::new("consistency", was)))
        }
    };
    let token = checks.token(rules, &request.tokens);
    let parts = namespace.zip(consistency).map(|(namespace, consistency)| GetParts { namespace, consistency, token });
    checks.done(parts)
}

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
    let policy = namespace.as_ref().map_or_else(NamespacePolicy::default, |namespace| namespace.policy.clone());
    let ttl = checks.take(ttl(rules, &policy, request.expiry));
    let token = checks.token(rules, &request.tokens);
    let barrier = checks.take(barrier(request.barrier)).unwrap_or_default();
    let set = namespace.zip(content).zip(ttl).map(|((namespace, content), ttl)| Set {
        key: KeyRef::new(&namespace, request.key.as_bytes()).to_key(),
        entry: NewEntry { content, content_type: request.content_type.into(), ttl },
        condition,
        barrier,
        deadline,
    });
    checks.done(set.map(|set| (set, token)))
}

/// Checks an Invalidate.
pub fn invalidate(
    rules: &Rules,
    request: pb::InvalidateRequest,
    deadline: Moment,
) -> Result<(Invalidate, Token), CacheError> {
    use pb::invalidate_request::Selector as Wire;
    let mut checks = Checks::default();
    let namespace = checks.namespace(rules.namespaces.get("namespace", &request.namespace))?;
    let key = |namespace: &Option<Arc<Namespace>>, key: &str| -> Option<Key> {
        namespace.as_ref().map(|namespace| KeyRef::new(namespace, key.as_bytes()).to_key())
    };
    let selector = match &request.selector {
        Some(Wire::Key(name)) => {
            checks.take(rules.limits.key("key", name.as_bytes()));
            key(&namespace, name).map(|key| Selector::Keys(vec![key]))
        }
        Some(Wire::Keys(keys)) => {
            checks.take(number_of_keys(rules, keys.keys.len()));
            let mut seen = HashSet::new();
            let mut named = Vec::new();
            for (index, name) in keys.keys.iter().take(rules.limits.keys).enumerate() {
                checks.take(rules.limits.key(&format!("keys.keys[{index}]"), name.as_bytes()));
                if seen.insert(name) {
                    named.extend(key(&namespace, name));
                }
            }
            Some(Selector::Keys(named))
        }
        Some(Wire::WholeNamespace(_)) => Some(Selector::WholeNamespace),
        None => checks.take(Err(Violation::new("selector", "must be given: key, keys or whole_namespace"))),
    };
    let token = checks.token(rules, &request.tokens);
    let barrier = checks.take(barrier(request.barrier)).unwrap_or_default();
    let parts = namespace.zip(selector);
    checks.done(parts.map(|(namespace, selector)| (Invalidate { namespace, selector, barrier, deadline }, token)))
}

fn barrier(wire: i32) -> Result<Barrier, Violation> {
    match pb::Barrier::try_from(wire) {
        Ok(pb::Barrier::Unspecified | pb::Barrier::None) => Ok(Barrier::None),
        Ok(pb::Barrier::Fleet) => Ok(Barrier::Fleet),
        Err(_) => Err(Violation::new("barrier", format!("must be a Barrier; was {wire}"))),
    }
}

fn number_of_keys(rules: &Rules, keys: usize) -> Result<(), Violation> {
    match keys {
        0 => Err(Violation::new("keys.keys", "must name at least one key")),
        keys if keys > rules.limits.keys => Err(Violation::too_large("keys.keys", keys, rules.limits.keys, "keys")),
        _ => Ok(()),
    }
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

/// A duration of the wire: not negative, and well-formed.
fn duration(field: &str, wire: &prost_types::Duration) -> Result<Duration, Violation> {
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

// === responses ===

/// The response to a Get.
pub fn get_response(answer: Answer, mut token: Token, partitions: u16, metadata_only: bool) -> pb::GetResponse {
    use pb::get_response::Result as Wire;
    if answer.position.epoch > 0 {
        token.add(answer.partition, answer.position);
    }
    let result = match answer.outcome {
        Outcome::Miss(why) => Wire::Miss(pb::Miss { reason: miss_reason(why).into() }),
        Outcome::Hit { held, tier, stale } => {
            let entry = Some(entry_info(&held, tier, stale, answer.at));
            match &held.entry.content {
                Content::KnownAbsent => Wire::NegativeHit(pb::NegativeHit { entry }),
                Content::Value(value) => Wire::Hit(pb::Hit {
                    value: if metadata_only { bytes::Bytes::new() } else { value.clone() },
                    content_type: held.entry.content_type.to_string(),
                    entry,
                }),
            }
        }
    };
    pb::GetResponse { result: Some(result), token: token_text(&token, partitions), degraded: answer.degraded }
}

/// The response to a Set.
pub fn set_response(answer: SetAnswer, mut token: Token, partitions: u16) -> pb::SetResponse {
    token.merge(&answer.token);
    let outcome = match answer.outcome {
        SetOutcome::Stored => pb::SetOutcome::Stored,
        SetOutcome::AlreadyPresent => pb::SetOutcome::AlreadyPresent,
        SetOutcome::NotPresent => pb::SetOutcome::NotPresent,
        SetOutcome::VersionMismatch => pb::SetOutcome::VersionMismatch,
        SetOutcome::Disabled => pb::SetOutcome::Disabled,
    };
    let version = answer.version.map(|version| version.to_string()).unwrap_or_default();
    pb::SetResponse { outcome: outcome.into(), version, token: token_text(&token, partitions) }
}

/// The response to an Invalidate.
pub fn invalidate_response(answer: Invalidated, mut token: Token, partitions: u16) -> pb::InvalidateResponse {
    token.merge(&answer.token);
    pb::InvalidateResponse { removed: answer.removed, token: token_text(&token, partitions) }
}

fn token_text(token: &Token, partitions: u16) -> String {
    if token.is_empty() { String::new() } else { token.encode(partitions) }
}

fn entry_info(held: &Held, tier: Tier, stale: Option<crate::cache::tiered::Stale>, at: Moment) -> pb::EntryInfo {
    pb::EntryInfo {
        version: held.entry.version.to_string(),
        age: Some(to_wire(at.since(held.entry.written_at))),
        ttl: Some(to_wire(held.entry.expires_at.since(at))),
        tier: tier_of(tier).into(),
        stale: stale.map(|stale| pb::Stale {
            reason: match stale.reason {
                StaleReason::Expired => pb::StaleReason::Expired,
                StaleReason::Unproven => pb::StaleReason::Unproven,
            }
            .into(),
            staleness: Some(to_wire(stale.staleness)),
        }),
    }
}

fn tier_of(tier: Tier) -> pb::Tier {
    match tier {
        Tier::L1 => pb::Tier::L1,
        Tier::L2 => pb::Tier::L2,
    }
}

fn miss_reason(why: Miss) -> pb::MissReason {
    match why {
        Miss::Absent => pb::MissReason::Absent,
        Miss::Unavailable => pb::MissReason::Unavailable,
        Miss::TokenNotReached => pb::MissReason::TokenNotReached,
        Miss::Disabled => pb::MissReason::Disabled,
    }
}

/// A duration for the wire.
pub fn to_wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.as_secs() as i64, nanos: duration.subsec_nanos() as i32 }
}

/// A wall-clock time for the wire.
pub fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    prost_types::Timestamp { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() as i32 }
}
