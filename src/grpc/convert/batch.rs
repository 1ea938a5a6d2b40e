//! BatchGet, BatchSet and BatchInvalidate: checks requests and renders responses.

use std::collections::HashMap;
use std::sync::Arc;

use super::get::consistency;
use super::invalidate::mode;
use super::set::{outcome, write};
use super::validator::{RequestContext, Validator, barrier, token_text};
use crate::cache::clock::Moment;
use crate::cache::error::{CacheError, Violation};
use crate::cache::key::KeyRef;
use crate::cache::namespace::Namespace;
use crate::cache::tier::Removal;
use crate::cache::tiered::{Consistency, InvalidateMany, Many, SetAnswer, SetMany};
use crate::cache::token::Token;
use crate::grpc::status::item_error;
use crate::pb;

/// A checked BatchGet. The keys stay in the request.
pub struct ParsedBatchGet {
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// Allowed answers.
    pub consistency: Consistency,
    /// Positions that the caller has seen.
    pub token: Token,
}

/// Checks a BatchGet.
pub fn batch_get(context: &RequestContext, request: &pb::BatchGetRequest) -> Result<ParsedBatchGet, CacheError> {
    let mut validator = Validator::default();
    let namespace = validator.namespace(context.namespaces.get_to_read("namespace", &request.namespace))?;
    check_count(context, &mut validator, "keys", request.keys.len(), "keys");
    for (index, key) in request.keys.iter().take(context.limits.keys).enumerate() {
        if context.limits.key("", key.as_bytes()).is_err() {
            validator.take(context.limits.key(&format!("keys[{index}]"), key.as_bytes()));
        }
    }
    let consistency =
        consistency(&mut validator, namespace.as_ref(), request.consistency, request.max_staleness.as_ref());
    let token = validator.token(context, &request.tokens);
    let parts = namespace.zip(consistency);
    validator.done(parts.map(|(namespace, consistency)| ParsedBatchGet { namespace, consistency, token }))
}

/// Checks a BatchSet.
pub fn batch_set(
    context: &RequestContext,
    request: pb::BatchSetRequest,
    deadline: Moment,
) -> Result<(SetMany, Token), CacheError> {
    let mut validator = Validator::default();
    let namespace = validator.namespace(context.namespaces.get("namespace", &request.namespace))?;
    check_count(context, &mut validator, "items", request.items.len(), "items");
    check_unique(&mut validator, "key", request.items.iter().map(|item| item.key.as_str()));
    check_unique(&mut validator, "request_id", request.items.iter().map(|item| item.request_id.as_str()));
    let mut writes = Vec::with_capacity(request.items.len().min(context.limits.keys));
    for (index, item) in request.items.into_iter().take(context.limits.keys).enumerate() {
        let prefix = format!("items[{index}].");
        let of_the_batch = [
            ("namespace", item.namespace.is_empty()),
            ("tokens", item.tokens.is_empty()),
            ("barrier", item.barrier == pb::Barrier::Unspecified as i32),
        ];
        for (name, _) in of_the_batch.iter().filter(|(_, empty)| !empty) {
            validator.0.push(Violation::new(format!("{prefix}{name}"), "must be empty: set it on the batch"));
        }
        writes.extend(write(context, &mut validator, namespace.as_ref(), item, &prefix));
    }
    let token = validator.token(context, &request.tokens);
    let barrier = validator.take(barrier(request.barrier)).unwrap_or_default();
    validator.done(namespace.map(|namespace| (SetMany { namespace, writes, barrier, deadline }, token)))
}

/// Returns the response to a BatchSet.
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
    context: &RequestContext,
    request: &pb::BatchInvalidateRequest,
    deadline: Moment,
) -> Result<(InvalidateMany, Token), CacheError> {
    let mut validator = Validator::default();
    let namespace = validator.namespace(context.namespaces.get("namespace", &request.namespace))?;
    check_count(context, &mut validator, "items", request.items.len(), "items");
    check_unique(&mut validator, "key", request.items.iter().map(|item| item.key.as_str()));
    let mut removals = Vec::with_capacity(request.items.len().min(context.limits.keys));
    for (index, item) in request.items.iter().take(context.limits.keys).enumerate() {
        validator.take(context.limits.key(&format!("items[{index}].key"), item.key.as_bytes()));
        if let Some(namespace) = &namespace {
            let key = KeyRef::new(namespace, item.key.as_bytes()).to_key();
            removals.push(Removal { key, source_version: item.source_version });
        }
    }
    let token = validator.token(context, &request.tokens);
    let barrier = validator.take(barrier(request.barrier)).unwrap_or_default();
    let mode = validator.take(mode(request.mode)).flatten().unwrap_or_default();
    let many = namespace.map(|namespace| InvalidateMany { namespace, removals, mode, barrier, deadline });
    validator.done(many.map(|many| (many, token)))
}

/// Returns the response to a BatchInvalidate.
pub fn batch_invalidate_response(done: Many<bool>, mut token: Token, partitions: u16) -> pb::BatchInvalidateResponse {
    token.merge(&done.token);
    let result = |result: Result<bool, CacheError>| match result {
        Ok(removed) => pb::BatchInvalidateResult { removed, error: None },
        Err(error) => pb::BatchInvalidateResult { removed: false, error: Some(item_error(&error)) },
    };
    let results = done.results.into_iter().map(result).collect();
    pb::BatchInvalidateResponse { results, token: token_text(&token, partitions) }
}

fn check_count(context: &RequestContext, validator: &mut Validator, field: &str, items: usize, unit: &str) {
    match items {
        0 => validator.0.push(Violation::new(field, format!("must contain at least one of the {unit}"))),
        items if items > context.limits.keys => {
            validator.0.push(Violation::too_large(field, items, context.limits.keys, unit));
        }
        _ => {}
    }
}

/// Checks that no two items have the same value in this field.
fn check_unique<'a>(validator: &mut Validator, name: &str, value: impl Iterator<Item = &'a str>) {
    let mut first = HashMap::new();
    for (index, value) in value.enumerate().filter(|(_, value)| !value.is_empty()) {
        if let Some(first) = first.get(value) {
            let rule = format!("must differ from that of items[{first}]");
            validator.0.push(Violation::new(format!("items[{index}].{name}"), rule));
        } else {
            first.insert(value, index);
        }
    }
}
