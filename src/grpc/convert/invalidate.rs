//! Invalidate.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Checks, Rules, barrier, token_text};
use crate::cache::clock::Moment;
use crate::cache::coherence::token::Token;
use crate::cache::error::{CacheError, Violation};
use crate::cache::key::KeyRef;
use crate::cache::namespace::Namespace;
use crate::cache::selector::Selector;
use crate::cache::tier::{Mode, Removal};
use crate::cache::tiered::{Invalidate, Invalidated, Target};
use crate::pb;

/// Checks an Invalidate.
pub fn invalidate(
    rules: &Rules,
    request: pb::InvalidateRequest,
    deadline: Moment,
) -> Result<(Invalidate, Token), CacheError> {
    use pb::invalidate_request::Selector as Wire;
    let mut checks = Checks::default();
    let namespace = checks.namespace(rules.namespaces.get("namespace", &request.namespace))?;
    let removal = |namespace: &Option<Arc<Namespace>>, key: &str| -> Option<Removal> {
        let key = namespace.as_ref().map(|namespace| KeyRef::new(namespace, key.as_bytes()).to_key());
        key.map(|key| Removal { key, source_version: None })
    };
    let target = match &request.selector {
        Some(Wire::Key(name)) => {
            checks.take(rules.limits.key("key", name.as_bytes()));
            removal(&namespace, name).map(|removal| Target::Keys(vec![removal]))
        }
        Some(Wire::Keys(keys)) => {
            checks.take(number_of_keys(rules, keys.keys.len()));
            let mut seen = HashSet::new();
            let mut named = Vec::new();
            for (index, name) in keys.keys.iter().take(rules.limits.keys).enumerate() {
                checks.take(rules.limits.key(&format!("keys.keys[{index}]"), name.as_bytes()));
                if seen.insert(name) {
                    named.extend(removal(&namespace, name));
                }
            }
            Some(Target::Keys(named))
        }
        Some(Wire::WholeNamespace(_)) => Some(Target::Selected(vec![Selector::Namespace])),
        Some(_) => checks.take(Err(Violation::new("selector", "is not known"))),
        None => checks.take(Err(Violation::new("selector", "must be given: key, keys or whole_namespace"))),
    };
    let token = checks.token(rules, &request.tokens);
    let barrier = checks.take(barrier(request.barrier)).unwrap_or_default();
    let parts = namespace.zip(target);
    let mode = Mode::Remove;
    checks.done(parts.map(|(namespace, target)| (Invalidate { namespace, target, mode, barrier, deadline }, token)))
}

/// The response to an Invalidate.
pub fn invalidate_response(answer: Invalidated, mut token: Token, partitions: u16) -> pb::InvalidateResponse {
    token.merge(&answer.token);
    let token = token_text(&token, partitions);
    pb::InvalidateResponse { removed: answer.removed, token, applied: Vec::new() }
}

fn number_of_keys(rules: &Rules, keys: usize) -> Result<(), Violation> {
    match keys {
        0 => Err(Violation::new("keys.keys", "must name at least one key")),
        keys if keys > rules.limits.keys => Err(Violation::too_large("keys.keys", keys, rules.limits.keys, "keys")),
        _ => Ok(()),
    }
}
