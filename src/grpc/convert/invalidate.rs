//! Invalidate.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::{Checks, Rules, barrier, token_text};
use crate::cache::clock::Moment;
use crate::cache::coherence::token::Token;
use crate::cache::error::{CacheError, Violation};
use crate::cache::key::KeyRef;
use crate::cache::namespace::Namespace;
use crate::cache::policy::{EventRule, TargetKind, events};
use crate::cache::quoted::quoted;
use crate::cache::selector::Selector;
use crate::cache::tier::{Mode, Removal};
use crate::cache::tiered::{Barrier, Invalidate, Invalidated, Target};
use crate::pb;

/// What an Invalidate asks for.
pub struct Plan {
    /// All of it: one invalidation, or those that an event is mapped to.
    pub invalidates: Vec<Invalidate>,
    /// What an event is mapped to, in words.
    pub applied: Vec<String>,
    /// Tokens of the request.
    pub token: Token,
}

/// Checks an Invalidate.
pub fn invalidate(rules: &Rules, request: pb::InvalidateRequest, deadline: Moment) -> Result<Plan, CacheError> {
    use pb::invalidate_request::Selector as Wire;
    let mut checks = Checks::default();
    let token = checks.token(rules, &request.tokens);
    let common = Common {
        mode: checks.take(mode(request.mode)).flatten(),
        barrier: checks.take(barrier(request.barrier)).unwrap_or_default(),
        deadline,
    };
    if request.source_version.is_some() && !matches!(request.selector, Some(Wire::Key(_))) {
        checks.take::<()>(Err(Violation::new("source_version", "must be absent without key")));
    }
    if let Some(Wire::Event(event)) = &request.selector {
        if !request.namespace.is_empty() {
            let rule = format!("must be empty with event; was {}", quoted(&request.namespace));
            checks.take::<()>(Err(Violation::new("namespace", rule)));
        }
        let plan = checks.event(rules, event, common, token)?;
        return checks.done(Some(plan));
    }
    let namespace = checks.namespace(rules.namespaces.get("namespace", &request.namespace))?;
    let selected = |selector| Some(Target::Selected(vec![selector]));
    let target = match &request.selector {
        Some(Wire::Key(name)) => {
            checks.take(rules.limits.key("key", name.as_bytes()));
            namespace.as_ref().map(|namespace| Target::Keys(vec![removal(namespace, name, request.source_version)]))
        }
        Some(Wire::Keys(keys)) => checks.keys(rules, namespace.as_ref(), &keys.keys),
        Some(Wire::WholeNamespace(_)) => selected(Selector::Namespace),
        Some(Wire::Prefix(prefix)) => checks.selector(rules, "prefix", TargetKind::Prefix, prefix).and_then(selected),
        Some(Wire::Pattern(pattern)) => {
            checks.selector(rules, "pattern", TargetKind::Pattern, pattern).and_then(selected)
        }
        Some(Wire::Tags(tags)) => checks.tags(rules, &tags.tags),
        Some(Wire::Event(_)) => None,
        None => {
            let one_of = "must be given: key, keys, whole_namespace, prefix, pattern, tags or event";
            checks.take(Err(Violation::new("selector", one_of)))
        }
    };
    let invalidates =
        namespace.zip(target).map(|(namespace, target)| vec![common.invalidate(namespace, target, Mode::Remove)]);
    checks.done(invalidates.map(|invalidates| Plan { invalidates, applied: Vec::new(), token }))
}

/// The response to an Invalidate of which all parts succeeded.
pub fn invalidate_response(
    answers: Vec<Invalidated>,
    applied: Vec<String>,
    mut token: Token,
    partitions: u16,
) -> pb::InvalidateResponse {
    answers.iter().for_each(|answer| token.merge(&answer.token));
    let removed = answers.iter().map(|answer| answer.removed).sum();
    pb::InvalidateResponse { removed, token: token_text(&token, partitions), applied }
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

impl Checks {
    fn keys(&mut self, rules: &Rules, namespace: Option<&Arc<Namespace>>, keys: &[String]) -> Option<Target> {
        self.take(number("keys.keys", keys.len(), rules.limits.keys, "keys"));
        let mut seen = HashSet::new();
        let mut named = Vec::new();
        for (index, name) in keys.iter().take(rules.limits.keys).enumerate() {
            self.take(rules.limits.key(&format!("keys.keys[{index}]"), name.as_bytes()));
            if seen.insert(name) {
                named.extend(namespace.map(|namespace| removal(namespace, name, None)));
            }
        }
        Some(Target::Keys(named))
    }

    fn tags(&mut self, rules: &Rules, tags: &[String]) -> Option<Target> {
        self.take(number("tags.tags", tags.len(), rules.limits.tags, "tags"));
        let mut selectors = Vec::new();
        for (index, tag) in tags.iter().take(rules.limits.tags).enumerate() {
            let selector = self.selector(rules, &format!("tags.tags[{index}]"), TargetKind::Tag, tag);
            selectors.extend(selector.filter(|selector| !selectors.contains(selector)));
        }
        Some(Target::Selected(selectors))
    }

    fn selector(&mut self, rules: &Rules, field: &str, kind: TargetKind, text: &str) -> Option<Selector> {
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
    fn event(&mut self, rules: &Rules, event: &pb::Event, common: Common, token: Token) -> Result<Plan, CacheError> {
        let (mut invalidates, mut applied) = (Vec::new(), Vec::new());
        let parameters = &event.parameters;
        if parameters.len() > events::TARGETS {
            let violation = Violation::too_large("event.parameters", parameters.len(), events::TARGETS, "parameters");
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
        Ok(Plan { invalidates, applied, token })
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

fn number(field: &str, was: usize, limit: usize, unit: &str) -> Result<(), Violation> {
    match was {
        0 => Err(Violation::new(field, format!("must name at least one {}", unit.trim_end_matches('s')))),
        was if was > limit => Err(Violation::too_large(field, was, limit, unit)),
        _ => Ok(()),
    }
}
