//! The invalidations by selector of one namespace, as a counter keeps them.
//!
//! `lua/selector_invalidations.lua` describes and writes the layout.

use bytes::Bytes;

use super::codec::ByteReader;
use crate::cache::invalidation::selector::Pattern;
use crate::cache::tier::inspect::InvalidationCause;
use crate::cache::version::Version;

/// The record of one namespace in one partition.
#[derive(Clone, Debug, Default)]
pub struct Record {
    whole: SelectorRecord,
    /// Position of the last invalidation of a prefix or a tag.
    latest: Version,
    floor: Version,
    /// The active patterns.
    pub listed: ActivePatterns,
}

/// The last invalidations by one selector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelectorRecord {
    /// Position of the last removal.
    pub removed: Version,
    /// Position of the last marking.
    pub marked: Version,
    /// Time of the last marking, by Redis's clock, microseconds.
    pub since: u64,
    /// Position of the marking before the last.
    pub before: Version,
}

/// The active patterns of a namespace.
#[derive(Clone, Debug, Default)]
pub struct ActivePatterns {
    /// Version of this list.
    pub number: Version,
    /// The patterns.
    pub patterns: Vec<ListedPattern>,
}

/// An active pattern.
#[derive(Clone, Debug)]
pub struct ListedPattern {
    /// Its text.
    pub text: Box<[u8]>,
    /// Its matcher.
    pub pattern: Pattern,
    /// Its last invalidations.
    pub record: SelectorRecord,
}

/// The effect of a record on an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordCoverage {
    /// True if the entry is invalidated.
    pub gone: bool,
    /// Time since which it is marked stale, by Redis's clock, microseconds; 0: not marked.
    pub marked_micros: u64,
    /// True if prefixes and tags have to be looked up, too.
    pub needs_lookup: bool,
}

// === impl Record ===

impl Record {
    /// Reads the record in a counter. `None` if it is damaged: then the invalidations are unknown.
    pub fn read(bytes: Option<&Bytes>) -> Option<Record> {
        bytes.filter(|bytes| !bytes.is_empty()).map_or(Some(Record::default()), Record::decode)
    }

    fn decode(bytes: &Bytes) -> Option<Record> {
        let mut reader = ByteReader(bytes);
        let whole = SelectorRecord::decode(&mut reader)?;
        let (latest, floor) = (reader.version()?, reader.version()?);
        // Only scripts compare the births of the hashes.
        reader.take(32)?;
        let number = reader.version()?;
        reader.take(16)?;
        Some(Record {
            whole,
            latest,
            floor,
            listed: ActivePatterns { number, patterns: ActivePatterns::decode(reader)? },
        })
    }

    /// Returns the effect on an entry of `key` that was written at `version`, at `written_micros`
    /// of Redis's clock.
    pub fn covers(&self, key: &[u8], version: Version, written_micros: u64) -> RecordCoverage {
        let matching = self.listed.matching(key);
        let records = [self.whole].into_iter().chain(matching);
        let covers = records.map(|record| record.covers(version, written_micros));
        let (gone, marked_micros) = covers.fold((version < self.floor, 0), |(gone, marked), (removed, since)| {
            (gone || removed, earlier(marked, since))
        });
        RecordCoverage { gone, marked_micros, needs_lookup: !gone && version < self.latest }
    }
}

impl Record {
    /// Returns the selector that invalidated an entry. `None` if it was a prefix or a tag.
    pub fn cause(&self, key: &[u8], version: Version, written_micros: u64) -> Option<InvalidationCause> {
        let covers = |record: SelectorRecord| record.covers(version, written_micros) != (false, 0);
        let matching = || self.listed.patterns.iter().filter(|listed| listed.pattern.matches(key));
        match matching().find(|listed| covers(listed.record)) {
            _ if covers(self.whole) => Some(InvalidationCause::Namespace),
            Some(listed) => Some(InvalidationCause::Pattern(Bytes::copy_from_slice(&listed.text))),
            None => (version < self.floor).then_some(InvalidationCause::Unknown),
        }
    }
}

/// Returns the earlier of two times; 0 is no time.
pub fn earlier(one: u64, other: u64) -> u64 {
    [one, other].into_iter().filter(|time| *time > 0).min().unwrap_or(0)
}

// === impl ActivePatterns ===

impl ActivePatterns {
    /// Reads the version of a list, and the list.
    pub fn read(bytes: &Bytes) -> Option<ActivePatterns> {
        let mut reader = ByteReader(bytes);
        let number = reader.version()?;
        Some(ActivePatterns { number, patterns: ActivePatterns::decode(reader)? })
    }

    fn decode(mut reader: ByteReader<'_>) -> Option<Vec<ListedPattern>> {
        let mut patterns = Vec::new();
        while !reader.0.is_empty() {
            let record = SelectorRecord::decode(&mut reader)?;
            let length = usize::from(reader.u16()?);
            let text = reader.take(length)?;
            // An invalid pattern is damaged. Matching all keys is safe: it invalidates too much,
            // never too little.
            let pattern = Pattern::new(text).or_else(|_| Pattern::new(b"*")).ok()?;
            patterns.push(ListedPattern { text: text.into(), pattern, record });
        }
        Some(patterns)
    }

    /// Returns true if one of the patterns matches.
    pub fn matches(&self, key: &[u8]) -> bool {
        self.matching(key).next().is_some()
    }

