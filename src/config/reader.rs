//! Reads settings, one declaration at a time. Problems are collected and the default replaces an
//! invalid value, so that one pass finds every problem and describes every setting. The methods
//! that declare are in `kinds`.

use super::environment;
use super::problem::{Problem, Problems};
use super::raw_value::{RawValue, ValueShape};
use super::setting::{Origin, Setting, SettingKind};
use super::sources::{Layers, Sources};
use crate::suggest::did_you_mean;

/// Settings read so far, and their problems.
pub struct Reader {
    layers: Layers,
    settings: Vec<Setting>,
    problems: Vec<Problem>,
}

/// Fallback of a setting that is not set.
pub enum Fallback<T> {
    /// This value.
    Value(T),
    /// Value of another setting, by its path.
    Inherited(T, &'static str),
}

/// Declaration of a setting, apart from its type.
pub struct Declaration<'a> {
    /// Path.
    pub path: &'a str,
    /// Kind of value.
    pub kind: SettingKind,
    /// Valid values, as text.
    pub expects: String,
    /// Meaning of the setting.
    pub doc: &'static str,
}

impl<T> From<T> for Fallback<T> {
    fn from(value: T) -> Self {
        Fallback::Value(value)
    }
}

// === impl Reader: declarations ===

impl Reader {
    /// Starts to read `sources`.
    pub fn new(sources: &Sources) -> Self {
        let mut layers = Layers::new(sources);
        let problems = std::mem::take(&mut layers.problems);
        Reader { layers, settings: Vec::new(), problems }
    }

    /// Reads a declared setting: its value, or the fallback if there is none or it is invalid.
    pub(super) fn read<T>(
        &mut self,
        declared: Declaration<'_>,
        fallback: Fallback<T>,
        parse: impl FnOnce(&str) -> Result<T, String>,
        show: impl Fn(&T) -> Option<String>,
    ) -> T {
        let (default, (fallback, mut origin)) = (fallback.describe(&show), fallback.into_parts());
        let mut value = fallback;
        if let Some(given) = self.layers.take(declared.path) {
            match given.parse(declared.kind, parse) {
                Ok(parsed) => value = parsed,
                Err(rule) => self.problems.push(Problem {
                    path: declared.path.to_owned(),
                    rule,
                    value: given.shown(declared.kind),
                    origin: given.origin.clone(),
                }),
            }
            origin = given.origin;
        }
        self.settings.push(Setting {
            path: declared.path.to_owned(),
            kind: declared.kind,
            expects: declared.expects,
            value: show(&value),
            default,
            origin,
            variables: environment::variables(declared.path),
            doc: declared.doc,
        });
        value
    }
}

// === impl Reader: rules between settings ===

impl Reader {
    /// True if a setting was given, valid or not.
    pub fn is_given(&self, path: &str) -> bool {
        self.setting(path).is_some_and(|setting| !matches!(setting.origin, Origin::Default | Origin::Inherited(_)))
    }

    /// Returns the paths read so far that are given and lie in `section`.
    pub fn given_in(&self, section: &str) -> Vec<String> {
        let inside = |path: &&str| path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
        let paths = self.settings.iter().map(|setting| setting.path.as_str());
        paths.filter(inside).filter(|path| self.is_given(path)).map(str::to_owned).collect()
    }

    /// Records that a setting breaks a rule of its own.
    pub fn refuse(&mut self, path: &str, rule: impl Into<String>) {
        let setting = self.setting(path);
        let value = setting.and_then(|setting| setting.value.clone());
        let origin = setting.map_or(Origin::Default, |setting| setting.origin.clone());
        self.problems.push(Problem { path: path.to_owned(), rule: rule.into(), value, origin });
    }

