//! What a read learns of a number line, and which entries count by it.

use crate::cache::coherence::version::Version;

/// A number line as a read found it.
pub struct Line {
    /// Where it stands; none when there is no counter.
    pub position: Option<Version>,
    /// The epoch from which on entries count.
    trusted_from: u64,
    /// The last invalidation of the namespace.
    dead: Version,
}

// === impl Line ===

impl Line {
    /// The fields of a counter to be read, with the one of the namespace.
    pub fn fields(invalidation: String) -> Vec<String> {
        vec!["e".to_owned(), "s".to_owned(), "t".to_owned(), invalidation]
    }

    /// Reads them.
    pub fn read(fields: &[Option<String>]) -> Line {
        let field = |index: usize| fields.get(index).and_then(Option::as_deref);
        let number = |index| field(index).and_then(|text| text.parse::<u64>().ok());
        let position = number(0).map(|epoch| Version::new(epoch, number(1).unwrap_or(0)));
        Line {
            position,
            trusted_from: number(2).or(number(0)).unwrap_or(0),
            dead: field(3).and_then(|text| text.parse().ok()).unwrap_or(Version::ZERO),
        }
    }

    /// Whether an entry of `version` counts: not if it is of an epoch that does not, or was invalidated with its namespace.
    pub fn counts(&self, version: Version) -> bool {
        let known = |position: Version| (self.trusted_from..=position.epoch).contains(&version.epoch);
        self.position.is_some_and(known) && version >= self.dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(fields: [Option<&str>; 4]) -> Line {
        Line::read(&fields.map(|field| field.map(str::to_owned)))
    }

    #[test]
    fn entries_count_from_the_trusted_epoch_to_that_of_the_counter() {
        let line = line([Some("30"), Some("7"), Some("20"), None]);
        assert_eq!(line.position, Some(Version::new(30, 7)));
        let counted = [19, 20, 29, 30, 31].map(|epoch| line.counts(Version::new(epoch, 1)));
        assert_eq!(counted, [false, true, true, true, false]);
    }

    #[test]
    fn entries_before_the_invalidation_of_their_namespace_are_dead() {
        let line = line([Some("30"), Some("9"), Some("20"), Some("30-5")]);
        assert!(!line.counts(Version::new(29, 100)) && !line.counts(Version::new(30, 4)));
        assert!(line.counts(Version::new(30, 5)), "written once, after it");
    }

    #[test]
    fn without_a_counter_nothing_counts() {
        assert!(!line([None, None, None, None]).counts(Version::new(1, 1)));
    }
}
