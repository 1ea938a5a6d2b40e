//! Logs on standard error: for people on a terminal, as JSON elsewhere.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The Redis client logs every step of a lost connection; what matters of it is logged here, once a change. Naming it brings its lines back.
fn filter(level: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    if level.contains("fred") { EnvFilter::try_new(level) } else { EnvFilter::try_new(format!("{level},fred=off")) }
}

/// Begins to log what `level`, a tracing filter, lets through. Once per process.
pub fn start(level: &str, format: Format) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(level)?).with_writer(stderr);
    let terminal = stderr().is_terminal();
    match format {
        Format::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
        Format::Auto if !terminal => {
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
        Format::Human | Format::Auto => {
            builder.with_ansi(terminal && std::env::var_os("NO_COLOR").is_none()).try_init()
        }
    }
}
