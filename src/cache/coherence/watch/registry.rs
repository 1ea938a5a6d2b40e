//! Registry of the open watches of a replica.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::stats::WatchCounters;

/// Time for which changes are remembered after the last watch, for one that resumes.
pub(super) const RESUME_WINDOW: Duration = Duration::from_secs(60);

/// The watches of a replica.
#[derive(Default)]
pub struct Watches {
    open: AtomicUsize,
    /// Time until which changes are remembered for a watch that resumes.
    resumable_until: AtomicU64,
    /// Counters of the events delivered.
    pub counters: WatchCounters,
}

// === impl Watches ===

impl Watches {
    /// Returns the number of open watches.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Returns true if a watch may resume from the changes remembered now.
    pub(crate) fn need_change_log(&self, now: Moment) -> bool {
        self.open() > 0 || now < Moment(self.resumable_until.load(Ordering::Relaxed))
    }

    pub(super) fn begin(&self, limit: usize) -> Result<(), CacheError> {
        let more = |open: usize| (open < limit).then_some(open + 1);
        match self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(()),
            Err(_) => Err(CacheError::Exhausted { what: "watches", limit, retry_after: None }),
        }
    }

    pub(super) fn end(&self, now: Moment) {
        self.resumable_until.fetch_max(now.plus(RESUME_WINDOW).0, Ordering::Relaxed);
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
