//! What a read learns of a number line, and which entries count by it.

use bytes::Bytes;
use fred::types::Value;

use super::connection::bytes;
use super::record::Record;
use crate::cache::coherence::version::Version;

/// A number line as a read found it.
pub struct Line {
    /// Where it stands; none when there is no counter.
    pub position: Option<Version>,
    /// The epoch from which on entries count.
    trusted_from: u64,
    /// What was invalidated in the namespace.
    pub record: Record,
}

// === impl Line ===

impl Line {
    /// The fields of a counter to be read, with the one of the namespace.
    pub fn fields(invalidation: String) -> Vec<String> {
        vec!["e".to_owned(), "s".to_owned(), "t".to_owned(), invalidation]
    }

    /// Reads them.
    pub fn read(fields: Vec<Value>) -> Line {
        let fields: Vec<Option<Bytes>> = fields.into_iter().map(bytes).collect();
        let field = |index: usize| fields.get(index).and_then(Option::as_ref);
        let text = |index| field(index).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let number = |index| text(index).and_then(|text| text.parse::<u64>().ok());
        let position = number(0).map(|epoch| Version::new(epoch, number(1).unwrap_or(0)));
        let trusted_from = number(2).or(number(0)).unwrap_or(0);
        Line { position, trusted_from, record: Record::read(field(3)) }
    }

    /// Whether an entry of `version` is of an epoch that counts.
    pub fn counts(&self, version: Version) -> bool {
        let known = |position: Version| (self.trusted_from..=position.epoch).contains(&version.epoch);
        self.position.is_some_and(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(fields: [Option<&str>; 3]) -> Line {
        Line::read(fields.map(|field| field.map_or(Value::Null, Value::from)).into())
    }

    #[test]
    fn entries_count_from_the_trusted_epoch_to_that_of_the_counter() {
        let line = line([Some("30"), Some("7"), Some("20")]);
        assert_eq!(line.position, Some(Version::new(30, 7)));
        let counted = [19, 20, 29, 30, 31].map(|epoch| line.counts(Version::new(epoch, 1)));
        assert_eq!(counted, [false, true, true, true, false]);
    }

    #[test]
    fn without_a_counter_nothing_counts() {
        assert!(!line([None, None, None]).counts(Version::new(1, 1)));
    }
}
