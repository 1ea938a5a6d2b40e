//! Progress of a long command: one line on standard error, if that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::units;

/// Interval at which the line is drawn again.
const TICK_INTERVAL: Duration = Duration::from_millis(200);
const COUNTING: &str = "{spinner} {msg}  {elapsed}";
const MEASURING: &str = "{bar:30} {percent}%  {msg}  {elapsed}, {eta} left";

/// The progress line.
pub(super) struct ProgressLine {
    bar: ProgressBar,
    entries: u64,
}

// === impl ProgressLine ===

impl ProgressLine {
    /// Creates a line that counts entries, beside a bar if `total_bytes` is known. `is_quiet` hides
    /// it.
    pub fn new(total_bytes: Option<u64>, is_quiet: bool) -> ProgressLine {
        // Hidden if standard error is no terminal.
        let target = if is_quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(total_bytes, target);
        let template = if total_bytes.is_some() { MEASURING } else { COUNTING };
        // A template that cannot be parsed leaves the default style.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK_INTERVAL);
        ProgressLine { bar, entries: 0 }
    }

    /// Counts entries.
    pub fn add(&mut self, entries: usize) {
        self.entries += entries as u64;
        self.bar.set_message(format!("{} entries", units::count(self.entries)));
    }

    /// Sets the number of bytes that were read.
    pub fn set_bytes(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    /// Hides the line while `print` writes other output.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Drop for ProgressLine {
    /// Clears the line.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
