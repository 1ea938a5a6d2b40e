//! Invalidate: checks the request, plans its invalidations and renders the response.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::invalidate_scope::{check_count, has_several_namespaces};
use super::validator::{RequestContext, Validator, barrier, token_text};
use crate::cache::clock::Moment;
use crate::cache::error::{CacheError, Violation};
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::KeyRef;
use crate::cache::namespace::Namespace;
use crate::cache::policy::{EventRule, TargetKind, events};
use crate::cache::quoted::quoted;
use crate::cache::tier::{Mode, Removal};
use crate::cache::tiered::{Barrier, Invalidate, Invalidated, Target};
use crate::cache::token::Token;
use crate::pb;
use crate::pb::invalidate_request::Selector as Wire;

/// A checked Invalidate.
pub struct InvalidationPlan {
    /// Its invalidations: one, one for each namespace, or those that an event is mapped to.
    pub invalidates: Vec<Invalidate>,
    /// The parts of its response that the request determines.
    pub response: ResponseContext,
}

/// The parts of a response that the request determines.
pub struct ResponseContext {
    /// Descriptions of the invalidations of an event.
    applied: Vec<String>,
    /// The tokens of the request.
    token: Token,
    /// True if the response lists each namespace.
    lists_namespaces: bool,
}

/// Checks an Invalidate.
///
/// With `all_namespaces` it covers the namespaces known here and those `elsewhere`.
pub fn invalidate(
    context: &RequestContext,
    request: &pb::InvalidateRequest,
    elsewhere: &BTreeSet<String>,
    deadline: Moment,
) -> Result<InvalidationPlan, CacheError> {
    let mut validator = Validator::default();
    let token = validator.token(context, &request.tokens);
    let common = Common {
        mode: validator.take(mode(request.mode)).flatten(),
        barrier: validator.take(barrier(request.barrier)).unwrap_or_default(),
        deadline,
    };
    validator.check_scope(request);
    if let Some(Wire::Event(event)) = &request.selector {
        let plan = validator.event(context, event, common, token)?;
        return validator.done(Some(plan));
    }
    let (names, one) = if has_several_namespaces(request) {
        (validator.namespace_names(context, request, elsewhere), None)
    } else {
        (BTreeSet::new(), validator.namespace(context.namespaces.get("namespace", &request.namespace))?)
    };
    let entries = validator.entries(context, request, names.len());
    let namespaces = match one {
        Some(one) => vec![one],
        None => validator.namespaces_by_name(context, request.all_namespaces, &names)?,
    };
    let invalidates = entries.map(|entries| {
        let one = |namespace: &Arc<Namespace>| {
            common.invalidate(namespace.clone(), entries.target(namespace, request.source_version), Mode::Remove)
        };
        namespaces.iter().map(one).collect()
    });
    let response = ResponseContext { applied: Vec::new(), token, lists_namespaces: has_several_namespaces(request) };
    validator.done(invalidates.map(|invalidates| InvalidationPlan { invalidates, response }))
}

/// Returns the response to an Invalidate whose parts all succeeded.
pub fn invalidate_response(
    answers: Vec<(Arc<Namespace>, Invalidated)>,
    response: ResponseContext,
    partitions: u16,
) -> pb::InvalidateResponse {
    let ResponseContext { applied, mut token, lists_namespaces } = response;
    answers.iter().for_each(|(_, answer)| token.merge(&answer.token));
    let removed = answers.iter().map(|(_, answer)| answer.removed).sum();
    let mut namespaces: Vec<_> = answers
        .iter()
        .filter(|_| lists_namespaces)
        .map(|(namespace, answer)| pb::NamespaceInvalidation {
            namespace: namespace.name().to_owned(),
            removed: answer.removed,
        })
        .collect();
    namespaces.sort_by(|one, other| one.namespace.cmp(&other.namespace));
    pb::InvalidateResponse { removed, token: token_text(&token, partitions), applied, namespaces }
}

