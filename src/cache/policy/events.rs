//! Events: names for changes in the callers' world, mapped by configuration to invalidations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::cache::error::{Violation, Violations};
use crate::cache::quoted::{MAX_QUOTED_BYTES, quoted};
use crate::suggest::did_you_mean;

/// Most keys, tags, prefixes and patterns of an event, over all its rules.
pub const MAX_TARGETS: usize = 64;

/// The configured events, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events(pub BTreeMap<String, Vec<EventRule>>);

/// One part of the invalidation that an event causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRule {
    /// The namespace.
    pub namespace: String,
    /// True: entries are marked stale. False: they are removed.
    pub mark_stale: bool,
    /// Targets of the invalidation.
    pub targets: Vec<(TargetKind, Template)>,
}

/// Kind of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum TargetKind {
    Key,
    Tag,
    Prefix,
    Pattern,
}

/// Text with parameters: `goal:{id}`. A literal brace is written twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<TemplatePart>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplatePart {
    Text(String),
    Parameter(String),
}

// === impl Events ===

impl Events {
    /// Returns the rules of an event. `parameters` have to be exactly those that the event names.
    pub fn rules<'a>(&self, name: &str, parameters: impl Iterator<Item = &'a str>) -> Result<&[EventRule], Violations> {
        let Some(rules) = self.0.get(name) else {
            let meant = did_you_mean(name, short(self.0.keys().map(String::as_str)));
            let rule = format!("must be a configured event; was {}{meant}", quoted(name));
            return Err(Violation::new("event.name", rule).into());
        };
        let given: BTreeSet<&str> = parameters.collect();
        let named: BTreeSet<&str> =
            rules.iter().flat_map(|rule| &rule.targets).flat_map(|(_, template)| template.parameters()).collect();
        let violation = |name: &str, rule: String| Violation::new(format!("event.parameters[{}]", quoted(name)), rule);
        let missing = named.difference(&given).map(|name| violation(name, "must be given".to_owned()));
        let unknown = given.difference(&named).map(|name| {
            let meant = did_you_mean(name, short(named.iter().copied()));
            violation(name, format!("is not a parameter of this event{meant}"))
        });
        let violations: Violations = missing.chain(unknown).collect();
        if violations.is_empty() { Ok(rules) } else { Err(violations) }
    }
}

// === impl Template ===

impl Template {
    /// Parses a template.
    pub fn new(text: &str) -> Result<Template, String> {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain += before;
            if let Some(after) = brace.strip_prefix("{{").or(brace.strip_prefix("}}")) {
                plain += &brace[..1];
                rest = after;
                continue;
            }
            let inside = brace.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let Some((name, after)) = inside.filter(|(name, _)| is_name(name)) else {
                return Err("must have parameters such as {id}, and any other brace twice".into());
            };
            parts.extend([TemplatePart::Text(std::mem::take(&mut plain)), TemplatePart::Parameter(name.to_owned())]);
            rest = after;
        }
        parts.push(TemplatePart::Text(plain + rest));
        parts.retain(|part| *part != TemplatePart::Text(String::new()));
        if parts.is_empty() { Err("must not be empty".into()) } else { Ok(Template(parts)) }
    }

    /// Returns the names of its parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            TemplatePart::Parameter(name) => Some(name.as_str()),
            TemplatePart::Text(_) => None,
        })
    }

    /// Returns the text with each parameter replaced. In a pattern the value matches literally.
    pub fn fill<'a>(&self, kind: TargetKind, parameter: impl Fn(&str) -> &'a str) -> String {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                TemplatePart::Text(text) => filled += text,
                TemplatePart::Parameter(name) if kind == TargetKind::Pattern => {
                    for character in parameter(name).chars() {
                        if matches!(character, '*' | '?' | '\\') {
                            filled.push('\\');
                        }
                        filled.push(character);
                    }
                }
                TemplatePart::Parameter(name) => filled += parameter(name),
            }
        }
        filled
    }
}

/// Returns the names that an error may repeat in full.
fn short<'a>(names: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    names.filter(|name| name.len() <= MAX_QUOTED_BYTES)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TargetKind::Key => "key",
            TargetKind::Tag => "tag",
            TargetKind::Prefix => "prefix",
            TargetKind::Pattern => "pattern",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str, kind: TargetKind) -> String {
        let template = Template::new(template).expect("a template");
        template.fill(kind, |name| if name == "id" { "4*2" } else { "other" })
    }

    #[test]
    fn parameters_take_their_places() {
        assert_eq!(fill("goal:{id}", TargetKind::Key), "goal:4*2");
        assert_eq!(fill("{{{id}}}:{name_2}", TargetKind::Tag), "{4*2}:other");
        assert_eq!(fill("*:{id}", TargetKind::Pattern), "*:4\\*2", "what a caller sends is no wildcard");
    }

    #[test]
    fn a_template_with_a_stray_brace_is_refused() {
        for bad in ["", "{", "}", "a{b", "a}b", "{}", "{a b}", "{a}}", "{{a}"] {
            assert!(Template::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parameters_have_to_be_those_that_the_event_names() {
        let template = |text| Template::new(text).expect("a template");
        let targets = vec![(TargetKind::Key, template("{a}:{b}")), (TargetKind::Tag, template("{a}"))];
        let rule = EventRule { namespace: "n".into(), mark_stale: false, targets };
        let events = Events(BTreeMap::from([("happened".to_owned(), vec![rule])]));
        let fields = |name, given: &[&str]| {
            let violations = events.rules(name, given.iter().copied()).map(|_| ()).err().unwrap_or_default();
            violations.named().iter().map(|violation| violation.field.clone()).collect::<Vec<_>>()
        };
        assert_eq!(fields("happened", &["a", "b"]), [""; 0]);
        assert_eq!(fields("happened", &["b", "c"]), ["event.parameters[\"a\"]", "event.parameters[\"c\"]"]);
        assert_eq!(fields("other", &[]), ["event.name"]);
        let rules = |name, given: &[&str]| {
            let violations = events.rules(name, given.iter().copied()).expect_err("refused");
            violations.named().iter().map(|violation| violation.description.clone()).collect::<Vec<_>>()
        };
        let misspelt = r#"must be a configured event; was "hapened"; did you mean happened?"#;
        assert_eq!(rules("hapened", &[]), [misspelt]);
        assert_eq!(rules("logut", &[]), [r#"must be a configured event; was "logut""#], "nothing is near");
        assert_eq!(rules("happened", &["a", "b", "bb"]), ["is not a parameter of this event; did you mean b?"]);
    }
}
