//! Watch: checks the request and renders its events.

use std::time::Duration;

use bytes::Bytes;

use super::validator::{RequestContext, Validator, duration, to_wire, token_text};
use crate::cache::coherence::watch::filter::{Scope, WatchFilter};
use crate::cache::coherence::watch::{ChangeScope, Discontinuity, Event, WatchedChange, Watching};
use crate::cache::error::{CacheError, Violation};
use crate::cache::invalidation::selector::Selector;
use crate::cache::tier::bus::Effect;
use crate::cache::token::Token;
use crate::pb;
use crate::units::format_duration;

const DEFAULT_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
const MIN_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(100);
const MAX_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(60);

/// Checks a Watch.
pub fn watching(context: &RequestContext, request: &pb::WatchRequest) -> Result<Watching, CacheError> {
    use pb::watch_request::Selector as Wire;
    let mut validator = Validator::default();
    let namespace = validator.namespace(context.namespaces.get_to_read("namespace", &request.namespace))?;
    let scope = match &request.selector {
        None => Some(Scope::Namespace),
        Some(Wire::Prefix(prefix)) => {
            let prefix = validator.take(context.limits.prefix("prefix", prefix.as_bytes()));
            prefix.map(|prefix| Scope::Prefix(Bytes::copy_from_slice(prefix)))
        }
        Some(Wire::Tag(tag)) => {
            let taken = validator.take(context.limits.tag("tag", tag.as_bytes()));
            taken.map(|()| Scope::Tag(Bytes::copy_from_slice(tag.as_bytes())))
        }
    };
    let token = validator.token(context, &request.tokens);
    let from = (!request.tokens.is_empty()).then_some(token);
    let heartbeat = validator.take(heartbeat(request.heartbeat_interval.as_ref()));
    let parts = namespace.zip(scope).zip(heartbeat);
    validator.done(parts.map(|((namespace, scope), heartbeat)| {
        let namespace = Bytes::copy_from_slice(namespace.name().as_bytes());
        Watching { filter: WatchFilter { namespace, scope }, from, heartbeat, limit: context.limits.watches }
    }))
}

fn heartbeat(wire: Option<&prost_types::Duration>) -> Result<Duration, Violation> {
    const FIELD: &str = "heartbeat_interval";
    let Some(wire) = wire else { return Ok(DEFAULT_HEARTBEAT_INTERVAL) };
    match duration(FIELD, wire)? {
        heartbeat if (MIN_HEARTBEAT_INTERVAL..=MAX_HEARTBEAT_INTERVAL).contains(&heartbeat) => Ok(heartbeat),
        other => {
            let [least, most, other] = [MIN_HEARTBEAT_INTERVAL, MAX_HEARTBEAT_INTERVAL, other].map(format_duration);
            let limits = format!("must be from {least} to {most}; was {other}");
            Err(Violation::new(FIELD, limits))
        }
    }
}

/// Returns an event as a response.
pub fn watch_response(event: Event, partitions: u16) -> pb::WatchResponse {
    use pb::watch_response::Event as Wire;
    let event = match event {
        Event::Change(changed) => Wire::Change(change(changed, partitions)),
        Event::Discontinuity(why) => Wire::Discontinuity(pb::WatchDiscontinuity {
            reason: match why {
                Discontinuity::SlowWatcher => pb::DiscontinuityReason::SlowWatcher,
                Discontinuity::Gap => pb::DiscontinuityReason::Gap,
                Discontinuity::TooOld => pb::DiscontinuityReason::TooOld,
            }
            .into(),
        }),
        Event::Heartbeat { token, proof_age, elapsed } => Wire::Heartbeat(pb::WatchHeartbeat {
            token: token_text(&token, partitions),
            proof_age: proof_age.map(to_wire),
            elapsed: Some(to_wire(elapsed)),
        }),
    };
    pb::WatchResponse { event: Some(event) }
}

fn change(event: WatchedChange, partitions: u16) -> pb::WatchChange {
    use pb::watch_change::Covers as Wire;
    let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
    let kind = match event.effect {
        Effect::Set => pb::ChangeKind::Set,
        Effect::Removed => pb::ChangeKind::Removed,
        Effect::Marked => pb::ChangeKind::MarkedStale,
        Effect::Shortened => pb::ChangeKind::Shortened,
    };
    let covers = match event.covers {
        ChangeScope::Keys(keys) => Wire::Keys(pb::WatchKeys { keys: keys.into_iter().map(text).collect() }),
        ChangeScope::Selected(Selector::Namespace) => Wire::WholeNamespace(true),
        ChangeScope::Selected(Selector::Prefix(prefix)) => Wire::Prefix(text(prefix)),
        ChangeScope::Selected(Selector::Tag(tag)) => Wire::Tag(text(tag)),
        ChangeScope::Selected(Selector::Pattern(pattern)) => Wire::Pattern(text(pattern)),
    };
    let token =
        if event.last { token_text(&Token::at(event.partition, event.version), partitions) } else { String::new() };
    pb::WatchChange {
        epoch: event.version.epoch,
        sequence: event.version.sequence,
        partition: event.partition.into(),
        kind: kind.into(),
        covers: Some(covers),
        token,
    }
}
