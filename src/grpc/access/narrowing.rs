//! Prefixes at the edge of a grant, narrowed to what it covers.

use super::demands::{Guarded, invalidation};
use super::request_access::RequestAccess;
use crate::auth::{Ask, Demand, Names, Place, Verb};
use crate::cache::invalidation::selector;
use crate::pb;
use crate::pb::invalidate_request::Selector;

/// Returns the pattern that selects exactly the keys below a prefix, and the demand for it.
///
/// The prefix `user:` also selects the key `user` and keys that begin with `user/`. A grant of the
/// keys `user:` does not cover those. For such a caller the invalidation is narrowed to the keys
/// that begin with `user:`.
pub fn narrowed_pattern<'a>(
    access: Option<&RequestAccess>,
    request: &'a pb::InvalidateRequest,
) -> Option<(String, Ask<'a>)> {
    let Some(Selector::Prefix(text)) = &request.selector else { return None };
    let narrow = invalidation(request, &Names::Prefix(text.as_bytes()));
    if !is_needed(access, text, &request.ask(), &narrow) {
        return None;
    }
    let mut pattern = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        if matches!(character, '*' | '?' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('*');
    Some((pattern, narrow))
}

/// Like [`narrowed_pattern`], for a watch: returns the beginning of the keys to show.
pub fn narrowed_watch<'a>(access: Option<&RequestAccess>, request: &'a pb::WatchRequest) -> Option<(&'a str, Ask<'a>)> {
    let Some(pb::watch_request::Selector::Prefix(text)) = &request.selector else { return None };
    let (place, names) = (Place::Namespace(&request.namespace), Names::Prefix(text.as_bytes()));
    let narrow = Ask::All(vec![Demand { verb: Verb::Watch, place, names }]);
    is_needed(access, text, &request.ask(), &narrow).then_some((text, narrow))
}

/// Returns true if the caller has the narrow demand, and not the wide one.
fn is_needed(access: Option<&RequestAccess>, text: &str, wide: &Ask<'_>, narrow: &Ask<'_>) -> bool {
    let Some(access) = access.filter(|access| access.caller().enforced) else { return false };
    let identity = &access.caller().identity;
    // Otherwise the demand would not be that of a valid prefix.
    let is_valid = selector::normalized(text.as_bytes()).is_some_and(|normal| normal.len() < text.len());
    is_valid && identity.rule_for(wide).is_none() && identity.rule_for(narrow).is_some()
}
