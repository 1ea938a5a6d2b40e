//! Applies bus messages to L1, and lets echoes of audits prove that none was missed.
//!
//! Messages in sequence take effect. Anything else makes the entries of the partition unproven.

use std::sync::Arc;

use super::coherence::Coherence;
use super::partition::{Partition, PartitionState};
use super::safeguards::Safeguard;
use crate::cache::clock::Moment;
use crate::cache::key::KeyRef;
use crate::cache::lease::waiters::End;
use crate::cache::namespace::Namespace;
use crate::cache::spans;
use crate::cache::tier::bus::{BusSink, Echo, Message};
use crate::cache::version::Version;

// === impl BusSink ===

impl BusSink for Coherence {
    fn apply(&self, message: Message) {
        let Some(partition) = self.partitions.get(usize::from(message.partition)) else {
            return self.counters.undecodable.inc();
        };
        if message.own {
            self.counters.messages_own.inc();
        }
        self.record_message(&message);
        let mut state = partition.state();
        state.message_epoch = state.message_epoch.max(message.version.epoch);
        if state.synced {
            self.follow(partition, &mut state, message.version);
        }
        if !message.own || self.config.safeguards.on(Safeguard::OwnMessages) {
            self.take_effect(&message);
        }
        state.watchers.publish(&message);
        if state.synced {
            state.watermark = message.version;
            self.counters.messages_applied.inc();
        }
    }

    fn undecodable(&self, partitions: &[u16]) {
        self.counters.undecodable.inc();
        self.counters.gaps.inc();
        self.lose_position(partitions);
    }

    fn overran(&self, partitions: &[u16]) {
        self.counters.lagged.inc();
        if self.config.safeguards.on(Safeguard::Lag) {
            self.lose_position(partitions);
        } else {
            // Mutant: the next message counts as the next in sequence.
            self.each(partitions, |_, state| state.resumes = true);
        }
    }

    fn audit_begins(&self, partitions: &[u16]) -> u64 {
        self.counters.audits_sent.inc();
        let now = self.clock.now();
        if !self.config.safeguards.on(Safeguard::Echo) {
            // Mutant: a subscription that was never lost counts as complete.
            partitions.iter().for_each(|index| self.partition(*index).prove(now));
        }
        self.audits.begin(now)
    }

    fn awaits(&self, nonce: u64) -> bool {
        self.audits.started_at(nonce).is_some()
    }

    fn echo(&self, nonce: u64, echo: Echo) -> bool {
        let Some(started_at) = self.audits.started_at(nonce) else { return false };
        let mut counts = false;
        for (index, position) in echo.positions {
            match self.partitions.get(usize::from(index)) {
                Some(partition) => counts |= self.settle(index, partition, nonce, position, started_at),
                None => self.counters.undecodable.inc(),
            }
        }
        if counts {
            self.counters.audits_echoed.inc();
        }
        counts
    }

    fn disconnected(&self, partitions: &[u16]) {
        self.counters.disconnects.inc();
        self.each(partitions, |partition, state| partition.unsync(state));
    }

    fn released(&self, namespace: &[u8], key: &[u8], failed: bool) {
        if let Some(namespace) = self.registered_namespace(namespace) {
            let end = if failed { End::Failed } else { End::LookAgain };
            self.end_round(KeyRef::new(&namespace, key), end);
        }
    }
}

impl Coherence {
    /// Checks that `version` is next in sequence.
    ///
    /// If not, the partition's entries become unproven. After a plain gap the sequence continues
    /// from here; after anything stranger, only from the next echo.
    fn follow(&self, partition: &Partition, state: &mut PartitionState, version: Version) {
        let at = state.watermark;
        if std::mem::take(&mut state.resumes) {
            return;
        }
        if version.epoch == at.epoch && version.sequence == at.sequence + 1 {
            return;
        }
        if !self.config.safeguards.on(Safeguard::Gap) {
            return;
        }
        self.counters.gaps.inc();
        spans::note(spans::OUTCOME, "gap");
        self.bump(partition, state);
        if version.epoch != at.epoch || version.sequence <= at.sequence {
            partition.unsync(state);
        }
    }

