//! BatchGet, BatchSet and BatchInvalidate.

use std::collections::HashMap;
use std::sync::Arc;

use super::get::{FoundEntry, consistency, found};
use super::invalidate::mode;
use super::set::{outcome, write};
use super::validator::{RequestContext, Validator, barrier, token_text};
use crate::cache::clock::Moment;
use crate::cache::error::{CacheError, Violation};
use crate::cache::key::KeyRef;
use crate::cache::namespace::Namespace;
use crate::cache::tier::Removal;
use crate::cache::tiered::{Consistency, GetAnswer, InvalidateMany, Many, SetAnswer, SetMany};
use crate::cache::token::Token;
use crate::grpc::status::item_error;
use crate::pb;

/// A BatchGet as the core needs it, but for the keys, which stay in the request.
pub struct ParsedBatchGet {
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// Which answers are allowed.
    pub consistency: Consistency,
    /// What the caller has seen.
    pub token: Token,
}

/// Checks a BatchGet.
pub fn batch_get(rules: &RequestContext, request: &pb::BatchGetRequest) -> Result<ParsedBatchGet, CacheError> {
    let mut checks = Validator::default();
    let namespace = checks.namespace(rules.namespaces.get_to_read("namespace", &request.namespace))?;
    number(rules, &mut checks, "keys", request.keys.len(), "keys");
    for (index, key) in request.keys.iter().take(rules.limits.keys).enumerate() {
        checks.take(rules.limits.key(&format!("keys[{index}]"), key.as_bytes()));
    }
    let consistency = consistency(&mut checks, namespace.as_ref(), request.consistency, request.max_staleness.as_ref());
    let token = checks.token(rules, &request.tokens);
    let parts = namespace.zip(consistency);
    checks.done(parts.map(|(namespace, consistency)| ParsedBatchGet { namespace, consistency, token }))
}

/// One item of a BatchGet's answer; what it saw is added to `token`.
pub fn batch_get_item(
    index: usize,
    result: Result<GetAnswer, CacheError>,
    token: &mut Token,
    metadata_only: bool,
) -> pb::BatchGetItem {
    use pb::batch_get_item::Result as Wire;
    let (result, degraded) = match result {
        Err(error) => (Wire::Error(item_error(&error)), false),
        Ok(answer) => {
            if answer.position.epoch > 0 {
                token.add(answer.partition, answer.position);
            }
            let degraded = answer.degraded;
            let result = match found(answer, metadata_only) {
                FoundEntry::Hit(hit) => Wire::Hit(hit),
                FoundEntry::NegativeHit(hit) => Wire::NegativeHit(hit),
                FoundEntry::Miss(miss) => Wire::Miss(miss),
            };
            (result, degraded)
        }
    };
    pb::BatchGetItem { index: index as u32, result: Some(result), degraded }
}

/// Checks a BatchSet.
pub fn batch_set(
    rules: &RequestContext,
    request: pb::BatchSetRequest,
    deadline: Moment,
) -> Result<(SetMany, Token), CacheError> {
    let mut checks = Validator::default();
    let namespace = checks.namespace(rules.namespaces.get("namespace", &request.namespace))?;
    number(rules, &mut checks, "items", request.items.len(), "items");
    different(&mut checks, "key", request.items.iter().map(|item| item.key.as_str()));
    different(&mut checks, "request_id", request.items.iter().map(|item| item.request_id.as_str()));
    let mut writes = Vec::with_capacity(request.items.len().min(rules.limits.keys));
    for (index, item) in request.items.into_iter().take(rules.limits.keys).enumerate() {
        let prefix = format!("items[{index}].");
        let of_the_batch = [
            ("namespace", item.namespace.is_empty()),
            ("tokens", item.tokens.is_empty()),
            ("barrier", item.barrier == pb::Barrier::Unspecified as i32),
        ];
        for (name, _) in of_the_batch.iter().filter(|(_, empty)| !empty) {
            checks.0.push(Violation::new(format!("{prefix}{name}"), "must be empty: it is that of the batch"));
        }
        writes.extend(write(rules, &mut checks, namespace.as_ref(), item, &prefix));
    }
    let token = checks.token(rules, &request.tokens);
    let barrier = checks.take(barrier(request.barrier)).unwrap_or_default();
    checks.done(namespace.map(|namespace| (SetMany { namespace, writes, barrier, deadline }, token)))
}

