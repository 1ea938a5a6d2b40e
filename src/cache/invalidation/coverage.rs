//! Coverage of an entry by the last invalidations of one selector.

use bytes::Bytes;

use crate::cache::clock::Moment;
use crate::cache::version::Version;

/// Facts of an entry to be judged: written at `version`, and known to be current at `position`.
pub struct EntryFacts<'a> {
    /// The partition of the key.
    pub partition: u16,
    /// The key.
    pub key: &'a [u8],
    /// Its tags.
    pub tags: &'a [Bytes],
    /// Version of its write.
    pub version: Version,
    /// Position up to which it is known not to be invalidated.
    pub position: Version,
    /// Time at which it was known to be current at `position`.
    pub known_at: Moment,
}

/// How the log covers an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// No invalidation covers it.
    Clear,
    /// Marked stale, at this time or earlier.
    Marked(Moment),
    /// Invalidated; or possibly so, and to be fetched again.
    Gone,
}

/// Last invalidations of one selector in one partition.
#[derive(Clone, Default)]
pub(super) struct LastInvalidation {
    pub(super) removed: Version,
    pub(super) marked: Option<Box<Mark>>,
}

/// The last time that a selector marked entries stale.
#[derive(Clone)]
pub(super) struct Mark {
    pub(super) version: Version,
    pub(super) at: Moment,
    /// Version of the mark before that.
    pub(super) before: Version,
}

// === impl LastInvalidation ===

impl LastInvalidation {
    pub(super) fn latest(&self) -> Version {
        self.marked.as_ref().map_or(self.removed, |mark| mark.version.max(self.removed))
    }

    /// Records an invalidation. Returns false if it was known.
    pub(super) fn add(&mut self, version: Version, marked_at: Option<Moment>) -> bool {
        let Some(at) = marked_at else {
            let newer = version > self.removed;
            self.removed = version.max(self.removed);
            return newer;
        };
        match &mut self.marked {
            Some(mark) if version <= mark.version => {
                let between = version > mark.before && version < mark.version;
                mark.before = if between { version } else { mark.before };
                between
            }
            marked => {
                let before = marked.as_ref().map_or(Version::ZERO, |mark| mark.version);
                *marked = Some(Box::new(Mark { version, at, before }));
                true
            }
        }
    }

    pub(super) fn covers(&self, judged: &EntryFacts<'_>) -> Coverage {
        match &self.marked {
            _ if judged.version < self.removed => Coverage::Gone,
            // The time of the first mark is not known: it is not before the entry was known to be
            // current.
            Some(mark) if judged.version < mark.before => Coverage::Marked(judged.known_at.min(mark.at)),
            Some(mark) if judged.version < mark.version => Coverage::Marked(mark.at),
            _ => Coverage::Clear,
        }
    }
}

impl Coverage {
    /// Returns the stronger of both.
    pub(super) fn and(self, other: Coverage) -> Coverage {
        match (self, other) {
            (Coverage::Gone, _) | (_, Coverage::Gone) => Coverage::Gone,
            (Coverage::Marked(one), Coverage::Marked(other)) => Coverage::Marked(one.min(other)),
            (Coverage::Clear, other) => other,
            (marked, Coverage::Clear) => marked,
        }
    }
}
