//! Errors of the files of TLS: setting, file and cause.

use std::fmt;
use std::path::Path;

/// A file of TLS that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {file}: {cause}")]
pub struct TlsProblem {
    /// The setting that names the file.
    pub setting: &'static str,
    /// The file.
    pub file: String,
    /// The cause.
    pub cause: String,
}

/// All problems of the files of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProblems(pub Vec<TlsProblem>);

// === impl TlsProblem ===

impl TlsProblem {
    pub(super) fn new(setting: &'static str, file: &Path, cause: impl Into<String>) -> TlsProblem {
        TlsProblem { setting, file: file.display().to_string(), cause: cause.into() }
    }
}

// === impl TlsProblems ===

impl fmt::Display for TlsProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "; " })?;
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for TlsProblems {}

impl From<TlsProblem> for TlsProblems {
    fn from(problem: TlsProblem) -> Self {
        TlsProblems(vec![problem])
    }
}
