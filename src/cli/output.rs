//! What a command prints and how it exits, made by pure functions and printed in one place.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::Value;

use super::error::CliError;

/// What a command prints and how it exits.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Output {
    /// For standard output.
    pub out: Vec<u8>,
    /// For standard error.
    pub notes: String,
    /// 0: yes; 1: no.
    pub exit: u8,
}

// === impl Answer ===

impl Output {
    /// Prints the answer; the exit code of the program.
    pub fn print(&self) -> Result<ExitCode, CliError> {
        emit(&self.out)?;
        // Nobody can be told when standard error is gone.
        let _ = io::stderr().write_all(self.notes.as_bytes());
        Ok(ExitCode::from(self.exit))
    }
}

/// A JSON document, ended by a newline.
pub(super) fn json_text(document: &Value) -> Vec<u8> {
    format!("{document:#}\n").into_bytes()
}

/// Writes to standard output, at once.
pub(super) fn emit(bytes: &[u8]) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(CliError::io("standard output"))
}
