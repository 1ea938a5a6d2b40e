//! Namespaces of an Invalidate: given in one way, within limits, and looked up.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::validator::{RequestContext, Validator};
use crate::cache::error::{CacheError, Violation};
use crate::cache::namespace::Namespace;
use crate::cache::policy::limits;
use crate::cache::quoted::quoted;
use crate::pb;
use crate::pb::invalidate_request::Selector as Wire;

/// Returns true if the request names several namespaces.
pub(super) fn has_several_namespaces(request: &pb::InvalidateRequest) -> bool {
    request.all_namespaces || !request.namespaces.is_empty()
}

impl Validator {
    /// Checks that the namespaces are given in one way only, and a source version with one entry
    /// only.
    pub(super) fn check_scope(&mut self, request: &pb::InvalidateRequest) {
        let mut refuse = |field: &str, rule: String| self.0.push(Violation::new(field, rule));
        let (is_event, several) = (matches!(request.selector, Some(Wire::Event(_))), has_several_namespaces(request));
        if !request.namespace.is_empty() && (is_event || several) {
            let other = match (is_event, request.all_namespaces) {
                (true, _) => "event",
                (false, true) => "all_namespaces",
                (false, false) => "namespaces",
            };
            refuse("namespace", format!("must be empty with {other}; was {}", quoted(&request.namespace)));
        }
        if !request.namespaces.is_empty() && (is_event || request.all_namespaces) {
            let other = if is_event { "event" } else { "all_namespaces" };
            refuse("namespaces", format!("must be empty with {other}; was {} namespaces", request.namespaces.len()));
        }
        if request.all_namespaces && is_event {
            refuse("all_namespaces", "must be false with event".to_owned());
        }
        if request.source_version.is_some() && !matches!(request.selector, Some(Wire::Key(_))) {
            refuse("source_version", "must be absent without key".to_owned());
        } else if request.source_version.is_some() && several {
            let other = if request.all_namespaces { "all_namespaces" } else { "namespaces" };
            refuse("source_version", format!("must be absent with {other}"));
        }
    }

    /// Returns the names of several namespaces without duplicates.
    pub(super) fn namespace_names(
        &mut self,
        context: &RequestContext,
        request: &pb::InvalidateRequest,
        elsewhere: &BTreeSet<String>,
    ) -> BTreeSet<String> {
        if request.all_namespaces {
            let known = context.namespaces.all().into_iter().map(|namespace| namespace.name().to_owned());
            return known.chain(elsewhere.iter().cloned()).collect();
        }
        let (names, most) = (&request.namespaces, context.limits.namespaces);
        self.take(check_count("namespaces", names.len(), most, "namespaces"));
        for (index, name) in names.iter().take(most).enumerate() {
            let field = format!("namespaces[{index}]");
            self.take(if name.is_empty() {
                Err(Violation::new(field, "must not be empty"))
            } else {
                limits::namespace(&field, name)
            });
        }
        names.iter().take(most).cloned().collect()
    }

    /// Looks up several namespaces by name.
    ///
    /// Returns none if a rule was broken: a rejected request registers no namespace.
    pub(super) fn namespaces_by_name(
        &self,
        context: &RequestContext,
        all: bool,
        names: &BTreeSet<String>,
    ) -> Result<Vec<Arc<Namespace>>, CacheError> {
        if !self.0.is_empty() {
            return Ok(Vec::new());
        }
        let found = names.iter().map(|name| {
            if all { context.namespaces.get_to_invalidate(name) } else { context.namespaces.get("namespaces", name) }
        });
        found.collect()
    }
}

/// Checks that a list has at least one element, and no more than `limit`.
pub(super) fn check_count(field: &str, was: usize, limit: usize, unit: &str) -> Result<(), Violation> {
    match was {
        0 => Err(Violation::new(field, format!("must name at least one {}", unit.trim_end_matches('s')))),
        was if was > limit => Err(Violation::too_large(field, was, limit, unit)),
        _ => Ok(()),
    }
}
