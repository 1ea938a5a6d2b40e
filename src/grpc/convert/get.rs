//! Get: checks the request and renders the response.

use std::sync::Arc;
use std::time::Duration;

use super::validator::{RequestContext, Validator, duration, to_wire, token_text};
use crate::cache::clock::Moment;
use crate::cache::entry::{CachedEntry, Content};
use crate::cache::error::{CacheError, Violation};
use crate::cache::lease::LeaseOptions;
use crate::cache::namespace::Namespace;
use crate::cache::policy::DefaultConsistency;
use crate::cache::policy::namespace_policy::LEASE;
use crate::cache::tiered::{Consistency, GetAnswer, GetOutcome, Miss, Stale, StaleReason, Tier};
use crate::cache::token::Token;
use crate::pb;
use crate::units::format_duration;

/// A checked Get. The key stays in the request.
pub struct ParsedGet {
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// Allowed answers.
    pub consistency: Consistency,
    /// Positions that the caller has seen.
    pub token: Token,
    /// Options of the lease, if the caller requests one.
    pub lease: Option<LeaseOptions>,
}

/// Checks a Get.
pub fn get(context: &RequestContext, request: &pb::GetRequest) -> Result<ParsedGet, CacheError> {
    let mut validator = Validator::default();
    // A caller that requests a lease is about to write: its namespace is registered.
    let namespace = validator.namespace(match request.lease {
        Some(_) => context.namespaces.get("namespace", &request.namespace),
        None => context.namespaces.get_to_read("namespace", &request.namespace),
    })?;
    validator.take(context.limits.key("key", request.key.as_bytes()));
    let consistency =
        consistency(&mut validator, namespace.as_ref(), request.consistency, request.max_staleness.as_ref());
    let token = validator.token(context, &request.tokens);
    let lease = request.lease.as_ref().map(|options| lease_options(&mut validator, request, consistency, options));
    let parts = namespace.zip(consistency).map(|(namespace, consistency)| {
        let default = namespace.policy().lease_duration;
        let lease = lease.map(|(requested, wait)| {
            let duration = requested.unwrap_or(default);
            LeaseOptions { duration, wait, stale_if_error: request.stale_if_error }
        });
        ParsedGet { namespace, consistency, token, lease }
    });
    validator.done(parts)
}

/// Returns the answers that a Get without options allows in this namespace.
pub fn default_consistency(namespace: &Namespace) -> Consistency {
    match namespace.policy().consistency {
        DefaultConsistency::Strong => Consistency::Strong,
        DefaultConsistency::Bounded => Consistency::Bounded(None),
    }
}

/// Allowed answers.
pub(super) fn consistency(
    validator: &mut Validator,
    namespace: Option<&Arc<Namespace>>,
    wire: i32,
    max_staleness: Option<&prost_types::Duration>,
) -> Option<Consistency> {
    let bound = max_staleness.and_then(|bound| validator.take(duration("max_staleness", bound)));
    let by_default = namespace.map_or_else(Default::default, |namespace| namespace.policy().consistency);
    match pb::Consistency::try_from(wire) {
        // A request with `max_staleness` does not need the primary.
        Ok(pb::Consistency::Unspecified) if by_default == DefaultConsistency::Strong && max_staleness.is_none() => {
            Some(Consistency::Strong)
        }
        Ok(pb::Consistency::Unspecified | pb::Consistency::Bounded) => Some(Consistency::Bounded(bound)),
        Ok(pb::Consistency::Strong) if max_staleness.is_none() => Some(Consistency::Strong),
        Ok(pb::Consistency::Strong) => {
            validator.take(Err(Violation::new("max_staleness", "must be absent with CONSISTENCY_STRONG")))
        }
        Err(_) => validator.take(Err(Violation::new("consistency", format!("must be a Consistency; was {wire}")))),
    }
}

/// Checks the lease options. Returns the requested duration, and true to wait for another caller.
fn lease_options(
    validator: &mut Validator,
    request: &pb::GetRequest,
    consistency: Option<Consistency>,
    options: &pb::LeaseOptions,
) -> (Option<Duration>, bool) {
    if consistency == Some(Consistency::Strong) {
        let rule = match request.consistency() {
            pb::Consistency::Strong => "must be absent with CONSISTENCY_STRONG",
            _ => "must be absent with CONSISTENCY_STRONG, the default of the namespace",
        };
        validator.take::<()>(Err(Violation::new("lease", rule)));
    }
    if request.metadata_only {
        validator.take::<()>(Err(Violation::new("lease", "must be absent with metadata_only")));
    }
    let requested =
        options.duration.as_ref().and_then(|requested| validator.take(duration("lease.duration", requested)));
    if let Some(requested) = requested.filter(|requested| !LEASE.contains(requested)) {
        let [least, most, requested] = [*LEASE.start(), *LEASE.end(), requested].map(format_duration);
        let limits = format!("must be from {least} to {most}; was {requested}");
        validator.take::<()>(Err(Violation::new("lease.duration", limits)));
    }
    let wait = match pb::LeaseWait::try_from(options.wait) {
        Ok(pb::LeaseWait::Unspecified | pb::LeaseWait::UntilDeadline) => true,
        Ok(pb::LeaseWait::None) => false,
        Err(_) => {
            let was = format!("must be a LeaseWait; was {}", options.wait);
            validator.take::<()>(Err(Violation::new("lease.wait", was)));
            false
        }
    };
    (requested, wait)
}

