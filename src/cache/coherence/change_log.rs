//! The changes a replica has acknowledged or heard of lately. A Redis that takes over may lack the last of them: those are invalidated again.
//! A watch that resumes is told of those it has missed.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use crate::cache::clock::Moment;
use crate::cache::tier::bus::Change;
use crate::cache::version::Version;

/// Epochs of which it is remembered that they were settled, or that something of them was forgotten.
const EPOCHS: usize = 32;
/// How long a change is remembered: longer than a primary's replicas may lag behind.
const REMEMBERED: Duration = Duration::from_secs(30);
/// Bytes a partition remembers at most.
const BYTES: usize = 64 * 1024;

/// What a partition remembers.
#[derive(Default)]
pub(crate) struct ChangeLog {
    changes: BTreeMap<Version, ChangeRecord>,
    bytes: usize,
    /// The latest change of each of the last epochs that is not remembered any more.
    forgotten: BTreeMap<u64, u64>,
    /// The last epochs of which this replica has settled the takeover.
    settled: VecDeque<u64>,
    /// The latest epoch before which it had everything dropped.
    dropped: u64,
    /// Changes of an epoch that the number line does not have: another server's, or nobody's. The next takeover may lack them.
    orphans: Vec<Change>,
    /// There were more of them than have room.
    lost_orphans: bool,
    /// How many of them the takeover under way knows of.
    offered: usize,
}

/// What is remembered of one version.
struct ChangeRecord {
    /// All of it, as its message said it.
    message: Option<Change>,
    /// What answers said of it: a step of many keys may be seen in parts, and what is written once has the version of another step.
    seen: Vec<Change>,
    recorded_at: Moment,
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

impl ChangeLog {
    /// A change was acknowledged, or something of it was seen: there may be more of it.
    pub fn record_acknowledged(&mut self, version: Version, change: &Change, now: Moment) {
        let change = change.bare();
        self.update(version, now, |remembered| {
            let known = |other: &Change| other.includes(&change);
            if !remembered.message.iter().chain(&remembered.seen).any(known) {
                remembered.seen.push(change);
            }
        });
    }

    /// A message was heard.
    pub fn record_message(&mut self, version: Version, change: &Change, now: Moment) {
        let change = change.bare();
        self.update(version, now, |remembered| {
            remembered.seen.retain(|seen| !change.includes(seen));
            remembered.message.get_or_insert(change);
        });
    }

    fn update(&mut self, version: Version, now: Moment, update: impl FnOnce(&mut ChangeRecord)) {
        if self.forgotten.get(&version.epoch).is_some_and(|forgotten| version.sequence <= *forgotten) {
            return;
        }
        let new = || ChangeRecord { message: None, seen: Vec::new(), recorded_at: now };
        let remembered = self.changes.entry(version).or_insert_with(new);
        let before = remembered.size();
        update(remembered);
        self.bytes = self.bytes + remembered.size() - before;
        self.forget(now);
    }

    fn forget(&mut self, now: Moment) {
        while let Some(oldest) = self.changes.first_entry() {
            if self.bytes <= BYTES && now.since(oldest.get().recorded_at) <= REMEMBERED {
                return;
            }
            let (version, remembered) = oldest.remove_entry();
            self.bytes -= remembered.size();
            let forgotten = self.forgotten.entry(version.epoch).or_default();
            *forgotten = version.sequence.max(*forgotten);
            if self.forgotten.len() > EPOCHS {
                self.forgotten.pop_first();
            }
        }
    }

    /// What was heard after `told` up to `reached`, positions of one epoch; none when not all of it is remembered.
    pub fn messages_between(&self, told: Version, reached: Version) -> Option<Vec<(Version, Change)>> {
        if told >= reached {
            return Some(Vec::new());
        }
        let after = (Bound::Excluded(told), Bound::Included(reached));
        let heard = self.changes.range(after);
        let heard = heard.filter_map(|(version, remembered)| Some((*version, remembered.message.clone()?)));
        let heard: Vec<_> = heard.collect();
        // Positions have no holes: as many as there are, all are there.
        (heard.len() as u64 == reached.sequence - told.sequence).then_some(heard)
    }

    /// Returns the changes that a server may lack that stood at `prior` when it began `epoch`, and has entries that count since the epoch
    /// `trusted_from`: everything after `prior`; and everything from before the epoch of `prior`, unless this replica has settled that one. A life that comes back
    /// stands before epochs that this replica has settled since.
    pub fn lost(&mut self, prior: Version, epoch: u64, trusted_from: u64) -> Lost {
        let missed = !self.settled.contains(&prior.epoch);
        let lacks = |version: Version| version > prior || (missed && version.epoch < prior.epoch);
        self.offered = self.orphans.len();
        // Redis may have lost, too, that everything was dropped.
        let forgotten = |(epoch, sequence): (&u64, &u64)| lacks(Version::new(*epoch, *sequence));
        if trusted_from < self.dropped || self.lost_orphans || self.forgotten.iter().any(forgotten) {
            return Lost::Unknown;
        }
        let lost = self.changes.iter().filter(|(version, _)| version.epoch != epoch && lacks(**version));
        let lost = lost.flat_map(|(_, remembered)| remembered.all());
        Lost::Changes(lost.chain(&self.orphans).cloned().collect())
    }