    /// Removes from L1 what the message makes outdated.
    fn take_effect(&self, message: &Message) {
        let Some(namespace) = self.registered_namespace(&message.change.namespace) else { return };
        let Message { partition, version, change, .. } = message;
        self.record_invalidation(&namespace, *partition, change.selectors(), *version, change.effect);
        for key in message.change.keys() {
            let key = KeyRef::new(&namespace, key);
            if self.partition_of(key) == message.partition {
                let mut stripe = self.fence.lock(message.partition, key);
                stripe.apply(key, message.version);
                self.drop_older(key, message.version, message.change.effect);
                drop(stripe);
                self.end_round(key, End::LookAgain);
            }
        }
        if !message.change.selectors().is_empty() {
            self.partition(message.partition).rounds.end_all(Some(namespace.id));
        }
    }

    /// Finds the namespace `name`.
    ///
    /// A namespace that is not registered at this replica has no entries, no fills and no waiters
    /// here.
    fn registered_namespace(&self, name: &[u8]) -> Option<Arc<Namespace>> {
        std::str::from_utf8(name).ok().and_then(|name| self.namespaces.find(name))
    }

    /// Settles one partition by the echo of `nonce`: its counter stood at `position` after
    /// `started_at`.
    ///
    /// Returns false if the echo does not count for this partition.
    fn settle(&self, index: u16, partition: &Partition, nonce: u64, position: Version, started_at: Moment) -> bool {
        let mut state = partition.state();
        if nonce <= state.void_up_to {
            return false;
        }
        // Once per nonce: any receiver of an echo could publish something else under its nonce.
        state.void_up_to = nonce;
        if position.epoch < state.watermark.epoch {
            self.start_over(index, partition, &mut state, position);
        } else if position.epoch < state.message_epoch.max(partition.shown().position.epoch) {
            // The messages were of no life that is followed: another publisher sent them.
            self.forget_applied(index, partition, &mut state, position);
        }
        let first = !state.synced;
        let behind = !first && state.watermark != position && self.config.safeguards.on(Safeguard::EchoCounters);
        if behind {
            self.counters.audits_failed.inc();
        }
        if behind || (first && self.config.safeguards.on(Safeguard::FirstEcho)) {
            self.bump(partition, &mut state);
        }
        if first || behind {
            partition.sync(&mut state, position);
        }
        partition.prove(started_at);
        if partition.settled_epoch() != position.epoch {
            self.failover_pending.notify_one();
        }
        true
    }

    /// Follows the counter into an epoch below the one that was followed, which no clock can have
    /// led to.
    ///
    /// Everything known of the higher epoch is forgotten.
    fn start_over(&self, index: u16, partition: &Partition, state: &mut PartitionState, position: Version) {
        tracing::warn!(partition = index, %position, watermark = %state.watermark, "epoch went back: older entries are unproven");
        self.forget_applied(index, partition, state, position);
        partition.forget_epochs();
        *partition.change_log() = Default::default();
    }

    /// Forgets what was applied: positions from here on may be lower, and would pass the fence.
    ///
    /// Entries from before are not fresh any more, and no fill that began before enters L1.
    fn forget_applied(&self, index: u16, partition: &Partition, state: &mut PartitionState, position: Version) {
        self.bump(partition, state);
        partition.unsync(state);
        state.message_epoch = position.epoch;
        partition.forget_shown();
        self.fence.forget(index);
        partition.change_log().orphan(position.epoch);
        self.namespaces.all().iter().for_each(|namespace| namespace.invalidation_log().forget(index));
    }

    /// Makes all entries of `partitions` unproven after lost messages.
    ///
    /// Their position is unknown until the next echo.
    fn lose_position(&self, partitions: &[u16]) {
        self.each(partitions, |partition, state| {
            self.bump(partition, state);
            partition.unsync(state);
        });
    }

    /// Changes each of `partitions`, and voids the echoes of audits sent so far.
    fn each(&self, partitions: &[u16], mut change: impl FnMut(&Partition, &mut PartitionState)) {
        let void_up_to = self.audits.latest();
        for partition in partitions.iter().filter_map(|index| self.partitions.get(usize::from(*index))) {
            let mut state = partition.state();
            state.void_up_to = void_up_to;
            change(partition, &mut state);
        }
    }
}
