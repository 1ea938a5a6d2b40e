//! Versions: positions on the number line of a partition.

use std::fmt;
use std::str::FromStr;

/// Upper bound of both numbers: 2^53, up to which Lua's doubles are exact.
const LIMIT: u64 = 1 << 53;

/// A position on the number line of a partition: of an entry, an invalidation, a token. Always
/// compared whole.
///
/// A new epoch begins when the counter was lost or another server took over; it is greater than the
/// one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Start of the epoch, microseconds of Redis's clock. Never 0 for a real position.
    pub epoch: u64,
    /// Number in the epoch.
    pub sequence: u64,
}

impl Version {
    /// Before everything.
    pub const ZERO: Version = Version { epoch: 0, sequence: 0 };

    /// The last sequence that an epoch can have.
    pub const LAST_SEQUENCE: u64 = LIMIT - 1;

    /// Creates the position `sequence` in `epoch`.
    pub fn new(epoch: u64, sequence: u64) -> Self {
        Version { epoch, sequence }
    }

    /// Creates a position from numbers of another origin. `None` if one of them is negative or at
    /// least 2^53: Lua's doubles do not hold those exactly, so no script created it.
    pub fn checked(epoch: impl TryInto<u64>, sequence: impl TryInto<u64>) -> Option<Version> {
        let number = |number: Option<u64>| number.filter(|number| *number < LIMIT);
        Some(Version { epoch: number(epoch.try_into().ok())?, sequence: number(sequence.try_into().ok())? })
    }

    /// Calls `write` with the parts of the text.
    pub fn spell(self, mut write: impl FnMut(&str)) {
        write(itoa::Buffer::new().format(self.epoch));
        write("-");
        write(itoa::Buffer::new().format(self.sequence));
    }

    /// Returns the position after this one.
    pub fn next(self) -> Self {
        Version { sequence: self.sequence + 1, ..self }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

/// Error of a text that is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a version as a response gave it")]
pub struct NotAVersion;

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let (epoch, sequence) = text.split_once('-').ok_or(NotAVersion)?;
        Ok(Version { epoch: number(epoch)?, sequence: number(sequence)? })
    }
}

/// Parses a decimal number in its one canonical spelling, within the exact range of Lua's doubles.
pub(crate) fn number(text: &str) -> Result<u64, NotAVersion> {
    let digits = text.bytes().all(|c| c.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    let value = text.parse().map_err(|_| NotAVersion)?;
    if digits && canonical && value < LIMIT { Ok(value) } else { Err(NotAVersion) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_epoch_is_newer_whatever_the_sequence() {
        assert!(Version::new(2, 1) > Version::new(1, 100));
        assert!(Version::new(2, 2) > Version::new(2, 1));
    }

    #[test]
    fn numbers_beyond_what_scripts_count_by_are_refused() {
        let last = (1u64 << 53) - 1;
        assert_eq!(Version::checked(last, 0), Some(Version::new(last, 0)));
        for (epoch, sequence) in [(1i64 << 53, 0i64), (0, 1 << 53), (i64::MAX, 1), (-5, 1), (1, -1)] {
            assert_eq!(Version::checked(epoch, sequence), None, "{epoch}-{sequence}");
            assert!(format!("{epoch}-{sequence}").parse::<Version>().is_err(), "{epoch}-{sequence}");
        }
    }

    #[test]
    fn text_round_trips_and_has_one_spelling() {
        let version = Version::new(1_763_000_000_000_000, 42);
        assert_eq!(version.to_string().parse(), Ok(version));
        for bad in ["", "1", "-", "1-", "01-2", "+1-2", "1-2-3", "99999999999999999999-1", "1- 2"] {
            assert_eq!(bad.parse::<Version>(), Err(NotAVersion), "{bad}");
        }
    }
}