    /// The number line stands in `epoch`, and what came with greater ones was not on it.
    pub fn orphan(&mut self, epoch: u64) {
        let beyond = self.changes.split_off(&Version::new(epoch + 1, 0));
        self.bytes -= beyond.values().map(ChangeRecord::size).sum::<usize>();
        self.lost_orphans |= !self.forgotten.split_off(&(epoch + 1)).is_empty();
        for change in beyond.values().flat_map(ChangeRecord::all).take_while(|_| !self.lost_orphans) {
            if !self.orphans.iter().any(|orphan| orphan == change) {
                self.orphans.push(change.clone());
            }
        }
        self.lost_orphans |= self.orphans.iter().map(Change::size).sum::<usize>() > BYTES;
        if self.lost_orphans {
            (self.orphans, self.offered) = (Vec::new(), 0);
        }
    }

    /// The takeover that began `epoch` is settled. `dropped`: what was before was not repaired but dropped.
    pub fn settle(&mut self, epoch: u64, dropped: bool) {
        if self.settled.len() == EPOCHS {
            self.settled.pop_front();
        }
        self.settled.push_back(epoch);
        if dropped {
            self.dropped = self.dropped.max(epoch);
            self.lost_orphans = false;
        }
        self.orphans.drain(..self.offered.min(self.orphans.len()));
        self.offered = 0;
    }
}

impl ChangeRecord {
    fn all(&self) -> impl Iterator<Item = &Change> {
        self.message.iter().chain(&self.seen)
    }

