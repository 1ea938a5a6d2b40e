//! Lists of grants: `auth.anonymous`, and `grants` of an identity.

use serde_json::Value;

use crate::auth::{Grant, NamePattern, Verb};
use crate::cache::policy::{Limits, limits};
use crate::config::reader::{Declaration, Reader};
use crate::config::setting::SettingKind;

const NAMESPACES: &str = "namespaces";
const KEYS: &str = "keys";
const VERBS: &str = "verbs";
/// Most grants of one identity.
const MAX_GRANTS: usize = 256;

/// Reads the grants at `path`.
pub(super) fn read(reader: &mut Reader, path: &str, doc: &'static str, limits: &Limits) -> Vec<Grant> {
    let given = read_list(reader, path, doc);
    let mut parser = Parser { problems: Vec::new(), limits };
    if given.len() > MAX_GRANTS {
        parser.wrong(path, format!("must have at most {MAX_GRANTS} grants; has {}", given.len()));
    }
    let grants: Vec<_> = given
        .iter()
        .take(MAX_GRANTS)
        .enumerate()
        .filter_map(|(index, grant)| parser.grant(&format!("{path}[{index}]"), grant))
        .collect();
    for (of_part, rule) in parser.problems {
        reader.problem_of(path, of_part, rule);
    }
    grants
}

fn read_list(reader: &mut Reader, path: &str, doc: &'static str) -> Vec<Value> {
    let expects = "a list of grants";
    let parse = |text: &str| serde_json::from_str(text).map_err(|_| format!("must be {expects}; as text, in JSON"));
    let show = |list: &Vec<Value>| (!list.is_empty()).then(|| serde_json::json!(list).to_string());
    let declaration = Declaration { path, kind: SettingKind::List, expects: expects.to_owned(), doc };
    reader.read(declaration, Vec::new().into(), parse, show)
}

/// Parser of grants, which collects the problems.
struct Parser<'a> {
    problems: Vec<(String, String)>,
    limits: &'a Limits,
}

impl Parser<'_> {
    fn wrong(&mut self, path: &str, rule: impl Into<String>) {
        self.problems.push((path.to_owned(), rule.into()));
    }

    fn grant(&mut self, path: &str, grant: &Value) -> Option<Grant> {
        let Some(fields) = grant.as_object() else {
            self.wrong(
                path,
                format!("must be a grant, with namespaces and verbs, and keys if it is limited; was {grant}"),
            );
            return None;
        };
        for key in fields.keys().filter(|key| ![NAMESPACES, KEYS, VERBS].contains(&key.as_str())) {
            self.wrong(&format!("{path}.{key}"), "unknown key: must be one of namespaces, keys, verbs");
        }
        let namespaces = self.texts(&format!("{path}.{NAMESPACES}"), fields.get(NAMESPACES), Parser::namespace);
        let verbs = self.texts(&format!("{path}.{VERBS}"), fields.get(VERBS), |_, text| {
            Verb::from_name(text).ok_or_else(|| format!("must be one of {}; was {text:?}", Verb::names()))
        });
        let keys = match fields.get(KEYS) {
            None => Some(Vec::new()),
            keys => self.texts(&format!("{path}.{KEYS}"), keys, Parser::key),
        };
        Some(Grant { rule: path.into(), namespaces: namespaces?, keys: keys?, verbs: verbs?.into_iter().collect() })
    }

    fn namespace(&self, text: &str) -> Result<NamePattern, String> {
        const RULE: &str = "must be the name of a namespace, the beginning of names and *, or *";
        let rest = text.strip_suffix('*').unwrap_or(text);
        // The beginning of a name may end with any character of names.
        let whole = if rest.len() < text.len() { format!("{rest}0") } else { rest.to_owned() };
        match limits::namespace("", &whole) {
            Ok(()) => Ok(NamePattern::parse(text)),
            Err(_) => Err(format!("{RULE}; was {text:?}")),
        }
    }

    fn key(&self, text: &str) -> Result<Box<[u8]>, String> {
        match self.limits.key("", text.as_bytes()) {
            Ok(()) => Ok(text.as_bytes().into()),
            Err(violation) => Err(violation.description),
        }
    }

    /// Parses a list of texts, which must not be empty.
    fn texts<T>(
        &mut self,
        path: &str,
        list: Option<&Value>,
        parse: impl Fn(&Self, &str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let Some(list) = list.and_then(Value::as_array).filter(|list| !list.is_empty()) else {
            let was = list.map_or("missing".to_owned(), Value::to_string);
            self.wrong(path, format!("must be a list of one text or more; was {was}"));
            return None;
        };
        let mut parsed = Vec::new();
        for (index, text) in list.iter().enumerate() {
            let checked = match text.as_str() {
                Some(text) => parse(self, text),
                None => Err(format!("must be text; was {text}")),
            };
            match checked {
                Ok(value) => parsed.push(value),
                Err(rule) => self.wrong(&format!("{path}[{index}]"), rule),
            }
        }
        (parsed.len() == list.len()).then_some(parsed)
    }
}