/// Returns the response to a Get.
pub fn get_response(answer: GetAnswer, mut token: Token, partitions: u16, metadata_only: bool) -> pb::GetResponse {
    use pb::get_response::Result as Wire;
    if answer.position.epoch > 0 {
        token.add(answer.partition, answer.position);
    }
    let degraded = answer.degraded;
    let lease = answer
        .lease
        .map(|lease| pb::Lease { id: lease.id.to_string(), duration: Some(to_wire(lease.until.since(answer.at))) });
    let result = match found(answer, metadata_only) {
        FoundEntry::Hit(hit) => Wire::Hit(hit),
        FoundEntry::NegativeHit(hit) => Wire::NegativeHit(hit),
        FoundEntry::Miss(miss) => Wire::Miss(miss),
    };
    pb::GetResponse { result: Some(result), token: token_text(&token, partitions), degraded, lease }
}

/// The result of a Get or of one item of a BatchGet.
pub enum FoundEntry {
    Hit(pb::Hit),
    NegativeHit(pb::NegativeHit),
    Miss(pb::Miss),
}

pub fn found(answer: GetAnswer, metadata_only: bool) -> FoundEntry {
    match answer.outcome {
        GetOutcome::Miss(why) => FoundEntry::Miss(pb::Miss { reason: miss_reason(why).into() }),
        GetOutcome::Hit { held, tier, stale } => {
            let entry = Some(entry_info(&held, tier, stale, answer.at, metadata_only));
            match &held.entry.content {
                Content::KnownAbsent => FoundEntry::NegativeHit(pb::NegativeHit { entry }),
                Content::Value(value) => FoundEntry::Hit(pb::Hit {
                    value: if metadata_only { bytes::Bytes::new() } else { value.clone() },
                    content_type: held.entry.content_type.to_string(),
                    entry,
                }),
            }
        }
    }
}

/// Returns the value of an answer, if it has one.
pub(super) fn hit(answer: GetAnswer) -> Option<pb::Hit> {
    match found(answer, false) {
        FoundEntry::Hit(hit) => Some(hit),
        FoundEntry::NegativeHit(_) | FoundEntry::Miss(_) => None,
    }
}

fn entry_info(held: &CachedEntry, tier: Tier, stale: Option<Stale>, at: Moment, with_tags: bool) -> pb::EntryInfo {
    let ends = held.entry.expires_at;
    let tags = held.entry.tags.iter().filter(|_| with_tags);
    pb::EntryInfo {
        version: held.entry.version.to_string(),
        age: Some(to_wire(at.since(held.entry.written_at))),
        ttl: (ends != Moment::FOREVER).then(|| to_wire(ends.since(at))),
        tier: tier_of(tier).into(),
        stale: stale.map(|stale| pb::Stale {
            reason: stale_reason(stale.reason).into(),
            staleness: Some(to_wire(stale.staleness)),
        }),
        refresh_due: at >= held.entry.due_at,
        source_version: held.entry.source_version,
        tags: tags.map(|tag| String::from_utf8_lossy(tag).into_owned()).collect(),
    }
}

/// Returns the tier of the contract.
pub fn tier_of(tier: Tier) -> pb::Tier {
    match tier {
        Tier::L1 => pb::Tier::L1,
        Tier::L2 => pb::Tier::L2,
    }
}

/// Returns the reason of the contract why an answer is stale.
pub fn stale_reason(reason: StaleReason) -> pb::StaleReason {
    match reason {
        StaleReason::Expired => pb::StaleReason::Expired,
        StaleReason::Unproven => pb::StaleReason::Unproven,
        StaleReason::Marked => pb::StaleReason::Marked,
    }
}

/// Returns the reason of the contract for a miss.
pub fn miss_reason(why: Miss) -> pb::MissReason {
    match why {
        Miss::Absent => pb::MissReason::Absent,
        Miss::Unavailable => pb::MissReason::Unavailable,
        Miss::TokenNotReached => pb::MissReason::TokenNotReached,
        Miss::Disabled => pb::MissReason::Disabled,
        Miss::Leased => pb::MissReason::Leased,
    }
}
