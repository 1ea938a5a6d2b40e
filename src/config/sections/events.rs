//! Settings of events: `events.<name>` is a list of invalidation rules.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cache::policy::events::{MAX_TARGETS, Template};
use crate::cache::policy::{EventRule, Events, Limits, TargetKind, limits};
use crate::config::reader::Reader;

const SECTION: &str = "events";
const DOC: &str = "entries that the event invalidates: rules with namespace; keys, tags, prefixes and patterns, in which {parameter} stands for what the caller sends; and mode, remove or mark_stale";
const KINDS: [(&str, TargetKind); 4] = [
    ("keys", TargetKind::Key),
    ("tags", TargetKind::Tag),
    ("prefixes", TargetKind::Prefix),
    ("patterns", TargetKind::Pattern),
];

/// Reads every event.
pub(crate) fn read(reader: &mut Reader, limits: &Limits) -> Events {
    let mut events = BTreeMap::new();
    for (name, _, origin) in reader.section(SECTION) {
        if events.contains_key(&name) {
            continue;
        }
        let path = format!("{SECTION}.{name}");
        if let Err(violation) = limits::namespace(&path, &name) {
            reader.problem(path, format!("an event {}", violation.description), origin);
            continue;
        }
        events.insert(name.clone(), read_event(reader, &name, limits));
    }
    Events(events)
}

/// Reads one event.
pub(crate) fn read_event(reader: &mut Reader, name: &str, limits: &Limits) -> Vec<EventRule> {
    let path = format!("{SECTION}.{name}");
    let mut parts = Parts { problems: Vec::new(), limits };
    let given = reader.list(&path, DOC);
    let rules: Vec<EventRule> =
        given.iter().enumerate().filter_map(|(index, rule)| parts.rule(&format!("{path}[{index}]"), rule)).collect();
    let targets: usize = rules.iter().map(|rule| rule.targets.len()).sum();
    if targets > MAX_TARGETS {
        parts.wrong(&path, format!("must have at most {MAX_TARGETS} keys, tags, prefixes and patterns; has {targets}"));
    }
    for (path, rule) in parts.problems {
        reader.problem_of(&format!("{SECTION}.{name}"), path, rule);
    }
    rules
}

/// Parser of rules, which collects the problems.
struct Parts<'a> {
    problems: Vec<(String, String)>,
    limits: &'a Limits,
}

impl Parts<'_> {
    fn wrong(&mut self, path: &str, rule: impl Into<String>) {
        self.problems.push((path.to_owned(), rule.into()));
    }

    fn refuse<T>(&mut self, path: &str, rule: impl Into<String>) -> Option<T> {
        self.wrong(path, rule);
        None
    }

    fn rule(&mut self, path: &str, rule: &Value) -> Option<EventRule> {
        let Some(rule) = rule.as_object() else {
            return self.refuse(path, "must be a rule, with namespace and keys, tags, prefixes or patterns");
        };
        for key in rule.keys().filter(|key| !["namespace", "mode"].contains(&key.as_str())) {
            if !KINDS.iter().any(|(kind, _)| kind == key) {
                self.wrong(&format!("{path}.{key}"), "unknown key");
            }
        }
        let namespace = self.namespace(&format!("{path}.namespace"), rule.get("namespace"));
        let mark_stale = self.mode(&format!("{path}.mode"), rule.get("mode"));
        let mut targets = Vec::new();
        for (field, kind) in KINDS {
            if let Some(list) = rule.get(field) {
                self.targets(&format!("{path}.{field}"), kind, list, &mut targets);
            }
        }
        if !KINDS.iter().any(|(field, _)| rule.contains_key(*field)) {
            self.wrong(path, "must have keys, tags, prefixes or patterns");
        }
        Some(EventRule { namespace: namespace?, mark_stale: mark_stale?, targets })
    }

    fn namespace(&mut self, path: &str, value: Option<&Value>) -> Option<String> {
        let Some(name) = value.and_then(Value::as_str) else {
            return self.refuse(path, "must be the name of a namespace");
        };
        match limits::namespace(path, name) {
            Ok(()) => Some(name.to_owned()),
            Err(violation) => self.refuse(path, violation.description),
        }
    }

    fn mode(&mut self, path: &str, value: Option<&Value>) -> Option<bool> {
        match value.map(Value::as_str) {
            None | Some(Some("remove")) => Some(false),
            Some(Some("mark_stale")) => Some(true),
            Some(_) => self.refuse(path, "must be one of remove, mark_stale"),
        }
    }

    fn targets(&mut self, path: &str, kind: TargetKind, list: &Value, targets: &mut Vec<(TargetKind, Template)>) {
        let Some(list) = list.as_array().filter(|list| !list.is_empty()) else {
            self.wrong(path, format!("must be a list of {kind} templates"));
            return;
        };
        for (index, text) in list.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let template = text.as_str().ok_or("must be text: put it in quotes".to_owned()).and_then(Template::new);
            let checked = template.and_then(|template| {
                // Checked with the shortest possible parameters.
                let shortest = template.fill(kind, |_| "x");
                let checked = match kind {
                    TargetKind::Key => self.limits.key(&path, shortest.as_bytes()),
                    TargetKind::Tag => self.limits.tag(&path, shortest.as_bytes()),
                    TargetKind::Prefix => self.limits.prefix(&path, shortest.as_bytes()).map(|_| ()),
                    TargetKind::Pattern => self.limits.pattern(&path, shortest.as_bytes()).map(|_| ()),
                };
                checked.map(|()| template).map_err(|violation| violation.description)
            });
            match checked {
                Ok(template) => targets.push((kind, template)),
                Err(rule) => self.wrong(&path, rule),
            }
        }
    }
}
