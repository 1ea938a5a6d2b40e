//! Problems of a configuration, one line each.

use std::fmt;

use super::setting::Origin;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the setting; for an unknown environment variable its name.
    pub path: String,
    /// The broken rule: `must be from 1MiB to 1TiB`.
    pub rule: String,
    /// The value given, if it is safe and useful to show.
    pub value: Option<String>,
    /// Origin of the value.
    pub origin: Origin,
}

/// All problems, by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.escape_debug(), self.rule)?;
        if let Some(value) = &self.value {
            write!(f, "; was {value}")?;
        }
        write!(f, " ({})", self.origin)
    }
}

// === impl Problems ===

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = &self.0[..] {
            return problem.fmt(f);
        }
        write!(f, "{} problems in the configuration", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}
