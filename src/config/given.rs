//! A value as some source gives it, before a setting understands it.

use super::setting::{Kind, Origin, REDACTED};

/// A value as given.
pub struct Given {
    /// The value as text.
    pub text: String,
    /// How it was written.
    pub shape: Shape,
    /// Where it came from.
    pub origin: Origin,
}

/// How a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Text, also of a flag or variable.
    Text,
    /// A number or boolean of a file.
    Bare,
    /// A list, as JSON.
    List,
    /// A section without entries.
    Section,
    /// Nothing: null in YAML, or an empty variable.
    Nothing,
}

// === impl Given ===

impl Given {
    /// Has `parse` understand the value, if it was written as its kind has to be.
    pub fn parse<T>(&self, kind: Kind, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
        match self.shape {
            Shape::List if kind == Kind::List => parse(&self.text),
            Shape::Section | Shape::Bare if kind == Kind::List => Err("must be a list".into()),
            Shape::List | Shape::Section => Err(format!("must be a single {kind}")),
            Shape::Bare if kind.is_text() => Err("must be text: put it in quotes".into()),
            _ if kind == Kind::Secret => parse(&self.text),
            _ => parse(self.text.trim()),
        }
    }

    /// The value as a problem may show it.
    pub fn shown(&self, kind: Kind) -> Option<String> {
        const LONGEST: usize = 80;
        Some(match self.shape {
            _ if kind.is_secret() => REDACTED.into(),
            Shape::List => "a list".into(),
            Shape::Section => "a section".into(),
            Shape::Bare => self.text.clone(),
            Shape::Text | Shape::Nothing => match self.text.char_indices().nth(LONGEST) {
                Some((end, _)) => format!("{:?}...", &self.text[..end]),
                None => format!("{:?}", self.text),
            },
        })
    }
}
