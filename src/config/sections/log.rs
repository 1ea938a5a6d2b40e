//! Settings of the log: level, format, form of keys, slow requests.

use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::config::reader::Reader;

/// Level, format and form of keys in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level, or `target=level` directives separated by commas.
    pub level: String,
    /// Format of a line.
    pub format: LogFormat,
    /// Form of keys of entries.
    pub keys: LogKeys,
    /// Duration from which a request is logged; zero for none.
    pub slow_request: Duration,
}

/// Format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    Auto,
    /// Text for people.
    Human,
    /// One JSON object per line.
    Json,
}

/// Form of keys of entries in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKeys {
    /// Hash that tells keys apart and does not reveal them.
    Hashed,
    /// Plain text.
    Clear,
}

const FORMAT: [(&str, LogFormat); 3] =
    [("auto", LogFormat::Auto), ("human", LogFormat::Human), ("json", LogFormat::Json)];
const KEYS: [(&str, LogKeys); 2] = [("hashed", LogKeys::Hashed), ("clear", LogKeys::Clear)];

// === impl Log ===

impl Log {
    pub(crate) fn read(reader: &mut Reader) -> Self {
        Log {
            level: reader.text(
                "log.level",
                "info",
                FILTERS,
                is_filter,
                "log level, or directives such as info,twintier=debug",
            ),
            format: reader.choice(
                "log.format",
                LogFormat::Auto,
                &FORMAT,
                "format of a line; auto: human on a terminal, else json",
            ),
            keys: reader.choice("log.keys", LogKeys::Hashed, &KEYS, "form of keys of entries: a hash, or plain text"),
            slow_request: reader.duration(
                "log.slow_request",
                Duration::from_millis(500),
                Duration::ZERO..=Duration::from_secs(3600),
                "duration from which a request is logged, at most one line a second; 0s: none",
            ),
        }
    }
}

/// Description of what `is_filter` accepts.
pub const FILTERS: &str =
    "a level (off, error, warn, info, debug, trace), or target=level directives separated by commas";

/// A bare word has to be a level: the filter would take a misspelt level for a target, and log
/// nothing else.
pub fn is_filter(text: &str) -> bool {
    let level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let plain = |directive: &str| !directive.contains(' ') && (directive.contains('=') || level(directive));
    let spans = text.contains('[');
    (spans || text.split(',').map(str::trim).all(plain)) && EnvFilter::try_new(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_no_filter() {
        for good in ["info", "WARN", "off", "info,twintier=debug", "twintier::grpc=trace", "warn,[get{key}]=debug"] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["", "warning", "inf", "info,", "twintier=loud", "info twintier=debug"] {
            assert!(!is_filter(bad), "{bad}");
        }
    }
}
