//! Sizes, durations, counts and ratios as people and programs read them.

use std::time::Duration;

use serde_json::{Value, json};

/// Formats a size with a binary unit: `512 B`, `1.5 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would round to 1024.0.
    while amount >= 1023.95 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// Formats a number of bytes in full: `1 byte`, `2,048 bytes`.
pub(super) fn bytes(length: usize) -> String {
    format!("{} byte{}", count(length as u64), if length == 1 { "" } else { "s" })
}

/// Formats a duration in at most two units: `250 µs`, `1.25 ms`, `2.5 s`, `2h 3m`.
pub(super) fn duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{} ms", significant(micros as f64 / 1e3)),
        1_000_000..60_000_000 => format!("{} s", significant(micros as f64 / 1e6)),
        _ => clock(duration.as_secs()),
    }
}

/// Formats two decimals below ten, one below a hundred, none above; without trailing zeros.
fn significant(amount: f64) -> String {
    let decimals = if amount < 10.0 { 2 } else { usize::from(amount < 100.0) };
    let text = format!("{amount:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn clock(seconds: u64) -> String {
    let (large, small, units) = match seconds {
        0..3_600 => (seconds / 60, seconds % 60, ["m", "s"]),
        3_600..86_400 => (seconds / 3_600, seconds % 3_600 / 60, ["h", "m"]),
        _ => (seconds / 86_400, seconds % 86_400 / 3_600, ["d", "h"]),
    };
    match small {
        0 => format!("{large}{}", units[0]),
        _ => format!("{large}{} {small}{}", units[0], units[1]),
    }
}

/// Formats a count with its digits in groups: `1,234,567`.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats `part` of `whole` in per cent; a dash if `whole` is zero.
pub(super) fn ratio(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".to_owned(),
        _ => format!("{:.1} %", part as f64 * 100.0 / whole as f64),
    }
}

/// Formats a rate per second; a dash if no time has passed.
pub(super) fn rate(count: u64, interval: Duration) -> String {
    match interval.as_secs_f64() {
        0.0 => "-".to_owned(),
        seconds => format!("{:.1}", count as f64 / seconds),
    }
}

/// Converts a duration for the contract. It has to fit the range of 10,000 years.
pub(super) fn to_wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.as_secs() as i64, nanos: duration.subsec_nanos() as i32 }
}

/// Converts a duration of the contract. A negative one counts as zero.
pub(super) fn from_wire(duration: prost_types::Duration) -> Duration {
    Duration::try_from(duration).unwrap_or_default()
}

/// Formats a duration of the contract for people; a dash if absent.
pub(super) fn wire_duration(wire: Option<prost_types::Duration>) -> String {
    wire.map_or_else(|| "-".to_owned(), |wire| duration(from_wire(wire)))
}

/// Formats a duration of the contract for programs: seconds, or null.
pub(super) fn wire_seconds(wire: Option<prost_types::Duration>) -> Value {
    wire.map_or(Value::Null, |wire| json!(from_wire(wire).as_secs_f64()))
}

/// Formats a name of the contract: `STALE_REASON_EXPIRED` without its prefix is `expired`.
pub(super) fn name(value: &str, prefix: &str) -> String {
    value.strip_prefix(prefix).unwrap_or(value).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        let shown = [0, 1023, 1024, 1536, 1_048_575, 64 << 20, u64::MAX].map(size);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "64.0 MiB", "16.0 EiB"]);
    }

    #[test]
    fn durations_fit_their_size() {
        let shown =
            [0, 999, 1_000, 1_250, 100_000, 123_400, 2_500_000].map(|micros| duration(Duration::from_micros(micros)));
        assert_eq!(shown, ["0 µs", "999 µs", "1 ms", "1.25 ms", "100 ms", "123 ms", "2.5 s"]);
        let shown = [60, 61, 7_380, 86_400, 90_000].map(|seconds| duration(Duration::from_secs(seconds)));
        assert_eq!(shown, ["1m", "1m 1s", "2h 3m", "1d", "1d 1h"]);
    }

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_ratio_of_nothing_is_a_dash() {
        assert_eq!(ratio(1, 3), "33.3 %");
        assert_eq!(ratio(0, 0), "-");
        assert_eq!(rate(5, Duration::ZERO), "-");
        assert_eq!(rate(5, Duration::from_secs(2)), "2.5");
    }

    #[test]
    fn an_absent_duration_is_a_dash_and_null() {
        assert_eq!((wire_duration(None), wire_seconds(None)), ("-".to_owned(), Value::Null));
        let wire = Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 });
        assert_eq!((wire_duration(wire), wire_seconds(wire)), ("1.5 s".to_owned(), json!(1.5)));
    }
}
