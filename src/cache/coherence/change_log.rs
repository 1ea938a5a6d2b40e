//! Log of the changes that a replica has recently acknowledged or received.
//!
//! A primary after a failover may lack the last of them: those are invalidated again. A watch that
//! resumes receives those that it has missed.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use crate::cache::clock::Moment;
use crate::cache::tier::bus::Change;
use crate::cache::version::Version;

/// Most epochs remembered as settled, and most epochs with forgotten changes.
const MAX_EPOCHS: usize = 32;
/// Time for which a change is remembered: longer than the lag of a primary's replicas.
const RETENTION: Duration = Duration::from_secs(30);
/// Most bytes of changes in the log of one partition.
const MAX_BYTES: usize = 64 * 1024;

/// The log of one partition.
#[derive(Default)]
pub(crate) struct ChangeLog {
    changes: BTreeMap<Version, ChangeRecord>,
    bytes: usize,
    /// The latest forgotten change of each of the last epochs.
    forgotten: BTreeMap<u64, u64>,
    /// The last epochs whose failover this replica has settled.
    settled: VecDeque<u64>,
    /// The latest epoch before which this replica had everything dropped.
    dropped: u64,
    /// Changes of an epoch that the counter does not have: of another server, or foreign. The next
    /// failover may lack them.
    orphans: Vec<Change>,
    /// True if there were more orphans than have room.
    lost_orphans: bool,
    /// Number of orphans that the pending failover includes.
    offered: usize,
}

/// The changes of one version.
struct ChangeRecord {
    /// The whole change, as its message described it.
    message: Option<Change>,
    /// Changes that replies described: a step of many keys may be seen in parts, and a write of one
    /// key has the version of another step.
    seen: Vec<Change>,
    recorded_at: Moment,
}

/// The changes that a failover may have lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// These changes.
    Changes(Vec<Change>),
    /// More changes than are remembered.
    Unknown,
}

// === impl ChangeLog ===

impl ChangeLog {
    /// Records a change that was acknowledged, or seen in part: there may be more of it.
    pub fn record_acknowledged(&mut self, version: Version, change: &Change, now: Moment) {
        self.update(version, now, |record| {
            // The message of an own write is usually here first.
            let known = |other: &Change| other.includes(change);
            if !record.message.iter().chain(&record.seen).any(known) {
                record.seen.push(change.bare());
            }
        });
    }

    /// Records the change of a received message.
    pub fn record_message(&mut self, version: Version, change: &Change, now: Moment) {
        let change = change.bare();
        self.update(version, now, |record| {
            record.seen.retain(|seen| !change.includes(seen));
            record.message.get_or_insert(change);
        });
    }

    fn update(&mut self, version: Version, now: Moment, update: impl FnOnce(&mut ChangeRecord)) {
        if self.forgotten.get(&version.epoch).is_some_and(|forgotten| version.sequence <= *forgotten) {
            return;
        }
        let new = || ChangeRecord { message: None, seen: Vec::new(), recorded_at: now };
        let record = self.changes.entry(version).or_insert_with(new);
        let before = record.size();
        update(record);
        self.bytes = self.bytes + record.size() - before;
        self.forget(now);
    }

    fn forget(&mut self, now: Moment) {
        while let Some(oldest) = self.changes.first_entry() {
            if self.bytes <= MAX_BYTES && now.since(oldest.get().recorded_at) <= RETENTION {
                return;
            }
            let (version, record) = oldest.remove_entry();
            self.bytes -= record.size();
            let forgotten = self.forgotten.entry(version.epoch).or_default();
            *forgotten = version.sequence.max(*forgotten);
            if self.forgotten.len() > MAX_EPOCHS {
                self.forgotten.pop_first();
            }
        }
    }

    /// Returns the changes received after position `after` up to `up_to`, both of one epoch.
    ///
    /// `None` if not all of them are remembered.
    pub fn messages_between(&self, after: Version, up_to: Version) -> Option<Vec<(Version, Change)>> {
        if after >= up_to {
            return Some(Vec::new());
        }
        let range = (Bound::Excluded(after), Bound::Included(up_to));
        let received = self.changes.range(range);
        let received = received.filter_map(|(version, record)| Some((*version, record.message.clone()?)));
        let received: Vec<_> = received.collect();
        // Sequences have no holes: if the number is right, all are there.
        (received.len() as u64 == up_to.sequence - after.sequence).then_some(received)
    }

    /// Returns the changes that a server may lack.
    ///
    /// The server stood at `prior` when it began `epoch`, and its entries count since the epoch
    /// `trusted_from`. It may lack everything after `prior`. It may also lack everything from
    /// before the epoch of `prior`, unless this replica has settled that epoch. A life that comes
    /// back stands before epochs that this replica has settled since.
    pub fn lost(&mut self, prior: Version, epoch: u64, trusted_from: u64) -> Lost {
        let missed = !self.settled.contains(&prior.epoch);
        let lacks = |version: Version| version > prior || (missed && version.epoch < prior.epoch);
        self.offered = self.orphans.len();
        // Redis may also have lost the fact that everything was dropped.
        let forgotten = |(epoch, sequence): (&u64, &u64)| lacks(Version::new(*epoch, *sequence));
        if trusted_from < self.dropped || self.lost_orphans || self.forgotten.iter().any(forgotten) {
            return Lost::Unknown;
        }
        let lost = self.changes.iter().filter(|(version, _)| version.epoch != epoch && lacks(**version));
        let lost = lost.flat_map(|(_, record)| record.all());
        Lost::Changes(lost.chain(&self.orphans).cloned().collect())
    }