/// The entries to invalidate in each of the namespaces.
enum Entries {
    /// Keys without duplicates.
    Keys(Vec<String>),
    /// Entries that match these selectors.
    Selected(Vec<Selector>),
}

impl Entries {
    fn target(&self, namespace: &Arc<Namespace>, source_version: Option<u64>) -> Target {
        match self {
            Entries::Keys(keys) => {
                Target::Keys(keys.iter().map(|key| removal(namespace, key, source_version)).collect())
            }
            Entries::Selected(selectors) => Target::Selected(selectors.clone()),
        }
    }
}

/// The options that all parts of an Invalidate share.
#[derive(Clone, Copy)]
struct Common {
    /// `None` if the request does not set it.
    mode: Option<Mode>,
    barrier: Barrier,
    deadline: Moment,
}

impl Common {
    fn invalidate(self, namespace: Arc<Namespace>, target: Target, otherwise: Mode) -> Invalidate {
        let Common { mode, barrier, deadline } = self;
        Invalidate { namespace, target, mode: mode.unwrap_or(otherwise), barrier, deadline }
    }
}

impl Validator {
    /// Returns the entries to invalidate in each of `namespaces` namespaces.
    fn entries(
        &mut self,
        context: &RequestContext,
        request: &pb::InvalidateRequest,
        namespaces: usize,
    ) -> Option<Entries> {
        let selected = |selector| Some(Entries::Selected(vec![selector]));
        match &request.selector {
            Some(Wire::Key(name)) => {
                self.take(context.limits.key("key", name.as_bytes()));
                self.take(check_total_keys("key", 1, namespaces, context.limits.keys));
                Some(Entries::Keys(vec![name.clone()]))
            }
            Some(Wire::Keys(keys)) => self.keys(context, &keys.keys, namespaces),
            Some(Wire::WholeNamespace(_)) => selected(Selector::Namespace),
            Some(Wire::Prefix(prefix)) => {
                self.selector(context, "prefix", TargetKind::Prefix, prefix).and_then(selected)
            }
            Some(Wire::Pattern(pattern)) => {
                self.selector(context, "pattern", TargetKind::Pattern, pattern).and_then(selected)
            }
            Some(Wire::Tags(tags)) => self.tags(context, &tags.tags),
            Some(Wire::Event(_)) => None,
            None => {
                let one_of = "must be given: key, keys, whole_namespace, prefix, pattern, tags or event";
                self.take(Err(Violation::new("selector", one_of)))
            }
        }
    }

    fn keys(&mut self, context: &RequestContext, keys: &[String], namespaces: usize) -> Option<Entries> {
        let most = context.limits.keys;
        if self.take(check_count("keys.keys", keys.len(), most, "keys")).is_some() {
            self.take(check_total_keys("keys.keys", keys.len(), namespaces, most));
        }
        let mut seen = HashSet::new();
        for (index, name) in keys.iter().take(most).enumerate() {
            self.take(context.limits.key(&format!("keys.keys[{index}]"), name.as_bytes()));
        }
        Some(Entries::Keys(keys.iter().take(most).filter(|name| seen.insert(*name)).cloned().collect()))
    }

    fn tags(&mut self, context: &RequestContext, tags: &[String]) -> Option<Entries> {
        self.take(check_count("tags.tags", tags.len(), context.limits.tags, "tags"));
        let mut selectors = Vec::new();
        for (index, tag) in tags.iter().take(context.limits.tags).enumerate() {
            let selector = self.selector(context, &format!("tags.tags[{index}]"), TargetKind::Tag, tag);
            selectors.extend(selector.filter(|selector| !selectors.contains(selector)));
        }
        Some(Entries::Selected(selectors))
    }

