//! Invalidate.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::validator::{RequestContext, Validator, barrier, token_text};
use crate::cache::clock::Moment;
use crate::cache::error::{CacheError, Violation};
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::KeyRef;
use crate::cache::namespace::Namespace;
use crate::cache::policy::{EventRule, TargetKind, events, limits};
use crate::cache::quoted::quoted;
use crate::cache::tier::{Mode, Removal};
use crate::cache::tiered::{Barrier, Invalidate, Invalidated, Target};
use crate::cache::token::Token;
use crate::pb;
use crate::pb::invalidate_request::Selector as Wire;

/// What an Invalidate asks for.
pub struct InvalidationPlan {
    /// All of it: one invalidation, one for each namespace, or those that an event is mapped to.
    pub invalidates: Vec<Invalidate>,
    /// The rest of its answer, beside the number of entries removed.
    pub about: About,
}

/// The parts of an answer that the request determines.
pub struct About {
    /// What an event is mapped to, in words.
    applied: Vec<String>,
    /// Tokens of the request.
    token: Token,
    /// True if the answer lists each namespace.
    lists_namespaces: bool,
}

/// Checks an Invalidate. With `all_namespaces` it covers those known here and those `elsewhere`.
pub fn invalidate(
    rules: &RequestContext,
    request: &pb::InvalidateRequest,
    elsewhere: &BTreeSet<String>,
    deadline: Moment,
) -> Result<InvalidationPlan, CacheError> {
    let mut checks = Validator::default();
    let token = checks.token(rules, &request.tokens);
    let common = Common {
        mode: checks.take(mode(request.mode)).flatten(),
        barrier: checks.take(barrier(request.barrier)).unwrap_or_default(),
        deadline,
    };
    checks.scope(request);
    if let Some(Wire::Event(event)) = &request.selector {
        let plan = checks.event(rules, event, common, token)?;
        return checks.done(Some(plan));
    }
    let (names, one) = match names_several(request) {
        true => (checks.names(rules, request, elsewhere), None),
        false => (BTreeSet::new(), checks.namespace(rules.namespaces.get("namespace", &request.namespace))?),
    };
    let covered = checks.covered(rules, request, names.len());
    let namespaces = match one {
        Some(one) => vec![one],
        None => checks.several(rules, request.all_namespaces, &names)?,
    };
    let invalidates = covered.map(|covered| {
        let one = |namespace: &Arc<Namespace>| {
            common.invalidate(namespace.clone(), covered.target(namespace, request.source_version), Mode::Remove)
        };
        namespaces.iter().map(one).collect()
    });
    let about = About { applied: Vec::new(), token, lists_namespaces: names_several(request) };
    checks.done(invalidates.map(|invalidates| InvalidationPlan { invalidates, about }))
}

