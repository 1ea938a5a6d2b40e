//! The changes a replica has acknowledged or heard of lately. A Redis that takes over may lack the last of them: those are invalidated again.
//! A watch that resumes is told of those it has missed.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use super::message::Change;
use super::version::Version;
use crate::cache::clock::Moment;

/// How long a change is remembered: longer than a primary's replicas may lag behind.
const REMEMBERED: Duration = Duration::from_secs(30);
/// Bytes a partition remembers at most.
const BYTES: usize = 64 * 1024;

/// What a partition remembers.
#[derive(Default)]
pub(super) struct Recent {
    changes: BTreeMap<Version, Remembered>,
    bytes: usize,
    /// The latest change that is not remembered any more.
    forgotten: Version,
}

/// What is remembered of one version.
struct Remembered {
    /// All of it, as its message said it.
    heard: Option<Change>,
    /// What answers said of it: a step of many keys may be seen in parts, and what is written once has the version of another step.
    seen: Vec<Change>,
    at: Moment,
}

/// What may have been lost in a takeover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// These changes.
    Changes(Vec<Change>),
    /// More than is remembered.
    Unknown,
}

// === impl Recent ===

impl Recent {
    /// A change was acknowledged, or something of it was seen: there may be more of it.
    pub fn remember(&mut self, version: Version, change: &Change, now: Moment) {
        let change = change.bare();
        self.update(version, now, |remembered| {
            let known = |other: &Change| other.includes(&change);
            if !remembered.heard.iter().chain(&remembered.seen).any(known) {
                remembered.seen.push(change);
            }
        });
    }

    /// A message was heard.
    pub fn hear(&mut self, version: Version, change: &Change, now: Moment) {
        let change = change.bare();
        self.update(version, now, |remembered| {
            remembered.seen.retain(|seen| !change.includes(seen));
            remembered.heard.get_or_insert(change);
        });
    }

    fn update(&mut self, version: Version, now: Moment, update: impl FnOnce(&mut Remembered)) {
        if version <= self.forgotten {
            return;
        }
        let new = || Remembered { heard: None, seen: Vec::new(), at: now };
        let remembered = self.changes.entry(version).or_insert_with(new);
        let before = remembered.size();
        update(remembered);
        self.bytes = self.bytes + remembered.size() - before;
        self.forget(now);
    }

    fn forget(&mut self, now: Moment) {
        while let Some(oldest) = self.changes.first_entry() {
            if self.bytes <= BYTES && now.since(oldest.get().at) <= REMEMBERED {
                return;
            }
            let (version, remembered) = oldest.remove_entry();
            self.bytes -= remembered.size();
            self.forgotten = self.forgotten.max(version);
        }
    }

    /// What was heard after `told` up to `reached`, positions of one epoch; none when not all of it is remembered.
    pub fn heard(&self, told: Version, reached: Version) -> Option<Vec<(Version, Change)>> {
        if told >= reached {
            return Some(Vec::new());
        }
        let after = (Bound::Excluded(told), Bound::Included(reached));
        let heard = self.changes.range(after);
        let heard = heard.filter_map(|(version, remembered)| Some((*version, remembered.heard.clone()?)));
        let heard: Vec<_> = heard.collect();
        // Positions have no holes: as many as there are, all are there.
        (heard.len() as u64 == reached.sequence - told.sequence).then_some(heard)
    }

    /// What a server that stood at `prior` when it began `epoch` may lack: everything after that; and everything from before the epoch of
    /// `prior`, unless that is the last one this replica has `settled`.
    pub fn lost(&self, prior: Version, epoch: u64, settled: u64) -> Lost {
        let missed = settled < prior.epoch;
        let lacks = |version: Version| version > prior || (missed && version.epoch < prior.epoch);
        if self.forgotten > Version::ZERO && lacks(self.forgotten) {
            return Lost::Unknown;
        }
        let lost = self.changes.iter().filter(|(version, _)| version.epoch < epoch && lacks(**version));
        Lost::Changes(lost.flat_map(|(_, remembered)| remembered.all().cloned()).collect())
    }
}

impl Remembered {
    fn all(&self) -> impl Iterator<Item = &Change> {
        self.heard.iter().chain(&self.seen)
    }