    fn size(&self) -> usize {
        self.all().map(Change::size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::entry::Tags;
    use crate::cache::tier::bus::{ChangedKey, Covers, Effect};

    fn change(key: &str) -> Change {
        let key = ChangedKey { key: key.to_owned().into(), tags: Tags::default() };
        Change { namespace: "default".into(), effect: Effect::Set, covers: Covers::Keys(vec![key]) }
    }

    /// Epoch 1 is settled.
    fn recent(versions: &[(u64, u64)]) -> ChangeLog {
        let mut recent = ChangeLog::default();
        recent.settle(1, false);
        for (epoch, sequence) in versions {
            recent.record_acknowledged(
                Version::new(*epoch, *sequence),
                &change(&format!("{epoch}-{sequence}")),
                Moment(1),
            );
        }
        recent
    }

    fn lost(keys: &[&str]) -> Lost {
        Lost::Changes(keys.iter().map(|key| change(key)).collect())
    }

    #[test]
    fn what_came_after_the_position_of_the_new_primary_is_lost() {
        let mut recent = recent(&[(1, 5), (1, 7), (1, 6), (2, 8)]);
        assert_eq!(recent.lost(Version::new(1, 5), 2, 1), lost(&["1-6", "1-7"]));
        assert_eq!(recent.lost(Version::new(1, 9), 2, 1), lost(&[]));
    }

    #[test]
    fn all_keys_of_a_step_are_remembered_though_one_was_seen_before_the_others() {
        let mut recent = recent(&[(1, 5)]);
        recent.record_acknowledged(Version::new(1, 5), &change("another"), Moment(1));
        recent.record_acknowledged(Version::new(1, 5), &change("another"), Moment(1));
        assert_eq!(recent.lost(Version::new(1, 4), 2, 1), lost(&["1-5", "another"]));
    }

    #[test]
    fn a_second_takeover_may_lose_what_the_first_had_or_what_followed_it() {
        let mut recent = recent(&[(1, 5), (1, 6), (2, 7), (2, 8)]);
        recent.settle(2, false);
        assert_eq!(recent.lost(Version::new(2, 7), 3, 1), lost(&["2-8"]));
        assert_eq!(recent.lost(Version::new(1, 5), 3, 1), lost(&["1-6", "2-7", "2-8"]));
    }

    #[test]
    fn a_takeover_that_was_missed_leaves_everything_before_it_in_doubt() {
        let mut recent = recent(&[(1, 5), (1, 6), (2, 7), (2, 8)]);
        assert_eq!(recent.lost(Version::new(2, 7), 3, 1), lost(&["1-5", "1-6", "2-8"]));
    }

    #[test]
    fn a_life_that_comes_back_lacks_what_was_changed_in_the_meantime() {
        let mut recent = recent(&[(3, 5), (3, 6), (5, 6), (5, 7)]);
        recent.settle(3, false);
        recent.settle(5, false);
        // It stands where it was left, or further: it went on for a moment.
        assert_eq!(recent.lost(Version::new(3, 6), 6, 1), lost(&["5-6", "5-7"]));
        assert_eq!(recent.lost(Version::new(3, 99), 6, 1), lost(&["5-6", "5-7"]));
        // A clock that is behind leads to an epoch before those: what they had is lost all the same.
        assert_eq!(recent.lost(Version::new(3, 6), 4, 1), lost(&["5-6", "5-7"]));
    }

    #[test]
    fn a_server_that_does_not_know_that_everything_was_dropped_has_to_drop_it_again() {
        let mut recent = recent(&[(1, 5)]);
        recent.settle(2, true);
        assert_eq!(recent.lost(Version::new(2, 5), 3, 1), Lost::Unknown);
        assert_eq!(recent.lost(Version::new(2, 5), 3, 2), lost(&[]));
    }

    #[test]
    fn a_change_beyond_the_line_is_lost_in_the_next_takeover_and_bars_nothing() {
        let beyond = (1 << 53) - 1;
        let mut recent = recent(&[(1, 5), (beyond, 1)]);
        recent.orphan(1);
        recent.record_acknowledged(Version::new(1, 6), &change("later"), Moment(1).plus(REMEMBERED * 2));
        assert_eq!(recent.forgotten, BTreeMap::from([(1, 5)]));
        assert_eq!(recent.lost(Version::new(1, 6), 2, 1), lost(&[&format!("{beyond}-1")]));
        // One that comes meanwhile is not settled by that.
        recent.record_acknowledged(Version::new(beyond, 2), &change("another"), Moment(1).plus(REMEMBERED * 2));
        recent.orphan(2);
        recent.settle(2, false);
        assert_eq!(recent.lost(Version::new(2, 0), 3, 1), lost(&["another"]));
        recent.settle(3, false);
        assert_eq!(recent.lost(Version::new(3, 0), 4, 1), lost(&[]));
        (0..2000).for_each(|n| recent.record_acknowledged(Version::new(beyond, n), &change(&n.to_string()), Moment(1)));
        recent.orphan(4);
        (0..2000).for_each(|n| recent.record_acknowledged(Version::new(beyond, n), &change("x"), Moment(1)));
        recent.orphan(4);
        assert_eq!(recent.lost(Version::new(4, 0), 5, 1), Lost::Unknown);
        recent.settle(5, true);
        assert_eq!(recent.lost(Version::new(5, 0), 6, 5), lost(&[]));
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_counts_as_lost() {
        let mut recent = ChangeLog::default();
        for sequence in 1..=10_000 {
            recent.record_acknowledged(Version::new(1, sequence), &change("some key"), Moment(1));
        }
        assert!(recent.bytes <= BYTES && recent.changes.len() < 1_000);
        assert_eq!(recent.lost(Version::new(1, 9_999), 2, 1), lost(&["some key"]));
        assert_eq!(recent.lost(Version::new(1, 10), 2, 1), Lost::Unknown);
    }

    #[test]
    fn what_was_seen_of_a_version_beside_its_message_is_lost_with_it() {
        let mut recent = ChangeLog::default();
        let (version, other) = (Version::new(1, 5), Change { namespace: "other".into(), ..change("once") });
        recent.record_acknowledged(version, &change("b"), Moment(1));
        recent.record_acknowledged(version, &other, Moment(1));
        recent.record_acknowledged(version, &other, Moment(1));
        let (mut all, b) = (change("a"), change("b"));
        if let (Covers::Keys(all), Covers::Keys(b)) = (&mut all.covers, b.covers) {
            all.extend(b);
        }
        recent.record_message(version, &all, Moment(1));
        recent.record_acknowledged(version, &change("a"), Moment(1));
        assert_eq!(recent.lost(Version::new(1, 4), 2, 1), Lost::Changes(vec![all.clone(), other.clone()]));
        assert_eq!(recent.messages_between(Version::new(1, 4), version), Some(vec![(version, all.clone())]));
        assert_eq!(recent.bytes, all.size() + other.size());
    }

    #[test]
    fn an_old_change_is_forgotten() {
        let mut recent = recent(&[(1, 5)]);
        recent.record_acknowledged(Version::new(1, 6), &change("later"), Moment(1).plus(REMEMBERED * 2));
        assert_eq!(recent.lost(Version::new(1, 5), 2, 1), lost(&["later"]));
        assert_eq!(recent.lost(Version::new(1, 4), 2, 1), Lost::Unknown);
    }
}
