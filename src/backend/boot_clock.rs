//! Monotonic clock that counts while the machine sleeps: CLOCK_BOOTTIME on Linux.

use rustix::time::{ClockId, clock_gettime};

use crate::cache::clock::{Clock, Moment};

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// The clock of a running service.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Moment {
        let now = clock_gettime(CLOCK);
        // Never zero, which means "never".
        Moment((now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_back() {
        let first = BootClock.now();
        assert!(first > Moment::NEVER && BootClock.now() >= first);
    }
}
