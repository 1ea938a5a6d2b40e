//! Output of a command: made by pure functions, printed in one place.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::Value;

use super::args::OutputFormat;
use super::error::CliError;

/// Output and exit code of a command.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Output {
    /// Text for standard output.
    pub out: Vec<u8>,
    /// Text for standard error.
    pub notes: String,
    /// Exit code: 0 for yes, 1 for no.
    pub exit: u8,
}

// === impl Output ===

impl Output {
    /// Prints the output and returns the exit code.
    pub fn print(&self) -> Result<ExitCode, CliError> {
        emit(&self.out)?;
        // An error here cannot be reported: standard error is closed.
        let _ = io::stderr().write_all(self.notes.as_bytes());
        Ok(ExitCode::from(self.exit))
    }
}

impl Output {
    /// Prints the output of a command that calls no service. Reports an error as text.
    pub fn print_or_report(&self) -> ExitCode {
        self.print().unwrap_or_else(|failure| failure.report(OutputFormat::Text))
    }
}

/// Formats a JSON document, with a newline at the end.
pub(super) fn json_text(document: &Value) -> Vec<u8> {
    format!("{document:#}\n").into_bytes()
}

/// Writes to standard output and flushes it.
pub(super) fn emit(bytes: &[u8]) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(CliError::io("standard output"))
}