    fn size(&self) -> usize {
        self.all().map(Change::size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::coherence::message::{ChangedKey, Covers, Effect};
    use crate::cache::entry::Tags;

    fn change(key: &str) -> Change {
        let key = ChangedKey { key: key.to_owned().into(), tags: Tags::default() };
        Change { namespace: "default".into(), effect: Effect::Set, covers: Covers::Keys(vec![key]) }
    }

    fn recent(versions: &[(u64, u64)]) -> Recent {
        let mut recent = Recent::default();
        for (epoch, sequence) in versions {
            recent.remember(Version::new(*epoch, *sequence), &change(&format!("{epoch}-{sequence}")), Moment(1));
        }
        recent
    }

    fn lost(keys: &[&str]) -> Lost {
        Lost::Changes(keys.iter().map(|key| change(key)).collect())
    }

    #[test]
    fn what_came_after_the_position_of_the_new_primary_is_lost() {
        let recent = recent(&[(1, 5), (1, 7), (1, 6), (2, 8)]);
        assert_eq!(recent.lost(Version::new(1, 5), 2, 1), lost(&["1-6", "1-7"]));
        assert_eq!(recent.lost(Version::new(1, 9), 2, 1), lost(&[]));
    }

    #[test]
    fn all_keys_of_a_step_are_remembered_though_one_was_seen_before_the_others() {
        let mut recent = recent(&[(1, 5)]);
        recent.remember(Version::new(1, 5), &change("another"), Moment(1));
        recent.remember(Version::new(1, 5), &change("another"), Moment(1));
        assert_eq!(recent.lost(Version::new(1, 4), 2, 1), lost(&["1-5", "another"]));
    }

    #[test]
    fn a_second_takeover_may_lose_what_the_first_had_or_what_followed_it() {
        let recent = recent(&[(1, 5), (1, 6), (2, 7), (2, 8)]);
        assert_eq!(recent.lost(Version::new(2, 7), 3, 2), lost(&["2-8"]));
        assert_eq!(recent.lost(Version::new(1, 5), 3, 2), lost(&["1-6", "2-7", "2-8"]));
    }

    #[test]
    fn a_takeover_that_was_missed_leaves_everything_before_it_in_doubt() {
        let recent = recent(&[(1, 5), (1, 6), (2, 7), (2, 8)]);
        assert_eq!(recent.lost(Version::new(2, 7), 3, 1), lost(&["1-5", "1-6", "2-8"]));
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_counts_as_lost() {
        let mut recent = Recent::default();
        for sequence in 1..=10_000 {
            recent.remember(Version::new(1, sequence), &change("some key"), Moment(1));
        }
        assert!(recent.bytes <= BYTES && recent.changes.len() < 1_000);
        assert_eq!(recent.lost(Version::new(1, 9_999), 2, 1), lost(&["some key"]));
        assert_eq!(recent.lost(Version::new(1, 10), 2, 1), Lost::Unknown);
    }

    #[test]
    fn what_was_seen_of_a_version_beside_its_message_is_lost_with_it() {
        let mut recent = Recent::default();
        let (version, other) = (Version::new(1, 5), Change { namespace: "other".into(), ..change("once") });
        recent.remember(version, &change("b"), Moment(1));
        recent.remember(version, &other, Moment(1));
        recent.remember(version, &other, Moment(1));
        let (mut all, b) = (change("a"), change("b"));
        if let (Covers::Keys(all), Covers::Keys(b)) = (&mut all.covers, b.covers) {
            all.extend(b);
        }
        recent.hear(version, &all, Moment(1));
        recent.remember(version, &change("a"), Moment(1));
        assert_eq!(recent.lost(Version::new(1, 4), 2, 1), Lost::Changes(vec![all.clone(), other.clone()]));
        assert_eq!(recent.heard(Version::new(1, 4), version), Some(vec![(version, all.clone())]));
        assert_eq!(recent.bytes, all.size() + other.size());
    }

    #[test]
    fn an_old_change_is_forgotten() {
        let mut recent = recent(&[(1, 5)]);
        recent.remember(Version::new(1, 6), &change("later"), Moment(1).plus(REMEMBERED * 2));
        assert_eq!(recent.lost(Version::new(1, 5), 2, 1), lost(&["later"]));
        assert_eq!(recent.lost(Version::new(1, 4), 2, 1), Lost::Unknown);
    }
}