    /// Moves the changes of epochs above `epoch` to the orphans: the counter stands in `epoch` and
    /// never had them.
    pub fn orphan(&mut self, epoch: u64) {
        let beyond = self.changes.split_off(&Version::new(epoch + 1, 0));
        self.bytes -= beyond.values().map(ChangeRecord::size).sum::<usize>();
        self.lost_orphans |= !self.forgotten.split_off(&(epoch + 1)).is_empty();
        for change in beyond.values().flat_map(ChangeRecord::all).take_while(|_| !self.lost_orphans) {
            if !self.orphans.iter().any(|orphan| orphan == change) {
                self.orphans.push(change.clone());
            }
        }
        self.lost_orphans |= self.orphans.iter().map(Change::size).sum::<usize>() > MAX_BYTES;
        if self.lost_orphans {
            (self.orphans, self.offered) = (Vec::new(), 0);
        }
    }

    /// Marks the failover that began `epoch` as settled.
    ///
    /// `dropped` is true if everything from before was dropped instead of repaired.
    pub fn settle(&mut self, epoch: u64, dropped: bool) {
        if self.settled.len() == MAX_EPOCHS {
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

    /// Returns a log in which epoch 1 is settled.
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
    fn changes_after_the_position_of_the_new_primary_are_lost() {
        let mut recent = recent(&[(1, 5), (1, 7), (1, 6), (2, 8)]);
        assert_eq!(recent.lost(Version::new(1, 5), 2, 1), lost(&["1-6", "1-7"]));
        assert_eq!(recent.lost(Version::new(1, 9), 2, 1), lost(&[]));
    }

    #[test]
    fn all_keys_of_a_step_are_remembered_when_seen_one_by_one() {
        let mut recent = recent(&[(1, 5)]);
        recent.record_acknowledged(Version::new(1, 5), &change("another"), Moment(1));
        recent.record_acknowledged(Version::new(1, 5), &change("another"), Moment(1));
        assert_eq!(recent.lost(Version::new(1, 4), 2, 1), lost(&["1-5", "another"]));
    }

    #[test]
    fn a_second_failover_may_lose_changes_of_the_first_or_later_ones() {
        let mut recent = recent(&[(1, 5), (1, 6), (2, 7), (2, 8)]);
        recent.settle(2, false);
        assert_eq!(recent.lost(Version::new(2, 7), 3, 1), lost(&["2-8"]));
        assert_eq!(recent.lost(Version::new(1, 5), 3, 1), lost(&["1-6", "2-7", "2-8"]));
    }

    #[test]
    fn a_missed_failover_may_have_lost_everything_before_it() {
        let mut recent = recent(&[(1, 5), (1, 6), (2, 7), (2, 8)]);
        assert_eq!(recent.lost(Version::new(2, 7), 3, 1), lost(&["1-5", "1-6", "2-8"]));
    }

    #[test]
    fn a_life_that_comes_back_lacks_what_was_changed_in_the_meantime() {
        let mut recent = recent(&[(3, 5), (3, 6), (5, 6), (5, 7)]);
        recent.settle(3, false);
        recent.settle(5, false);
        // It stands where it stopped, or further: it continued for a moment.
        assert_eq!(recent.lost(Version::new(3, 6), 6, 1), lost(&["5-6", "5-7"]));
        assert_eq!(recent.lost(Version::new(3, 99), 6, 1), lost(&["5-6", "5-7"]));
        // A clock that is behind leads to an earlier epoch: the changes of the later ones are lost
        // all the same.
        assert_eq!(recent.lost(Version::new(3, 6), 4, 1), lost(&["5-6", "5-7"]));
    }

    #[test]
    fn a_server_that_lost_a_drop_has_to_drop_everything_again() {
        let mut recent = recent(&[(1, 5)]);
        recent.settle(2, true);
        assert_eq!(recent.lost(Version::new(2, 5), 3, 1), Lost::Unknown);
        assert_eq!(recent.lost(Version::new(2, 5), 3, 2), lost(&[]));
    }

    #[test]
    fn a_change_beyond_the_counter_is_lost_in_the_next_failover() {
        let beyond = (1 << 53) - 1;
        let mut recent = recent(&[(1, 5), (beyond, 1)]);
        recent.orphan(1);
        recent.record_acknowledged(Version::new(1, 6), &change("later"), Moment(1).plus(RETENTION * 2));
        assert_eq!(recent.forgotten, BTreeMap::from([(1, 5)]));
        assert_eq!(recent.lost(Version::new(1, 6), 2, 1), lost(&[&format!("{beyond}-1")]));
        // A change that arrives meanwhile is not settled by that.
        recent.record_acknowledged(Version::new(beyond, 2), &change("another"), Moment(1).plus(RETENTION * 2));
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
    fn the_log_is_bounded_and_forgotten_changes_count_as_lost() {
        let mut recent = ChangeLog::default();
        for sequence in 1..=10_000 {
            recent.record_acknowledged(Version::new(1, sequence), &change("some key"), Moment(1));
        }
        assert!(recent.bytes <= MAX_BYTES && recent.changes.len() < 1_000);
        assert_eq!(recent.lost(Version::new(1, 9_999), 2, 1), lost(&["some key"]));
        assert_eq!(recent.lost(Version::new(1, 10), 2, 1), Lost::Unknown);
    }

    #[test]
    fn changes_seen_beside_a_message_are_lost_with_it() {
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
        recent.record_acknowledged(Version::new(1, 6), &change("later"), Moment(1).plus(RETENTION * 2));
        assert_eq!(recent.lost(Version::new(1, 5), 2, 1), lost(&["later"]));
        assert_eq!(recent.lost(Version::new(1, 4), 2, 1), Lost::Unknown);
    }
}
