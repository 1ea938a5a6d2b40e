//! The promises, decided from Sets, acknowledgements and answers only.
//!
//! Numbers of the protocol count only as tokens.

use crate::rules::Rules;
use crate::world::*;

impl World {
    /// The promise that some Get at this moment would break, if any.
    pub fn breaks(&self, rules: Rules) -> Option<Promise> {
        if self.broken.is_some() {
            return self.broken;
        }
        for (me, replica) in self.replicas.iter().enumerate().filter(|(_, replica)| !replica.gone) {
            if let Some(held) = replica.freshness(rules) {
                let value = held.entry.value;
                if self.owed_here(me).is_some_and(|owed| value < owed) {
                    return Some(Promise::FreshHere);
                }
                if self.owed_everywhere().is_some_and(|owed| value < owed) {
                    return Some(Promise::FreshEverywhere);
                }
                if value < replica.shown && !rules.epochs_go_back {
                    return Some(Promise::NeverBackwards);
                }
            }
            // A token binds a flagged answer too.
            if !rules.epochs_go_back
                && let Some(held) = replica.memory
                && self.denies_token(rules, held.entry.value, replica.reflects(held))
            {
                return Some(Promise::Tokens);
            }
        }
        None
    }

    /// The promise that the answer of `fetch` breaks, if any.
    pub fn answer_breaks(&self, rules: Rules, me: usize, fetch: Fetch) -> Option<Promise> {
        let value = fetch.entry.value;
        if let Some(owed) = fetch.owed.filter(|owed| value < *owed) {
            let own = self.log[owed].by == Some(me);
            let everywhere = self.owed_everywhere().is_some_and(|owed| value < owed);
            match () {
                () if own => Some(Promise::FreshHere),
                () if everywhere => Some(Promise::FreshEverywhere),
                () => (!rules.epochs_go_back).then_some(Promise::NeverBackwards),
            }
        } else if !rules.epochs_go_back && self.denies_token(rules, value, fetch.position) {
            Some(Promise::Tokens)
        } else {
            None
        }
    }

    /// True if replica `me` has received of a change after `value`.
    pub fn is_overwritten(&self, rules: Rules, me: usize, value: Change) -> bool {
        let received = self.replicas[me].received;
        value < received && self.may_be_seen(rules, &self.log[received])
    }

    /// Answers Gets from memory where possible, and joins each open fetch at the last moment, when
    /// its answer must be newest.
    pub fn join(&mut self, rules: Rules) {
        for me in 0..REPLICAS {
            if let Some(held) = self.replicas[me].freshness(rules) {
                self.show(me, held.entry.value);
            }
            if let Some(fetch) = self.replicas[me].fetch.filter(|fetch| fetch.age <= BOUND) {
                let owed = self.owed(me);
                self.replicas[me].fetch = Some(Fetch { owed, ..fetch });
            }
        }
    }

    /// The oldest change that a Get which starts now at replica `me` may return.
    pub fn owed(&self, me: usize) -> Option<Change> {
        self.owed_here(me).max(self.owed_everywhere()).max(Some(self.replicas[me].shown))
    }

    /// Records that replica `me` has answered a Get with the effect of `change`.
    pub fn show(&mut self, me: usize, change: Change) {
        let shown = &mut self.replicas[me].shown;
        *shown = change.max(*shown);
    }

    /// The last change that Redis has, which an absent entry shows.
    pub fn kept_by_redis(&self) -> Option<Change> {
        self.last(|record| !record.lost)
    }

    /// The last change that replica `me` has acknowledged.
    fn owed_here(&self, me: usize) -> Option<Change> {
        self.last(|record| record.by == Some(me) && record.acknowledged.is_some())
    }

    /// The last change that was acknowledged longer ago than the bound. A failover may lose a
    /// change that only a replica has acknowledged which is gone or no longer waited for.
    fn owed_everywhere(&self) -> Option<Change> {
        self.last(|record| record.acknowledged == Some(OLD) && (!record.lost || !self.is_out_of_reach(record.by)))
    }

    /// True if `value` is older than a change that the token `position` covers.
    fn denies_token(&self, rules: Rules, value: Change, position: Version) -> bool {
        // A change that returned with its primary was seen when it was answered.
        let seen_at = |record: &Record| {
            let was_answered = record.lost && record.acknowledged.is_none();
            if was_answered { record.read_at.unwrap_or(record.version) } else { record.version }
        };
        let reached = |record: &Record| seen_at(record) <= position && self.may_be_seen(rules, record);
        self.last(reached).is_some_and(|seen| value < seen)
    }

    /// True if a strong Get elsewhere may have seen the change. Under `Repair`, a change that a
    /// failover lost counts only if a live replica has acknowledged or answered it.
    fn may_be_seen(&self, rules: Rules, record: &Record) -> bool {
        let covered = (record.acknowledged.is_some() && !self.is_out_of_reach(record.by))
            || (0..REPLICAS).any(|me| record.read[me] && !self.is_out_of_reach(Some(me)));
        !record.lost || rules.policy == Policy::Cold || covered
    }

    fn last(&self, counts: impl Fn(&Record) -> bool) -> Option<Change> {
        self.log.iter().rposition(|record| record.operation != Operation::Other && counts(record))
    }

    /// True if a replica is gone, or a settlement did not wait for it.
    fn is_out_of_reach(&self, replica: Option<usize>) -> bool {
        replica.is_some_and(|me| self.replicas[me].gone || self.abandoned[me])
    }
}
