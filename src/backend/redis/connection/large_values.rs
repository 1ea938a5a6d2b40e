//! Large values. Replies come in the order of their requests, so that what is small waits for what
//! is large before it on the same connection. Large values go over a connection of their own to
//! each primary, a bounded number of bytes at a time, and are waited for while they move.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::cache::clock::{Clock, Moment};
use crate::cache::tier::Timeout;

/// Bytes up to which a value is small.
pub const SMALL: usize = 64 * 1024;
/// Bytes that one trip asks for when it reads several values, unless one of them alone is larger.
pub const PART: usize = 256 * 1024;
/// Trips of one batch that are on their way to one primary at once.
pub const PARTS_AT_ONCE: usize = 4;
/// Bytes up to which a value is small in a batch of any size.
const SMALL_IN_A_BATCH: usize = 4 * 1024;
/// KiB of large values that are on their way to or from one primary at once, unless one value
/// alone is larger.
const ROOM: usize = 2048;
/// Bytes for which a write has its timeout once more.
const STRIDE: usize = 1 << 20;
/// Bytes sent that count as progress. Fewer may be in a buffer of the system.
const SENT_UNIT: u64 = 64 * 1024;

/// Returns the bytes up to which a value is small when so many are read: all of them in one trip,
/// if there are not too many.
pub fn small_among(values: usize) -> usize {
    (PART / values.max(1)).clamp(SMALL_IN_A_BATCH, SMALL)
}

/// How much of each value a read asks for, and over which connection.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// The last byte of each value that is asked for.
    pub last: usize,
    /// Bytes that are expected, if they go over the connection for large values.
    pub large: Option<usize>,
}

/// A call that moves many bytes.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Their number, about.
    pub bytes: usize,
    /// The time for it.
    pub timeout: Timeout,
}

/// Returns the time for a write of so many bytes that begins at `now`: the timeout, and once more
/// for each whole MiB. Progress does not show: the last bytes wait in buffers of the system.
pub fn write_timeout(timeout: Timeout, bytes: usize, now: Moment) -> Timeout {
    let times = u32::try_from(1 + bytes / STRIDE).unwrap_or(u32::MAX);
    let latest = now.plus(timeout.until.since(now).saturating_mul(times));
    latest.min(timeout.latest).max(timeout.until).into()
}

/// Room for large values on their way to or from one primary.
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Room {
        Room(Arc::new(Semaphore::new(ROOM)))
    }
}

impl Room {
    /// Waits for room for so many bytes, in turn.
    pub async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = bytes.div_ceil(1024).clamp(1, ROOM) as u32;
        self.0.clone().acquire_many_owned(kib).await.ok()
    }
}

/// Bytes that one connection has moved.
#[derive(Default)]
pub struct Moved {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Moved {
    /// Counts bytes that the server sent.
    pub fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes that the server was sent.
    pub fn send(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that the server sent.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// A number that changes when large values move, in either direction.
    pub fn progress(&self) -> u64 {
        self.received().wrapping_add(self.sent.load(Ordering::Relaxed) / SENT_UNIT)
    }
}

/// Waits for `work` while `progress` changes from one pause to the next, and until `limit.latest`
/// at most. None: it was given up.
pub async fn wait<F: Future>(
    clock: &dyn Clock,
    limit: Timeout,
    progress: impl Fn() -> u64,
    work: F,
) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut now = clock.now();
    let (pause, mut ends, mut before) = (limit.until.since(now), limit.until, progress());
    loop {
        if let Ok(done) = timeout(ends.since(now), &mut work).await {
            return Some(done);
        }
        now = clock.now();
        let seen = progress();
        if seen == before || now >= limit.latest || pause == Duration::ZERO {
            return None;
        }
        (before, ends) = (seen, now.plus(pause).min(limit.latest));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use tokio::time::{Instant, sleep};

    use super::*;

    /// The clock of the runtime, which a test has paused.
    struct Paused(Instant);

    impl Clock for Paused {
        fn now(&self) -> Moment {
            Moment(1).plus(self.0.elapsed())
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn limit(clock: &Paused, until: u32, latest: u32) -> Timeout {
        let now = clock.now();
        Timeout { until: now.plus(until * SECOND), latest: now.plus(latest * SECOND) }
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_is_waited_for_until_the_latest_moment() {
        let clock = Paused(Instant::now());
        let bytes = Arc::new(AtomicU64::new(0));
        let mover = tokio::spawn({
            let bytes = bytes.clone();
            async move {
                for _ in 0..12 {
                    sleep(3 * SECOND / 10).await;
                    bytes.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let progress = || bytes.load(Ordering::Relaxed);
        let slow = wait(&clock, limit(&clock, 1, 100), progress, sleep(3 * SECOND)).await;
        assert_eq!(slow, Some(()), "it moved all the while");
        let begun = Instant::now();
        assert_eq!(wait(&clock, limit(&clock, 1, 100), progress, sleep(50 * SECOND)).await, None, "it stands still");
        assert_eq!(begun.elapsed().as_secs(), 2);
        mover.await.expect("ends");
        let ever = AtomicU64::new(0);
        let begun = Instant::now();
        let progress = || ever.fetch_add(1, Ordering::Relaxed);
        assert_eq!(wait(&clock, limit(&clock, 1, 5), progress, sleep(50 * SECOND)).await, None);
        assert_eq!(begun.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn one_moment_ends_it_in_any_case() {
        let clock = Paused(Instant::now());
        let ever = AtomicU64::new(0);
        let progress = || ever.fetch_add(1, Ordering::Relaxed);
        let limit = Timeout::from(clock.now().plus(SECOND));
        assert_eq!(wait(&clock, limit, progress, sleep(2 * SECOND)).await, None);
        assert_eq!(clock.0.elapsed().as_secs(), 1);
    }

    #[test]
    fn a_write_has_its_timeout_once_more_for_each_whole_mebibyte() {
        let at = |seconds: u32| Moment(1).plus(seconds * SECOND);
        let timeout = Timeout { until: at(1), latest: at(20) };
        let latest = |bytes| write_timeout(timeout, bytes, Moment(1)).latest;
        assert_eq!([latest(1), latest(STRIDE), latest(8 * STRIDE), latest(64 * STRIDE)], [at(1), at(2), at(9), at(20)]);
        assert_eq!(write_timeout(at(1).into(), 64 * STRIDE, Moment(1)), at(1).into(), "its caller leaves");
    }

    #[test]
    fn a_batch_of_small_values_is_one_trip_unless_it_is_long() {
        assert_eq!([1, 4, 8, 64, 10_000].map(small_among), [SMALL, SMALL, PART / 8, PART / 64, SMALL_IN_A_BATCH]);
    }

    #[tokio::test]
    async fn one_value_larger_than_the_room_takes_all_of_it() {
        let room = Room::default();
        let all = room.take(64 << 20).await;
        assert_eq!(room.0.available_permits(), 0);
        drop(all);
        let _part = room.take(PART).await;
        assert_eq!(room.0.available_permits(), ROOM - PART / 1024);
    }
}