    /// Records that a setting contradicts another, unless one of them, or the file, could not be
    /// read: then its value is unknown.
    pub fn contradict(&mut self, path: &str, other: &str, rule: &str) {
        if !self.layers.complete || self.problems.iter().any(|problem| problem.path == path || problem.path == other) {
            return;
        }
        let other = match self.setting(other) {
            Some(Setting { value: Some(value), origin, .. }) => format!("{other} is {value} ({origin})"),
            _ => format!("{other} is not set"),
        };
        self.refuse(path, format!("{rule}, and {other}"));
    }

    /// Accepts a section that holds no settings, and returns what it holds otherwise: for each the
    /// rest of its path, whether it is empty, and its origin.
    pub fn section(&mut self, path: &str) -> Vec<(String, bool, Origin)> {
        self.layers.take_section(path);
        let empty = |given: &RawValue| matches!(given.shape, ValueShape::Section | ValueShape::Nothing);
        self.layers.below(path).map(|(rest, given)| (rest.to_owned(), empty(given), given.origin.clone())).collect()
    }

    /// Records a problem of a path that is no setting.
    pub fn problem(&mut self, path: String, rule: String, origin: Origin) {
        self.problems.push(Problem { path, rule, value: None, origin });
    }

    /// Records a problem with a part of the setting `whole`.
    pub fn problem_of(&mut self, whole: &str, path: String, rule: String) {
        let origin = self.setting(whole).map_or(Origin::Default, |setting| setting.origin.clone());
        self.problem(path, rule, origin);
    }

    /// Returns the settings by path, or all problems.
    pub fn finish(mut self) -> Result<Vec<Setting>, Problems> {
        self.problems.append(&mut self.layers.problems);
        let paths = self.layers.unknown_paths().filter_map(|(path, given)| self.unknown_path(path, given));
        let variables = self.layers.unknown_variables().map(|name| self.unknown_variable(name));
        let unknown: Vec<Problem> = paths.chain(variables).collect();
        self.problems.extend(unknown);
        self.problems.sort_by(|a, b| a.path.cmp(&b.path));
        self.settings.sort_by(|a, b| a.path.cmp(&b.path));
        if self.problems.is_empty() { Ok(self.settings) } else { Err(Problems(self.problems)) }
    }

    fn setting(&self, path: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.path == path)
    }

    /// The value is not shown: it may be a secret under a wrong name.
    fn unknown_path(&self, path: &str, given: &RawValue) -> Option<Problem> {
        let known = || self.settings.iter().map(|setting| setting.path.as_str());
        let inside = known().find(|known| known.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')));
        let rule = match (inside, given.shape) {
            (Some(_), ValueShape::Section | ValueShape::Nothing) => return None,
            (Some(inside), _) => format!("must be a section, with settings such as {inside}"),
            (None, _) => format!("unknown key{}", did_you_mean(path, known())),
        };
        Some(Problem { path: path.to_owned(), rule, value: None, origin: given.origin.clone() })
    }

    fn unknown_variable(&self, name: &str) -> Problem {
        let known: Vec<String> = self.settings.iter().map(|setting| environment::variable(&setting.path)).collect();
        let rule = if name.starts_with(&environment::variable("namespaces.")) {
            "unknown variable: it can change a namespace only if the file or a flag names that namespace".into()
        } else {
            format!("unknown variable{}", did_you_mean(name, known.iter().map(String::as_str)))
        };
        Problem { path: name.to_owned(), rule, value: None, origin: Origin::Environment(name.to_owned()) }
    }
}

// === impl Fallback ===

impl<T> Fallback<T> {
    fn describe(&self, show: impl Fn(&T) -> Option<String>) -> Option<String> {
        match self {
            Fallback::Value(value) => show(value),
            Fallback::Inherited(_, path) => Some(format!("as {path}")),
        }
    }

    fn into_parts(self) -> (T, Origin) {
        match self {
            Fallback::Value(value) => (value, Origin::Default),
            Fallback::Inherited(value, path) => (value, Origin::Inherited(path)),
        }
    }
}
