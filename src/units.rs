//! Durations, sizes and shares as text: `250ms`, `1h30m`, `64MiB`, `1GB`, `0.001`.

use std::fmt;
use std::time::Duration;

/// 1 MiB in bytes.
pub const MIB: u64 = 1 << 20;

/// A share of a whole, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio(u32);

impl Ratio {
    const WHOLE: u32 = 1_000_000;

    /// Returns one part of `many`.
    pub const fn one_of(many: u32) -> Ratio {
        Ratio(Ratio::WHOLE / many)
    }

    /// Returns n for a share of about one in n; 0 if the share is zero.
    pub fn one_in(self) -> u64 {
        u64::from(Ratio::WHOLE.checked_div(self.0).unwrap_or(0))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / f64::from(Ratio::WHOLE))
    }
}

/// Parses a share: `0.001`. Millionths are exact, smaller ones are zero.
pub fn parse_share(text: &str) -> Result<Ratio, UnitError> {
    match text.trim().parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(Ratio((share * f64::from(Ratio::WHOLE)).round() as u32)),
        _ => Err(UnitError::NotAShare),
    }
}

/// Error of a text that is no duration, size or share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// A bare number, where each unit would mean something else.
    #[error("must have a unit, such as 250ms, 2s or 5m")]
    NoUnit,
    /// Invalid duration.
    #[error("must be a duration, such as 250ms, 2s, 5m or 1h30m")]
    NotADuration,
    /// Invalid size.
    #[error("must be a size, such as 512KiB, 64MiB, 1GB or a whole number of bytes")]
    NotASize,
    /// Invalid share.
    #[error("must be a share from 0 to 1, such as 0.001")]
    NotAShare,
    /// More bytes than 64 bits can count.
    #[error("must be a size below 16EiB")]
    TooLarge,
}

/// Parses a duration with its unit: ns, us, ms, s, m, h, d and their longer names, also in sequence
/// (`1h30m`).
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) {
        return Err(UnitError::NoUnit);
    }
    // `M` would be months, which 5M does not mean.
    if text.contains('M') {
        return Err(UnitError::NotADuration);
    }
    humantime::parse_duration(text).map_err(|_| UnitError::NotADuration)
}

/// Formats a duration so that [`parse_duration`] reads the same: `1h30m`, `2s`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    const UNITS: [(&str, u128); 7] = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    let mut rest = duration.as_nanos();
    if rest == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (unit, nanos) in UNITS {
        if rest >= nanos {
            text.push_str(&format!("{}{unit}", rest / nanos));
            rest %= nanos;
        }
    }
    text
}

/// Units of size, the larger of each kind first.
const BINARY: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
const DECIMAL: [(&str, u64); 4] = [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1_000)];

/// Parses a size in bytes: a whole number and a unit of 1024 (KiB, MiB, GiB, TiB) or of 1000 (KB,
/// MB, GB, TB), or no unit for bytes.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim_start());
    if number.is_empty() {
        return Err(UnitError::NotASize);
    }
    let factor = match unit {
        "" | "B" | "b" => 1,
        _ => {
            let known = BINARY.iter().chain(&DECIMAL).find(|(name, _)| name.eq_ignore_ascii_case(unit));
            known.ok_or(UnitError::NotASize)?.1
        }
    };
    let number: u64 = number.parse().map_err(|_| UnitError::TooLarge)?;
    number.checked_mul(factor).ok_or(UnitError::TooLarge)
}

/// Formats a size so that [`parse_size`] reads the same: the largest unit that leaves no remainder.
pub fn format_size(bytes: u64) -> String {
    let exact = |(_, factor): &&(&str, u64)| bytes != 0 && bytes.is_multiple_of(*factor);
    match BINARY.iter().find(exact).or_else(|| DECIMAL.iter().find(exact)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_are_read_and_written_the_same() {
        for (text, one_in) in [("0", 0), ("1", 1), ("0.001", 1000), ("0.5", 2), ("0.000001", 1_000_000)] {
            let share = parse_share(text).expect("a share");
            assert_eq!((share.to_string().as_str(), share.one_in()), (text, one_in));
        }
        for bad in ["", "-0.1", "1.1", "NaN", "1%", "x"] {
            assert_eq!(parse_share(bad), Err(UnitError::NotAShare), "{bad}");
        }
    }

    #[test]
    fn a_duration_is_read_with_its_unit() {
        for (text, millis) in
            [("250ms", 250), ("2s", 2000), ("5m", 300_000), ("1h30m", 5_400_000), ("30d", 2_592_000_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse_duration(" 0s "), Ok(Duration::ZERO));
    }

    #[test]
    fn a_duration_without_unit_is_refused_with_a_hint() {
        assert_eq!(parse_duration("30"), Err(UnitError::NoUnit));
        assert_eq!(parse_duration("0"), Err(UnitError::NoUnit));
        for bad in ["", "s", "-1s", "5M", "soon", "99999999999999999999s"] {
            assert_eq!(parse_duration(bad), Err(UnitError::NotADuration), "{bad}");
        }
    }

    #[test]
    fn a_size_is_read_in_units_of_1024_and_of_1000() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("7B", 7),
            ("512KiB", 512 << 10),
            ("64 MiB", 64 << 20),
            ("1GB", 1_000_000_000),
            ("2gib", 2 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "MiB", "-1", "1.5GiB", "64M", "64 mebibytes"] {
            assert_eq!(parse_size(bad), Err(UnitError::NotASize), "{bad}");
        }
        assert_eq!(parse_size("99999999TiB"), Err(UnitError::TooLarge));
        assert_eq!(parse_size("99999999999999999999"), Err(UnitError::TooLarge));
    }

    #[test]
    fn a_size_is_written_in_its_largest_exact_unit() {
        for (bytes, text) in
            [(0, "0B"), (1000, "1KB"), (1024, "1KiB"), (1500, "1500B"), (256 << 20, "256MiB"), (2_000_000, "2MB")]
        {
            assert_eq!(format_size(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(bytes: u64, seconds in 0..u64::from(u32::MAX), nanos in 0..1_000_000_000u32) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}