    fn selector(&mut self, context: &RequestContext, field: &str, kind: TargetKind, text: &str) -> Option<Selector> {
        let bytes = text.as_bytes();
        let limits = &context.limits;
        self.take(match kind {
            TargetKind::Key => return None,
            TargetKind::Tag => limits.tag(field, bytes).map(|()| Selector::Tag(Bytes::copy_from_slice(bytes))),
            TargetKind::Prefix => {
                limits.prefix(field, bytes).map(|prefix| Selector::Prefix(Bytes::copy_from_slice(prefix)))
            }
            TargetKind::Pattern => limits.pattern(field, bytes).map(|pattern| {
                if pattern.is_everything() {
                    Selector::Namespace
                } else {
                    Selector::Pattern(Bytes::copy_from_slice(bytes))
                }
            }),
        })
    }

    /// Returns the invalidations that an event is mapped to, with their descriptions.
    fn event(
        &mut self,
        context: &RequestContext,
        event: &pb::Event,
        common: Common,
        token: Token,
    ) -> Result<InvalidationPlan, CacheError> {
        let (mut invalidates, mut applied) = (Vec::new(), Vec::new());
        let parameters = &event.parameters;
        if parameters.len() > events::MAX_TARGETS {
            let violation =
                Violation::too_large("event.parameters", parameters.len(), events::MAX_TARGETS, "parameters");
            return Err(violation.into());
        }
        let mapped = match context.events.rules(&event.name, parameters.keys().map(String::as_str)) {
            Ok(mapped) => mapped,
            Err(violations) => {
                self.0.append(violations);
                &[]
            }
        };
        for (name, value) in parameters {
            self.take(context.limits.key(&format!("event.parameters[{}]", quoted(name)), value.as_bytes()));
        }
        for EventRule { namespace, mark_stale, targets } in mapped {
            let Some(namespace) = self.namespace(context.namespaces.get("event", namespace))? else { continue };
            let mode = if *mark_stale { Mode::MarkStale } else { Mode::Remove };
            let (mut keys, mut selectors) = (Vec::<Removal>::new(), Vec::new());
            for (kind, template) in targets {
                let text = template.fill(*kind, |name| parameters.get(name).map_or("", String::as_str));
                if *kind == TargetKind::Key {
                    self.take(context.limits.key("event", text.as_bytes()));
                    let removal = removal(&namespace, &text, None);
                    keys.extend((!keys.iter().any(|other| other.key == removal.key)).then_some(removal));
                } else {
                    selectors.extend(self.selector(context, "event", *kind, &text));
                }
                let marked = if common.mode.unwrap_or(mode) == Mode::MarkStale { ", marked stale" } else { "" };
                applied.push(format!("{}: {kind} {text}{marked}", namespace.name()));
            }
            let parts =
                [Target::Keys(keys), Target::Selected(selectors)].into_iter().filter(|target| !target.is_empty());
            invalidates.extend(parts.map(|target| common.invalidate(namespace.clone(), target, mode)));
        }
        Ok(InvalidationPlan { invalidates, response: ResponseContext { applied, token, lists_namespaces: false } })
    }
}

fn removal(namespace: &Arc<Namespace>, key: &str, source_version: Option<u64>) -> Removal {
    Removal { key: KeyRef::new(namespace, key.as_bytes()).to_key(), source_version }
}

pub(super) fn mode(wire: i32) -> Result<Option<Mode>, Violation> {
    match pb::Mode::try_from(wire) {
        Ok(pb::Mode::Unspecified) => Ok(None),
        Ok(pb::Mode::Remove) => Ok(Some(Mode::Remove)),
        Ok(pb::Mode::MarkStale) => Ok(Some(Mode::MarkStale)),
        Err(_) => Err(Violation::new("mode", format!("must be a Mode; was {wire}"))),
    }
}

/// Checks that keys times namespaces are within the limit of keys.
fn check_total_keys(field: &str, keys: usize, namespaces: usize, most: usize) -> Result<(), Violation> {
    if namespaces <= 1 || keys.saturating_mul(namespaces) <= most {
        return Ok(());
    }
    let rule = format!("must be at most {most} keys over all namespaces; was {keys} in {namespaces} namespaces");
    Err(Violation::new(field, rule))
}
