//! Progress line of a long batch: rewritten in place on standard error, if that is a terminal.

use std::io::{self, IsTerminal as _, Write as _};

use crate::cli::units;

/// Escape sequence: start of the line, clear it.
const CLEAR: &str = "\r\x1b[K";

/// The progress line.
pub(super) struct ProgressLine {
    is_shown: bool,
    entries: u64,
}

// === impl Progress ===

impl ProgressLine {
    /// Creates a line that is empty until the first call is done.
    pub fn new() -> ProgressLine {
        ProgressLine { is_shown: io::stderr().is_terminal(), entries: 0 }
    }

    /// Counts the entries of a call.
    pub fn add(&mut self, entries: usize) {
        self.entries += entries as u64;
        self.write(&format!("{CLEAR}{} entries", units::count(self.entries)));
    }

    /// Clears the line before other output.
    pub fn clear(&self) {
        if self.entries > 0 {
            self.write(CLEAR);
        }
    }

    fn write(&self, text: &str) {
        if self.is_shown {
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}
