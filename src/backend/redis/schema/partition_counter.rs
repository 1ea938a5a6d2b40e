//! The counter of a partition as a read found it, and which entries count by it.

use bytes::Bytes;
use fred::types::Value;

use super::invalidation_record::Record;
use super::reply::bytes;
use crate::cache::version::Version;

/// A counter as a read found it.
pub struct PartitionCounter {
    /// Position; `None` if there is no counter.
    pub position: Option<Version>,
    /// The first epoch whose entries count.
    trusted_from: u64,
    /// The invalidations by selector in the namespace.
    pub record: Record,
}

// === impl PartitionCounter ===

impl PartitionCounter {
    /// The fields of a counter that a read needs beside the one of its namespace.
    pub const FIELDS: [&str; 3] = ["e", "s", "t"];

    /// The fields of a counter that a read needs, with the one of the namespace.
    pub fn fields(invalidation: String) -> Vec<String> {
        PartitionCounter::FIELDS.iter().map(|field| (*field).to_owned()).chain([invalidation]).collect()
    }

    /// Decodes the values of [`PartitionCounter::fields`].
    pub fn read(fields: Vec<Value>) -> PartitionCounter {
        let fields: Vec<Option<Bytes>> = fields.into_iter().map(bytes).collect();
        let field = |index: usize| fields.get(index).and_then(Option::as_ref);
        let text = |index| field(index).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let number = |index| text(index).and_then(|text| text.parse::<u64>().ok());
        // A field without a number makes the counter unusable. The next audit or step deletes it.
        let number_or = |index, other| if field(index).is_some() { number(index) } else { other };
        let position = number(0).zip(number_or(1, Some(0))).and_then(|(epoch, seen)| Version::checked(epoch, seen));
        let trusted_from = number_or(2, number(0)).filter(|trusted| Version::checked(*trusted, 0u64).is_some());
        let record = Record::read(field(3));
        let is_sound = trusted_from.is_some() && record.is_some();
        PartitionCounter {
            position: position.filter(|position| is_sound && position.epoch > 0),
            trusted_from: trusted_from.unwrap_or(0),
            record: record.unwrap_or_default(),
        }
    }

    /// Returns true if the epoch of `version` counts.
    pub fn counts(&self, version: Version) -> bool {
        let known = |position: Version| (self.trusted_from..=position.epoch).contains(&version.epoch);
        self.position.is_some_and(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(fields: [Option<&str>; 3]) -> PartitionCounter {
        PartitionCounter::read(fields.map(|field| field.map_or(Value::Null, Value::from)).into())
    }

    #[test]
    fn entries_count_from_the_trusted_epoch_to_that_of_the_counter() {
        let counter = counter([Some("30"), Some("7"), Some("20")]);
        assert_eq!(counter.position, Some(Version::new(30, 7)));
        let counted = [19, 20, 29, 30, 31].map(|epoch| counter.counts(Version::new(epoch, 1)));
        assert_eq!(counted, [false, true, true, true, false]);
    }

    #[test]
    fn a_damaged_counter_has_no_position() {
        let big = (1u64 << 53).to_string();
        for (e, s, t) in [
            (&*big, "7", "20"),
            ("-5", "7", "20"),
            ("0", "7", "0"),
            ("x", "7", "20"),
            ("30", &*big, "20"),
            ("30", "-1", "20"),
            ("30", "", "20"),
            ("30", "7", "x"),
            ("30", "7", &*big),
        ] {
            assert_eq!(counter([Some(e), Some(s), Some(t)]).position, None, "{e} {s} {t}");
        }
        let record = PartitionCounter::read(vec!["30".into(), "7".into(), "20".into(), "not a record".into()]);
        assert_eq!(record.position, None, "what was invalidated is not known");
    }

    #[test]
    fn without_a_counter_nothing_counts() {
        assert!(!counter([None, None, None]).counts(Version::new(1, 1)));
    }
}
