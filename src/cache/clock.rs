//! Time in the core: one monotonic clock of this machine. Wall clocks never decide about freshness.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A point on the monotonic clock, in nanoseconds. Zero means "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// Before everything.
    pub const NEVER: Moment = Moment(0);
    /// After everything.
    pub const FOREVER: Moment = Moment(u64::MAX);

    /// Returns the moment `duration` later.
    pub fn plus(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Returns the moment `duration` earlier.
    pub fn minus(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Returns the time since `earlier`, or zero if `earlier` is in the future.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A monotonic clock that continues while the machine sleeps, so that a paused replica notices the
/// pause.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current moment. It never decreases.
    fn now(&self) -> Moment;

    /// Returns the wall-clock time. Only for reading a caller's absolute time and for showing times
    /// to people.
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock for tests that moves only by `advance`.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl Default for ManualClock {
    fn default() -> Self {
        ManualClock(AtomicU64::new(1_000_000_000_000))
    }
}

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::SeqCst))
    }
}