/// The response to an Invalidate of which all parts succeeded.
pub fn invalidate_response(
    answers: Vec<(Arc<Namespace>, Invalidated)>,
    about: About,
    partitions: u16,
) -> pb::InvalidateResponse {
    let About { applied, mut token, lists_namespaces } = about;
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

/// Returns true if the request is for several namespaces.
fn names_several(request: &pb::InvalidateRequest) -> bool {
    request.all_namespaces || !request.namespaces.is_empty()
}

/// The entries to invalidate, the same in each of the namespaces.
enum Covered {
    /// These keys, each named once.
    Keys(Vec<String>),
    /// Those that these select.
    Selected(Vec<Selector>),
}

impl Covered {
    fn target(&self, namespace: &Arc<Namespace>, source_version: Option<u64>) -> Target {
        match self {
            Covered::Keys(keys) => {
                Target::Keys(keys.iter().map(|key| removal(namespace, key, source_version)).collect())
            }
            Covered::Selected(selectors) => Target::Selected(selectors.clone()),
        }
    }
}

/// What all parts of an Invalidate share.
#[derive(Clone, Copy)]
struct Common {
    /// None: not said.
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
    /// The namespaces are named in one way only, and a version of the source goes with one entry only.
    fn scope(&mut self, request: &pb::InvalidateRequest) {
        let mut refuse = |field: &str, rule: String| self.0.push(Violation::new(field, rule));
        let (is_event, several) = (matches!(request.selector, Some(Wire::Event(_))), names_several(request));
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

    /// The names of several namespaces, each once.
    fn names(
        &mut self,
        rules: &RequestContext,
        request: &pb::InvalidateRequest,
        elsewhere: &BTreeSet<String>,
    ) -> BTreeSet<String> {
        if request.all_namespaces {
            let known = rules.namespaces.all().into_iter().map(|namespace| namespace.name().to_owned());
            return known.chain(elsewhere.iter().cloned()).collect();
        }
        let (names, most) = (&request.namespaces, rules.limits.namespaces);
        self.take(number("namespaces", names.len(), most, "namespaces"));
        for (index, name) in names.iter().take(most).enumerate() {
            let field = format!("namespaces[{index}]");
            self.take(match name.is_empty() {
                true => Err(Violation::new(field, "must not be empty")),
                false => limits::namespace(&field, name),
            });
        }
        names.iter().take(most).cloned().collect()
    }

    /// Several namespaces by name. Once a rule was broken it is none: what is refused makes no namespace known.
    fn several(
        &self,
        rules: &RequestContext,
        all: bool,
        names: &BTreeSet<String>,
    ) -> Result<Vec<Arc<Namespace>>, CacheError> {
        if !self.0.is_empty() {
            return Ok(Vec::new());
        }
        let found = names.iter().map(|name| match all {
            true => rules.namespaces.get_to_invalidate(name),
            false => rules.namespaces.get("namespaces", name),
        });
        found.collect()
    }

    /// The entries to invalidate in each of so many namespaces.
    fn covered(
        &mut self,
        rules: &RequestContext,
        request: &pb::InvalidateRequest,
        namespaces: usize,
    ) -> Option<Covered> {
        let selected = |selector| Some(Covered::Selected(vec![selector]));
        match &request.selector {
            Some(Wire::Key(name)) => {
                self.take(rules.limits.key("key", name.as_bytes()));
                self.take(keys_over_all("key", 1, namespaces, rules.limits.keys));
                Some(Covered::Keys(vec![name.clone()]))
            }
            Some(Wire::Keys(keys)) => self.keys(rules, &keys.keys, namespaces),
            Some(Wire::WholeNamespace(_)) => selected(Selector::Namespace),
            Some(Wire::Prefix(prefix)) => self.selector(rules, "prefix", TargetKind::Prefix, prefix).and_then(selected),
            Some(Wire::Pattern(pattern)) => {
                self.selector(rules, "pattern", TargetKind::Pattern, pattern).and_then(selected)
            }
            Some(Wire::Tags(tags)) => self.tags(rules, &tags.tags),
            Some(Wire::Event(_)) => None,
            None => {
                let one_of = "must be given: key, keys, whole_namespace, prefix, pattern, tags or event";
                self.take(Err(Violation::new("selector", one_of)))
            }
        }
    }

    fn keys(&mut self, rules: &RequestContext, keys: &[String], namespaces: usize) -> Option<Covered> {
        let most = rules.limits.keys;
        if self.take(number("keys.keys", keys.len(), most, "keys")).is_some() {
            self.take(keys_over_all("keys.keys", keys.len(), namespaces, most));
        }
        let mut seen = HashSet::new();
        for (index, name) in keys.iter().take(most).enumerate() {
            self.take(rules.limits.key(&format!("keys.keys[{index}]"), name.as_bytes()));
        }
        Some(Covered::Keys(keys.iter().take(most).filter(|name| seen.insert(*name)).cloned().collect()))
    }

    fn tags(&mut self, rules: &RequestContext, tags: &[String]) -> Option<Covered> {
        self.take(number("tags.tags", tags.len(), rules.limits.tags, "tags"));
        let mut selectors = Vec::new();
        for (index, tag) in tags.iter().take(rules.limits.tags).enumerate() {
            let selector = self.selector(rules, &format!("tags.tags[{index}]"), TargetKind::Tag, tag);
            selectors.extend(selector.filter(|selector| !selectors.contains(selector)));
        }
        Some(Covered::Selected(selectors))
    }

    fn selector(&mut self, rules: &RequestContext, field: &str, kind: TargetKind, text: &str) -> Option<Selector> {
        let bytes = text.as_bytes();
        let limits = &rules.limits;
        self.take(match kind {
            TargetKind::Key => return None,
            TargetKind::Tag => limits.tag(field, bytes).map(|()| Selector::Tag(Bytes::copy_from_slice(bytes))),
            TargetKind::Prefix => {
                limits.prefix(field, bytes).map(|prefix| Selector::Prefix(Bytes::copy_from_slice(prefix)))
            }
            TargetKind::Pattern => limits.pattern(field, bytes).map(|pattern| match pattern.is_everything() {
                true => Selector::Namespace,
                false => Selector::Pattern(Bytes::copy_from_slice(bytes)),
            }),
        })
    }

    /// What an event is mapped to, in parts and in words.
    fn event(
        &mut self,
        rules: &RequestContext,
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
        let mapped = match rules.events.rules(&event.name, parameters.keys().map(String::as_str)) {
            Ok(mapped) => mapped,
            Err(violations) => {
                self.0.append(violations);
                &[]
            }
        };
        for (name, value) in parameters {
            self.take(rules.limits.key(&format!("event.parameters[{}]", quoted(name)), value.as_bytes()));
        }
        for EventRule { namespace, mark_stale, targets } in mapped {
            let Some(namespace) = self.namespace(rules.namespaces.get("event", namespace))? else { continue };
            let mode = if *mark_stale { Mode::MarkStale } else { Mode::Remove };
            let (mut keys, mut selectors) = (Vec::<Removal>::new(), Vec::new());
            for (kind, template) in targets {
                let text = template.fill(*kind, |name| parameters.get(name).map_or("", String::as_str));
                if *kind == TargetKind::Key {
                    self.take(rules.limits.key("event", text.as_bytes()));
                    let removal = removal(&namespace, &text, None);
                    keys.extend((!keys.iter().any(|other| other.key == removal.key)).then_some(removal));
                } else {
                    selectors.extend(self.selector(rules, "event", *kind, &text));
                }
                let marked = if common.mode.unwrap_or(mode) == Mode::MarkStale { ", marked stale" } else { "" };
                applied.push(format!("{}: {kind} {text}{marked}", namespace.name()));
            }
            let parts =
                [Target::Keys(keys), Target::Selected(selectors)].into_iter().filter(|target| !target.is_empty());
            invalidates.extend(parts.map(|target| common.invalidate(namespace.clone(), target, mode)));
        }
        Ok(InvalidationPlan { invalidates, about: About { applied, token, lists_namespaces: false } })
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

/// Keys times namespaces are limited as keys of one namespace are.
fn keys_over_all(field: &str, keys: usize, namespaces: usize, most: usize) -> Result<(), Violation> {
    if namespaces <= 1 || keys.saturating_mul(namespaces) <= most {
        return Ok(());
    }
    let rule = format!("must be at most {most} keys over all namespaces; was {keys} in {namespaces} namespaces");
    Err(Violation::new(field, rule))
}

fn number(field: &str, was: usize, limit: usize, unit: &str) -> Result<(), Violation> {
    match was {
        0 => Err(Violation::new(field, format!("must name at least one {}", unit.trim_end_matches('s')))),
        was if was > limit => Err(Violation::too_large(field, was, limit, unit)),
        _ => Ok(()),
    }
}
