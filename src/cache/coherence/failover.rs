//! Pending failovers: a counter in a new epoch, on a server that may lack the last changes before.

use super::change_log::Lost;
use super::coherence::Coherence;
use super::safeguards::Safeguard;
use crate::cache::tier::bus::{Change, Message};
use crate::cache::version::Version;

/// A failover that this replica has not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingFailover {
    /// The partition.
    pub partition: u16,
    /// The epoch that the failover began.
    pub epoch: u64,
}

impl Coherence {
    /// Records a change that took effect in L2: this replica's own, or one that it received or saw
    /// in part.
    pub fn record_acknowledged(&self, partition: u16, version: Version, change: &Change) {
        if self.config.repair {
            self.partition(partition).change_log().record_acknowledged(version, change, self.clock.now());
        }
    }

    /// Records a received message, which describes its whole change.
    pub(super) fn record_message(&self, message: &Message) {
        let now = self.clock.now();
        if self.config.repair || self.watches.need_change_log(now) {
            self.partition(message.partition).change_log().record_message(message.version, &message.change, now);
        }
    }

    /// Returns true if the counter of `partition` is known to have left `epoch`.
    pub fn has_ended(&self, partition: u16, epoch: u64) -> bool {
        self.partition(partition).known_epoch() > epoch
    }

    /// Returns true if an entry of `version` counts while the counter stands at `position`.
    ///
    /// It does not count if it is from before a failover that this replica has not settled. The
    /// other replicas may have stopped waiting for this one, and what it has acknowledged itself
    /// may be missing there.
    pub fn counts(&self, partition: u16, version: Version, position: Version) -> bool {
        let settled = || self.config.repair && self.partition(partition).settled_epoch() == position.epoch;
        version.epoch == position.epoch || !self.config.safeguards.on(Safeguard::Repair) || settled()
    }

    /// Waits until there may be a failover to settle.
    pub async fn failover_began(&self) {
        self.failover_pending.notified().await;
    }

    /// Returns the failovers to settle.
    pub fn pending_failovers(&self) -> Vec<PendingFailover> {
        let all =
            self.partitions.iter().enumerate().map(|(index, partition)| (index, partition, partition.live_epoch()));
        let unsettled = all.filter(|(_, partition, epoch)| *epoch != 0 && *epoch != partition.settled_epoch());
        unsettled.map(|(index, _, epoch)| PendingFailover { partition: index as u16, epoch }).collect()
    }

    /// Returns true if the failover is not settled yet, and no other followed it.
    pub fn is_pending(&self, takeover: PendingFailover) -> bool {
        let partition = self.partition(takeover.partition);
        partition.live_epoch() == takeover.epoch && partition.settled_epoch() != takeover.epoch
    }

    /// Returns true if an epoch before this one was settled here.
    ///
    /// Then another server, or another life of it, has taken over. The first epoch that a replica
    /// knows is no failover.
    pub fn is_failover(&self, takeover: PendingFailover) -> bool {
        self.partition(takeover.partition).settled_epoch() != 0
    }

    /// Returns true if recent changes are remembered, to be invalidated again.
    pub fn repairs(&self) -> bool {
        self.config.repair
    }

    /// Returns the changes that a server may lack that stood at `prior` at the failover; its
    /// entries count since the epoch `trusted_from`.
    pub fn lost(&self, takeover: PendingFailover, prior: Version, trusted_from: u64) -> Lost {
        self.partition(takeover.partition).change_log().lost(prior, takeover.epoch, trusted_from)
    }

    /// Marks the failover as settled: no remembered change is lost, or with `dropped`, everything
    /// from before was dropped.
    pub fn mark_settled(&self, takeover: PendingFailover, dropped: bool) {
        let partition = self.partition(takeover.partition);
        partition.change_log().settle(takeover.epoch, dropped);
        partition.settle(takeover.epoch);
    }
}