/// The response to a BatchSet.
pub fn batch_set_response(done: Many<SetAnswer>, mut token: Token, partitions: u16) -> pb::BatchSetResponse {
    token.merge(&done.token);
    let result = |result: Result<SetAnswer, CacheError>| match result {
        Ok(answer) => pb::BatchSetResult {
            outcome: outcome(answer.outcome).into(),
            version: answer.version.map(|version| version.to_string()).unwrap_or_default(),
            error: None,
        },
        Err(error) => pb::BatchSetResult { error: Some(item_error(&error)), ..Default::default() },
    };
    let results = done.results.into_iter().map(result).collect();
    pb::BatchSetResponse { results, token: token_text(&token, partitions) }
}

/// Checks a BatchInvalidate.
pub fn batch_invalidate(
    rules: &RequestContext,
    request: &pb::BatchInvalidateRequest,
    deadline: Moment,
) -> Result<(InvalidateMany, Token), CacheError> {
    let mut checks = Validator::default();
    let namespace = checks.namespace(rules.namespaces.get("namespace", &request.namespace))?;
    number(rules, &mut checks, "items", request.items.len(), "items");
    different(&mut checks, "key", request.items.iter().map(|item| item.key.as_str()));
    let mut removals = Vec::with_capacity(request.items.len().min(rules.limits.keys));
    for (index, item) in request.items.iter().take(rules.limits.keys).enumerate() {
        checks.take(rules.limits.key(&format!("items[{index}].key"), item.key.as_bytes()));
        if let Some(namespace) = &namespace {
            let key = KeyRef::new(namespace, item.key.as_bytes()).to_key();
            removals.push(Removal { key, source_version: item.source_version });
        }
    }
    let token = checks.token(rules, &request.tokens);
    let barrier = checks.take(barrier(request.barrier)).unwrap_or_default();
    let mode = checks.take(mode(request.mode)).flatten().unwrap_or_default();
    let many = namespace.map(|namespace| InvalidateMany { namespace, removals, mode, barrier, deadline });
    checks.done(many.map(|many| (many, token)))
}

/// The response to a BatchInvalidate.
pub fn batch_invalidate_response(done: Many<bool>, mut token: Token, partitions: u16) -> pb::BatchInvalidateResponse {
    token.merge(&done.token);
    let result = |result: Result<bool, CacheError>| match result {
        Ok(removed) => pb::BatchInvalidateResult { removed, error: None },
        Err(error) => pb::BatchInvalidateResult { removed: false, error: Some(item_error(&error)) },
    };
    let results = done.results.into_iter().map(result).collect();
    pb::BatchInvalidateResponse { results, token: token_text(&token, partitions) }
}

fn number(rules: &RequestContext, checks: &mut Validator, field: &str, items: usize, unit: &str) {
    match items {
        0 => checks.0.push(Violation::new(field, format!("must name at least one of the {unit}"))),
        items if items > rules.limits.keys => {
            checks.0.push(Violation::too_large(field, items, rules.limits.keys, unit));
        }
        _ => {}
    }
}

/// No two items may say the same.
fn different<'a>(checks: &mut Validator, name: &str, said: impl Iterator<Item = &'a str>) {
    let mut first = HashMap::new();
    for (index, said) in said.enumerate().filter(|(_, said)| !said.is_empty()) {
        if let Some(first) = first.get(said) {
            let rule = format!("must not be that of items[{first}]");
            checks.0.push(Violation::new(format!("items[{index}].{name}"), rule));
        } else {
            first.insert(said, index);
        }
    }
}
