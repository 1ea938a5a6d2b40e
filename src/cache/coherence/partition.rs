//! State of one partition at this replica: watermark, generation and proof of freshness.

use std::collections::VecDeque;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU64, Ordering};

use super::change_log::ChangeLog;
use super::watch::queue::Watchers;
use crate::cache::clock::Moment;
use crate::cache::lease::waiters::Rounds;
use crate::cache::version::Version;
use crate::sync::Mutex;

/// Most ended generations whose last proof is remembered.
const MAX_ENDED_GENERATIONS: usize = 16;

/// The state of one partition.
///
/// The fields that a Get reads on the hot path are atomic; the rest is behind a short lock.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Partition {
    generation: AtomicU64,
    proved_at: AtomicU64,
    live_epoch: AtomicU64,
    known_epoch: AtomicU64,
    settled_epoch: AtomicU64,
    state: Mutex<PartitionState>,
    /// Rounds of Gets that wait for a lease.
    pub rounds: Rounds,
    change_log: Mutex<ChangeLog>,
    shown: Mutex<ShownPosition>,
}

/// How far replies of L2 have shown the counter.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShownPosition {
    /// The highest position.
    pub position: Version,
    /// Number of times that the counter had started over before.
    life: u32,
}

/// The counter as received through the subscription.
#[derive(Default)]
pub(crate) struct PartitionState {
    /// Last position applied in sequence, or taken from an echo.
    pub watermark: Version,
    /// Highest epoch of a message that took effect.
    pub message_epoch: u64,
    /// Echoes of audits up to this nonce do not count: they were counted, or are of a lost
    /// subscription.
    pub void_up_to: u64,
    /// False until the first echo of a subscription, and while the position is unknown.
    pub synced: bool,
    /// True if the next message counts as next in sequence, whatever it is. In test builds only.
    pub resumes: bool,
    /// Subscribers that receive every applied message.
    pub watchers: Watchers,
    ended: VecDeque<(u64, Moment)>,
}

impl Partition {
    pub fn state(&self) -> MutexGuard<'_, PartitionState> {
        self.state.lock()
    }

    /// Returns the generation of entries that are created now.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Returns when the last audit that proved this partition began.
    pub fn proved_at(&self) -> Moment {
        Moment(self.proved_at.load(Ordering::Acquire))
    }

    /// Returns the epoch in which fills are admitted; 0 if none are.
    pub fn live_epoch(&self) -> u64 {
        self.live_epoch.load(Ordering::Acquire)
    }

    /// Returns the highest epoch that the subscription showed, even if it is lost now.
    pub fn known_epoch(&self) -> u64 {
        self.known_epoch.load(Ordering::Acquire)
    }

    /// Returns the latest epoch whose failover is settled.
    pub fn settled_epoch(&self) -> u64 {
        self.settled_epoch.load(Ordering::Acquire)
    }

    /// Marks the failover that began `epoch` as settled.
    pub fn settle(&self, epoch: u64) {
        self.settled_epoch.store(epoch, Ordering::Release);
    }

    /// Locks the log of recent changes.
    pub fn change_log(&self) -> MutexGuard<'_, ChangeLog> {
        self.change_log.lock()
    }

    /// Returns how far replies have shown the counter. Call it before the request to L2.
    pub fn shown(&self) -> ShownPosition {
        *self.lock_shown()
    }

    /// Records a reply that shows the counter at `position`, to a request sent after `before` was
    /// read.
    pub fn show(&self, before: ShownPosition, position: Version) {
        let mut shown = self.lock_shown();
        if shown.life == before.life {
            shown.position = shown.position.max(position);
        }
    }

    /// Forgets what was shown of a counter that starts over below it. Replies in flight show
    /// nothing of the new one.
    pub fn forget_shown(&self) {
        let mut shown = self.lock_shown();
        *shown = ShownPosition { position: Version::ZERO, life: shown.life.wrapping_add(1) };
    }

    fn lock_shown(&self) -> MutexGuard<'_, ShownPosition> {
        self.shown.lock()
    }

    /// Makes every entry of this partition unproven, in O(1).
    pub fn bump(&self, state: &mut PartitionState) {
        let ended = self.generation.fetch_add(1, Ordering::AcqRel);
        if state.ended.len() == MAX_ENDED_GENERATIONS {
            state.ended.pop_front();
        }
        state.ended.push_back((ended, self.proved_at()));
        self.rounds.end_all(None);
    }

    /// Sets a known position: everything up to `position` has been applied or is unproven.
    pub fn sync(&self, state: &mut PartitionState, position: Version) {
        state.watermark = position;
        state.synced = true;
        self.known_epoch.fetch_max(position.epoch, Ordering::AcqRel);
        self.live_epoch.store(position.epoch, Ordering::Release);
    }

    /// Forgets the known epochs: the counter continues in a lower one.
    pub fn forget_epochs(&self) {
        self.known_epoch.store(0, Ordering::Release);
    }

    /// Makes the position unknown until the next echo. Existing proofs stay valid for their time.
    pub fn unsync(&self, state: &mut PartitionState) {
        state.synced = false;
        self.live_epoch.store(0, Ordering::Release);
        self.rounds.end_all(None);
    }

    /// Records that an audit begun at `at` found no message missing.
    pub fn prove(&self, at: Moment) {
        self.proved_at.fetch_max(at.0, Ordering::AcqRel);
    }

    /// Returns the latest time at which entries of `generation` were proven, as far as it is
    /// remembered.
    pub fn last_proof(&self, generation: u64) -> Moment {
        let state = self.state();
        if generation == self.generation() {
            return self.proved_at();
        }
        state.ended.iter().find(|(ended, _)| *ended == generation).map_or(Moment::NEVER, |(_, proof)| *proof)
    }
}
