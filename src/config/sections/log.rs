//! Settings of the log: level, format, form of keys, slow requests.

use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::cache::key_form::KeyForm;
use crate::config::reader::Reader;
use crate::telemetry::logs::{Format, LogConfig};

const FORMAT: [(&str, Format); 3] = [("auto", Format::Auto), ("human", Format::Human), ("json", Format::Json)];
/// Forms of keys by name.
pub(super) const KEY_FORMS: [(&str, KeyForm); 2] = [("hashed", KeyForm::Hashed), ("clear", KeyForm::Clear)];

/// Reads level and format.
pub(crate) fn read(reader: &mut Reader) -> LogConfig {
    LogConfig {
        level: reader.text(
            "log.level",
            "info",
            FILTERS,
            is_filter,
            "log level, or directives such as info,twintier=debug",
        ),
        format: reader.choice(
            "log.format",
            Format::Auto,
            &FORMAT,
            "format of a line; auto: human on a terminal, else json",
        ),
    }
}

/// Reads the form of keys in the log.
pub(super) fn key_form(reader: &mut Reader) -> KeyForm {
    reader.choice("log.keys", KeyForm::Hashed, &KEY_FORMS, "form of keys of entries: a hash, or plain text")
}

/// Reads the duration from which a request is logged; `None` for no request.
pub(super) fn slow_request(reader: &mut Reader) -> Option<Duration> {
    let slow = reader.duration(
        "log.slow_request",
        Duration::from_millis(500),
        Duration::ZERO..=Duration::from_secs(3600),
        "duration from which a request is logged, at most one line a second; 0s: none",
    );
    (!slow.is_zero()).then_some(slow)
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
