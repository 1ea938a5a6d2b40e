//! Set: checks the request and renders the response.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::validator::{RequestContext, Validator, barrier, duration, lease, token_text, whole_millis};
use crate::cache::clock::Moment;
use crate::cache::entry::{Content, NewEntry, Tags};
use crate::cache::error::{CacheError, Violation};
use crate::cache::key::KeyRef;
use crate::cache::namespace::Namespace;
use crate::cache::policy::expiry::{Expiry, RequestedExpiry};
use crate::cache::policy::limits;
use crate::cache::quoted::quoted;
use crate::cache::tier::{Condition, RequestId, Write};
use crate::cache::tiered::{Set, SetAnswer, SetOutcome};
use crate::cache::token::Token;
use crate::pb;
use crate::units::format_duration;

/// Checks a Set.
pub fn set(
    context: &RequestContext,
    mut request: pb::SetRequest,
    deadline: Moment,
) -> Result<(Set, Token), CacheError> {
    let mut validator = Validator::default();
    let namespace = validator.namespace(context.namespaces.get("namespace", &request.namespace))?;
    let (tokens, barrier_value) = (std::mem::take(&mut request.tokens), request.barrier);
    let write = write(context, &mut validator, namespace.as_ref(), request, "");
    let token = validator.token(context, &tokens);
    let barrier = validator.take(barrier(barrier_value)).unwrap_or_default();
    validator.done(write.map(|write| (Set { write, barrier, deadline }, token)))
}

/// Checks the entry of a Set or of a batch item.
///
/// `prefix` precedes the names of fields, such as `items[3].`. Returns `None` without a namespace,
/// but checks the rest, so that all errors are reported together.
pub(super) fn write(
    context: &RequestContext,
    validator: &mut Validator,
    namespace: Option<&Arc<Namespace>>,
    request: pb::SetRequest,
    prefix: &str,
) -> Option<Write> {
    use pb::set_request::Content as Wire;
    let field = |name| field(prefix, name);
    let policy = namespace.map_or_else(Arc::default, |namespace| namespace.policy().clone());
    validator.take(context.limits.key(&field("key"), request.key.as_bytes()));
    validator.take(limits::content_type(&field("content_type"), &request.content_type));
    let content = match request.content {
        Some(Wire::Value(value)) => {
            validator.take(context.limits.value(&field("value"), &value, &policy));
            Some(Content::Value(value))
        }
        Some(Wire::KnownAbsent(_)) if request.content_type.is_empty() => Some(Content::KnownAbsent),
        Some(Wire::KnownAbsent(_)) => {
            validator.take(Err(Violation::new(field("content_type"), "must be empty with known_absent")))
        }
        None => validator.take(Err(Violation::new(field("content"), "must be given: value or known_absent"))),
    };
    let condition = validator.take(condition(request.condition, prefix)).unwrap_or_default();
    let negative = content == Some(Content::KnownAbsent);
    let expiry = validator.take(expiry(context, request.expiry, negative, prefix));
    let soft_ttl = request.soft_ttl.and_then(|soft| validator.take(duration(&field("soft_ttl"), &soft)));
    // An invalid expiry does not hide other errors.
    let soft_ttl = soft_ttl.filter(|_| expiry.is_some());
    let requested =
        RequestedExpiry { expiry: expiry.unwrap_or(Expiry::Default { negative }), soft_ttl, jitter: request.jitter };
    let lifetime = match policy.lifetime(&requested, prefix, rand::random()) {
        Ok(lifetime) => Some(lifetime),
        Err(violations) => {
            validator.0.append(violations);
            None
        }
    };
    let tags = tags(context, validator, request.tags, prefix);
    let request_id = validator.take(request_id(request.request_id, prefix)).flatten();
    let (namespace, content, lifetime) = (namespace?, content?, lifetime?);
    Some(Write {
        key: KeyRef::new(namespace, request.key.as_bytes()).to_key(),
        entry: NewEntry {
            content,
            content_type: request.content_type.into(),
            tags,
            source_version: request.source_version,
            lifetime,
        },
        condition,
        request: request_id,
    })
}

/// Returns the response to a Set.
pub fn set_response(answer: SetAnswer, mut token: Token, partitions: u16) -> pb::SetResponse {
    token.merge(&answer.token);
    let version = answer.version.map(|version| version.to_string()).unwrap_or_default();
    pb::SetResponse { outcome: outcome(answer.outcome).into(), version, token: token_text(&token, partitions) }
}

