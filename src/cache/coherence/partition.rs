//! One partition as this replica follows it: watermark, generation and proof of freshness.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::change_log::ChangeLog;
use super::watch::queue::Watchers;
use crate::cache::clock::Moment;
use crate::cache::lease::waiters::Rounds;
use crate::cache::version::Version;

/// Ended generations whose last proof is remembered.
const REMEMBERED: usize = 16;

/// The state of one partition. What a Get on the hot path reads is atomic; the rest is behind a short lock.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Partition {
    generation: AtomicU64,
    proved_at: AtomicU64,
    live_epoch: AtomicU64,
    known_epoch: AtomicU64,
    settled_epoch: AtomicU64,
    state: Mutex<PartitionState>,
    /// Gets that wait for somebody to make an entry.
    pub rounds: Rounds,
    change_log: Mutex<ChangeLog>,
    shown: Mutex<ShownPosition>,
}

/// How far answers of the shared tier have shown the number line.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShownPosition {
    /// The highest position.
    pub position: Version,
    /// How often the number line had started over before.
    life: u32,
}

/// The number line as heard through the subscription.
#[derive(Default)]
pub(crate) struct PartitionState {
    /// Last position applied in sequence, or set by an echo.
    pub watermark: Version,
    /// Highest epoch of a message that took effect.
    pub heard_epoch: u64,
    /// Echoes of audits up to this nonce do not count: they were counted, or are of a subscription that was lost.
    pub void_up_to: u64,
    /// False until the first echo of a subscription, and after anything that makes the position unknown.
    pub synced: bool,
    /// The next message is taken for the next in line, whatever it is: in test builds only.
    pub resumes: bool,
    /// Who is told of what is applied.
    pub watchers: Watchers,
    ended: VecDeque<(u64, Moment)>,
}

impl Partition {
    pub fn state(&self) -> MutexGuard<'_, PartitionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The generation that entries made now belong to.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// When the last audit that found this partition whole was begun.
    pub fn proved_at(&self) -> Moment {
        Moment(self.proved_at.load(Ordering::Acquire))
    }

    /// The epoch in which fills are admitted; 0 when none are.
    pub fn live_epoch(&self) -> u64 {
        self.live_epoch.load(Ordering::Acquire)
    }

    /// The highest epoch that the subscription showed, also when it is lost.
    pub fn known_epoch(&self) -> u64 {
        self.known_epoch.load(Ordering::Acquire)
    }

    /// The latest epoch of which the takeover that began it is settled.
    pub fn settled_epoch(&self) -> u64 {
        self.settled_epoch.load(Ordering::Acquire)
    }

    /// The takeover that began `epoch` is settled.
    pub fn settle(&self, epoch: u64) {
        self.settled_epoch.store(epoch, Ordering::Release);
    }

    /// What was acknowledged and heard of lately.
    pub fn change_log(&self) -> MutexGuard<'_, ChangeLog> {
        self.change_log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far answers have shown the number line. To be read before the shared tier is asked.
    pub fn shown(&self) -> ShownPosition {
        *self.lock_shown()
    }

    /// An answer to a question that was asked after `before` was read shows that the number line has reached `position`.
    pub fn show(&self, before: ShownPosition, position: Version) {
        let mut shown = self.lock_shown();
        if shown.life == before.life {
            shown.position = shown.position.max(position);
        }
    }

    /// The number line starts over below what was shown. Answers that are under way show nothing of it.
    pub fn forget_shown(&self) {
        let mut shown = self.lock_shown();
        *shown = ShownPosition { position: Version::ZERO, life: shown.life.wrapping_add(1) };
    }

    fn lock_shown(&self) -> MutexGuard<'_, ShownPosition> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes every entry of this partition suspect. O(1).
    pub fn bump(&self, line: &mut PartitionState) {
        let ended = self.generation.fetch_add(1, Ordering::AcqRel);
        if line.ended.len() == REMEMBERED {
            line.ended.pop_front();
        }
        line.ended.push_back((ended, self.proved_at()));
        self.rounds.end_all(None);
    }

    /// The position is known again: everything up to `position` has been applied or is suspect.
    pub fn sync(&self, line: &mut PartitionState, position: Version) {
        line.watermark = position;
        line.synced = true;
        self.known_epoch.fetch_max(position.epoch, Ordering::AcqRel);
        self.live_epoch.store(position.epoch, Ordering::Release);
    }

    /// The number line goes on in an epoch that is lower than those it had.
    pub fn forget_epochs(&self) {
        self.known_epoch.store(0, Ordering::Release);
    }

    /// The position is unknown until the next echo. What was proven stays so for its time.
    pub fn unsync(&self, line: &mut PartitionState) {
        line.synced = false;
        self.live_epoch.store(0, Ordering::Release);
        self.rounds.end_all(None);
    }

    /// An audit begun at `at` found this partition whole.
    pub fn prove(&self, at: Moment) {
        self.proved_at.fetch_max(at.0, Ordering::AcqRel);
    }

    /// The latest moment at which entries of `generation` were proven, as far as it is remembered.
    pub fn last_proof(&self, generation: u64) -> Moment {
        let line = self.state();
        if generation == self.generation() {
            return self.proved_at();
        }
        line.ended.iter().find(|(ended, _)| *ended == generation).map_or(Moment::NEVER, |(_, proof)| *proof)
    }
}
