//! Sources of values, by precedence: flags over environment over file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::environment;
use super::file;
use super::problem::Problem;
use super::raw_value::{RawValue, ValueShape};
use super::setting::Origin;

/// Sources of a configuration. `Default` is empty, so that every setting has its default.
#[derive(Clone, Default)]
pub struct Sources {
    /// File named by a flag. It overrides `TWINTIER_CONFIG`.
    pub file: Option<PathBuf>,
    /// All environment variables. Foreign ones are ignored. An empty variable counts as not set.
    pub environment: BTreeMap<String, String>,
    /// Paths and values given by flags. The last one of a path wins.
    pub overrides: Vec<(String, String)>,
}

// === impl Sources ===

impl Sources {
    /// Returns the configuration file. `None` if there is none.
    pub fn config_file(&self) -> Option<PathBuf> {
        let variable = self.environment.get(environment::CONFIG).filter(|path| !path.is_empty());
        self.file.clone().or_else(|| variable.map(PathBuf::from))
    }
}

/// Raw values, until a setting takes them.
pub(super) struct Layers {
    flags: BTreeMap<String, RawValue>,
    environment: BTreeMap<String, Variable>,
    file: BTreeMap<String, RawValue>,
    /// Problems found before any setting was read.
    pub problems: Vec<Problem>,
    /// False if the file could not be read: absent settings may be in it.
    pub complete: bool,
}

struct Variable {
    value: String,
    taken_by: Option<String>,
}

// === impl Layers ===

impl Layers {
    pub fn new(sources: &Sources) -> Self {
        let flag = |(path, text): &(String, String)| {
            let origin = Origin::Flag(format!("--set {path}"));
            (path.clone(), RawValue { text: text.clone(), shape: ValueShape::Text, origin })
        };
        let variable =
            |(name, value): (&String, &String)| (name.clone(), Variable { value: value.clone(), taken_by: None });
        let mut layers = Layers {
            flags: sources.overrides.iter().map(flag).collect(),
            environment: sources.environment.iter().map(variable).collect(),
            file: BTreeMap::new(),
            problems: Vec::new(),
            complete: true,
        };
        layers.read_file(sources);
        layers
    }

    fn read_file(&mut self, sources: &Sources) {
        let variable = sources.environment.get(environment::CONFIG).filter(|path| !path.is_empty());
        let (path, origin) = match (&sources.file, variable) {
            (Some(path), _) => (path.clone(), Origin::Flag("--config".into())),
            (None, Some(path)) => (PathBuf::from(path), Origin::Environment(environment::CONFIG.into())),
            (None, None) => return,
        };
        let leaves = file::read(&path).unwrap_or_else(|rule| {
            let value = Some(path.display().to_string());
            self.problems.push(Problem { path: "config".into(), rule, value, origin });
            self.complete = false;
            Vec::new()
        });
        for leaf in leaves {
            let origin = Origin::File(path.clone());
            let given = RawValue { text: leaf.text, shape: leaf.shape, origin: origin.clone() };
            if self.file.insert(leaf.path.clone(), given).is_some() {
                let rule = "must be given once: a dotted key and a table name the same setting".into();
                self.problems.push(Problem { path: leaf.path, rule, value: None, origin });
            }
        }
    }

    /// Takes the winning value of a path. All of its values count as known from now on.
    pub fn take(&mut self, path: &str) -> Option<RawValue> {
        let flag = self.flags.remove(path);
        let variables = environment::variables(path);
        let variables: Vec<RawValue> = variables.iter().filter_map(|name| self.take_variable(name, path)).collect();
        let file = self.file.remove(path);
        flag.into_iter().chain(variables).chain(file).find(|given| given.shape != ValueShape::Nothing)
    }

    fn take_variable(&mut self, name: &str, path: &str) -> Option<RawValue> {
        let variable = self.environment.get_mut(name)?;
        let origin = Origin::Environment(name.to_owned());
        if let Some(other) = variable.taken_by.replace(path.to_owned()) {
            let rule = format!("must name one setting, and names both {other} and {path}");
            self.problems.push(Problem { path: name.to_owned(), rule, value: None, origin });
            return None;
        }
        let shape = if variable.value.is_empty() { ValueShape::Nothing } else { ValueShape::Text };
        Some(RawValue { text: variable.value.clone(), shape, origin })
    }

    /// Returns what flags and file give below `section`: the rest of the path, and the value.
    pub fn below<'a>(&'a self, section: &'a str) -> impl Iterator<Item = (&'a str, &'a RawValue)> {
        let rest = move |path: &'a String| path.strip_prefix(section)?.strip_prefix('.');
        self.flags.iter().chain(&self.file).filter_map(move |(path, given)| Some((rest(path)?, given)))
    }

    /// Takes a section that has no entries of its own.
    pub fn take_section(&mut self, path: &str) {
        for layer in [&mut self.flags, &mut self.file] {
            if layer.get(path).is_some_and(|given| matches!(given.shape, ValueShape::Section | ValueShape::Nothing)) {
                layer.remove(path);
            }
        }
    }

    /// Returns the paths that no setting took.
    pub fn unknown_paths(&self) -> impl Iterator<Item = (&String, &RawValue)> {
        self.flags.iter().chain(&self.file)
    }

    /// Returns the service's own variables that no setting took.
    pub fn unknown_variables(&self) -> impl Iterator<Item = &String> {
        let unknown = |(name, variable): &(&String, &Variable)| {
            variable.taken_by.is_none() && environment::is_own(name, &variable.value)
        };
        self.environment.iter().filter(unknown).map(|(name, _)| name)
    }
}