/// Returns the outcome as the contract names it.
pub fn outcome(outcome: SetOutcome) -> pb::SetOutcome {
    match outcome {
        SetOutcome::Stored => pb::SetOutcome::Stored,
        SetOutcome::AlreadyPresent => pb::SetOutcome::AlreadyPresent,
        SetOutcome::NotPresent => pb::SetOutcome::NotPresent,
        SetOutcome::VersionMismatch => pb::SetOutcome::VersionMismatch,
        SetOutcome::LeaseVoid => pb::SetOutcome::LeaseVoid,
        SetOutcome::SourceVersionOlder => pb::SetOutcome::SourceVersionOlder,
        SetOutcome::Disabled => pb::SetOutcome::Disabled,
    }
}

/// Returns the name of a field of an item.
fn field<'a>(prefix: &str, name: &'a str) -> Cow<'a, str> {
    if prefix.is_empty() { name.into() } else { format!("{prefix}{name}").into() }
}

fn condition(wire: Option<pb::set_request::Condition>, prefix: &str) -> Result<Condition, Violation> {
    use pb::set_request::Condition as Wire;
    match wire {
        None => Ok(Condition::None),
        Some(Wire::IfAbsent(_)) => Ok(Condition::Absent),
        Some(Wire::IfPresent(_)) => Ok(Condition::Present),
        Some(Wire::IfVersion(text)) => {
            let wrong = |bad| Violation::new(field(prefix, "if_version"), format!("{bad}; was {}", quoted(&text)));
            text.parse().map(Condition::Version).map_err(wrong)
        }
        Some(Wire::Lease(text)) => lease(field(prefix, "lease"), &text).map(Condition::Lease),
    }
}

fn expiry(
    context: &RequestContext,
    wire: Option<pb::set_request::Expiry>,
    negative: bool,
    prefix: &str,
) -> Result<Expiry, Violation> {
    use pb::set_request::Expiry as Wire;
    match wire {
        None => Ok(Expiry::Default { negative }),
        Some(Wire::Ttl(wire)) => duration(&field(prefix, "ttl"), &wire).map(Expiry::Ttl),
        Some(Wire::ExpireTime(wire)) => time_until(context, &field(prefix, "expire_time"), wire).map(Expiry::Until),
        Some(Wire::NoExpiry(_)) => Ok(Expiry::Never),
        Some(Wire::Sliding(sliding)) => {
            let idle = sliding.idle.ok_or_else(|| Violation::new(field(prefix, "sliding.idle"), "must be given"))?;
            let idle = duration(&field(prefix, "sliding.idle"), &idle)?;
            let longest = sliding.max_ttl.map(|max| duration(&field(prefix, "sliding.max_ttl"), &max)).transpose()?;
            Ok(Expiry::Sliding { idle, longest })
        }
    }
}

/// Returns the time until a timestamp in the future.
pub(super) fn time_until(
    context: &RequestContext,
    field: &str,
    wire: prost_types::Timestamp,
) -> Result<Duration, Violation> {
    let valid = (0..1_000_000_000).contains(&wire.nanos);
    let time = SystemTime::try_from(wire).ok().filter(|_| valid);
    let time = time.ok_or_else(|| Violation::new(field, "must be a valid timestamp"))?;
    // Truncated to milliseconds, the unit of the tiers.
    time.duration_since(context.clock.wall()).map(whole_millis).map_err(|past| {
        let ago = format_duration(whole_millis(past.duration()));
        Violation::new(field, format!("must lie in the future; was {ago} ago"))
    })
}

fn tags(context: &RequestContext, validator: &mut Validator, wire: Vec<String>, prefix: &str) -> Tags {
    if wire.len() > context.limits.tags {
        let violation = Violation::too_large(field(prefix, "tags"), wire.len(), context.limits.tags, "tags");
        validator.0.push(violation);
        return Tags::default();
    }
    let mut tags: Vec<Bytes> = Vec::with_capacity(wire.len());
    for (index, tag) in wire.into_iter().enumerate() {
        validator.take(context.limits.tag(&format!("{prefix}tags[{index}]"), tag.as_bytes()));
        let tag = Bytes::from(tag);
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Tags::new(tags)
}

fn request_id(wire: String, prefix: &str) -> Result<Option<RequestId>, Violation> {
    match wire.len() {
        0 => Ok(None),
        len if len > limits::MAX_REQUEST_ID_BYTES => {
            Err(Violation::too_large(field(prefix, "request_id"), len, limits::MAX_REQUEST_ID_BYTES, "bytes"))
        }
        _ => Ok(Some(RequestId(wire.into()))),
    }
}