    fn matching<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = SelectorRecord> + 'a {
        self.patterns.iter().filter(|listed| listed.pattern.matches(key)).map(|listed| listed.record)
    }

    /// Encodes for scripts which of `keys` match; a key may be `None`.
    pub fn knowledge<'a>(&self, keys: impl Iterator<Item = Option<&'a [u8]>>) -> Vec<u8> {
        let mut known = self.number.epoch.to_be_bytes().to_vec();
        known.extend(self.number.sequence.to_be_bytes());
        for key in keys {
            match key.and_then(|key| self.matching(key).reduce(SelectorRecord::both)) {
                Some(record) => {
                    known.push(1);
                    record.encode(&mut known);
                }
                None => known.push(0),
            }
        }
        known
    }
}

// === impl SelectorRecord ===

impl SelectorRecord {
    fn decode(reader: &mut ByteReader<'_>) -> Option<SelectorRecord> {
        Some(SelectorRecord {
            removed: reader.version()?,
            marked: reader.version()?,
            since: reader.u64()?,
            before: reader.version()?,
        })
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        for version in [self.removed, self.marked] {
            bytes.extend(version.epoch.to_be_bytes());
            bytes.extend(version.sequence.to_be_bytes());
        }
        bytes.extend(self.since.to_be_bytes());
        bytes.extend(self.before.epoch.to_be_bytes());
        bytes.extend(self.before.sequence.to_be_bytes());
    }

    fn covers(self, version: Version, written_micros: u64) -> (bool, u64) {
        let marked = match () {
            // The first marking is forgotten: it was not before the entry was written.
            () if version < self.before => self.since.min(written_micros),
            () if version < self.marked => self.since,
            () => 0,
        };
        (version < self.removed, marked)
    }

    /// Merges two records. The result covers at least the same entries, maybe less precisely.
    fn both(self, other: SelectorRecord) -> SelectorRecord {
        let (last, first) = if self.marked > other.marked { (self, other) } else { (other, self) };
        let before = last.before.max(first.marked);
        SelectorRecord { removed: self.removed.max(other.removed), marked: last.marked, since: last.since, before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Version = |sequence| Version::new(7, sequence);

    fn listed(patterns: &[(&str, SelectorRecord)]) -> ActivePatterns {
        let pattern = |(text, record): &(&str, SelectorRecord)| ListedPattern {
            text: text.as_bytes().into(),
            pattern: Pattern::new(text.as_bytes()).expect("a pattern"),
            record: *record,
        };
        ActivePatterns { number: AT(1), patterns: patterns.iter().map(pattern).collect() }
    }

    #[test]
    fn a_record_that_is_missing_says_nothing_and_a_damaged_one_is_none() {
        let covers = Record::read(None).expect("no record is one").covers(b"k", AT(1), 5);
        assert_eq!(covers, RecordCoverage { gone: false, marked_micros: 0, needs_lookup: false });
        for bytes in [Bytes::from_static(b"7-3"), Bytes::from(vec![0xff; 200])] {
            assert!(Record::read(Some(&bytes)).is_none());
        }
    }

    #[test]
    fn what_was_written_at_a_position_is_not_before_it() {
        let removed = SelectorRecord { removed: AT(5), ..SelectorRecord::default() };
        let record = Record { whole: removed, latest: AT(9), floor: AT(3), ..Record::default() };
        let gone = |sequence| record.covers(b"k", AT(sequence), 5).gone;
        assert_eq!([2, 4, 5].map(gone), [true, true, false]);
        let asks = |sequence| record.covers(b"k", AT(sequence), 5).needs_lookup;
        assert_eq!([4, 5, 8, 9].map(asks), [false, true, true, false]);
    }

    #[test]
    fn an_entry_is_marked_since_the_first_time_or_since_it_was_written() {
        let marked = SelectorRecord { marked: AT(9), since: 900, before: AT(5), ..SelectorRecord::default() };
        let since = |sequence: u64| marked.covers(AT(sequence), sequence * 100).1;
        assert_eq!([3, 5, 8, 9].map(since), [300, 900, 900, 0]);
    }

    #[test]
    fn merged_records_are_never_milder_than_apart() {
        let one = SelectorRecord { removed: AT(2), marked: AT(9), since: 900, before: AT(5) };
        let other = SelectorRecord { removed: AT(3), marked: AT(7), since: 700, before: AT(1) };
        for sequence in 0..10 {
            let apart = [one, other].map(|record| record.covers(AT(sequence), sequence * 100));
            let (gone, since) = one.both(other).covers(AT(sequence), sequence * 100);
            assert_eq!(gone, apart[0].0 || apart[1].0, "{sequence}");
            let earliest = earlier(apart[0].1, apart[1].1);
            assert!((earliest == 0) == (since == 0) && since <= earliest, "{sequence}: {since} {earliest}");
        }
    }

    #[test]
    fn the_knowledge_of_a_list_names_what_matches_each_key() {
        let record = SelectorRecord { removed: AT(5), ..SelectorRecord::default() };
        let known = listed(&[("a*", record)]).knowledge([Some(&b"ab"[..]), None, Some(b"b")].into_iter());
        assert_eq!(known.len(), 16 + 57 + 1 + 1);
        assert_eq!((known[16], known[73], known[74]), (1, 0, 0));
    }
}
