//! Limits and timeouts of large values, so that small values do not wait for large ones.
//!
//! Replies come in the order of their requests: a small value waits for a large one before it on
//! the same connection. So large values go over a connection of their own to each primary, a
//! bounded number of bytes at a time, and their timeout is extended while they move.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::cache::clock::{Clock, Moment};
use crate::cache::tier::Timeout;

/// Largest size of a small value, bytes.
pub const SMALL_VALUE_BYTES: usize = 64 * 1024;
/// Bytes that one round trip requests when it reads several values, unless one of them alone is
/// larger.
pub const TRIP_BYTES: usize = 256 * 1024;
/// Limit of concurrent round trips of one batch to one primary.
pub const MAX_CONCURRENT_TRIPS: usize = 4;
/// Largest size of a small value in a batch of any size, bytes.
const SMALL_IN_BATCH_BYTES: usize = 4 * 1024;
/// KiB of large values in flight to or from one primary, unless one value alone is larger.
const MAX_KIB_IN_FLIGHT: usize = 2048;
/// Bytes for which a write gets its timeout once more.
const WRITE_TIMEOUT_UNIT_BYTES: usize = 1 << 20;
/// Bytes sent that count as progress. Fewer may still be in a buffer of the system.
const PROGRESS_UNIT_BYTES: u64 = 64 * 1024;

/// Returns the largest size of a small value in a batch of so many: all of them fit one round trip,
/// unless there are too many.
pub fn small_among(values: usize) -> usize {
    (TRIP_BYTES / values.max(1)).clamp(SMALL_IN_BATCH_BYTES, SMALL_VALUE_BYTES)
}

/// A call that moves many bytes.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Approximate number of bytes.
    pub bytes: usize,
    /// Timeout.
    pub timeout: Timeout,
}

/// Returns the timeout of a write of so many bytes that begins at `now`: the timeout, and once more
/// for each whole MiB. Progress is not visible: the last bytes wait in buffers of the system.
pub fn write_timeout(timeout: Timeout, bytes: usize, now: Moment) -> Timeout {
    let times = u32::try_from(1 + bytes / WRITE_TIMEOUT_UNIT_BYTES).unwrap_or(u32::MAX);
    let latest = now.plus(timeout.deadline.since(now).saturating_mul(times));
    latest.min(timeout.latest).max(timeout.deadline).into()
}

/// LargeValueRoom for large values in flight to or from one primary.
pub struct LargeValueRoom(Arc<Semaphore>);

impl Default for LargeValueRoom {
    fn default() -> LargeValueRoom {
        LargeValueRoom(Arc::new(Semaphore::new(MAX_KIB_IN_FLIGHT)))
    }
}

impl LargeValueRoom {
    /// Waits for room for so many bytes, in turn.
    pub async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = bytes.div_ceil(1024).clamp(1, MAX_KIB_IN_FLIGHT) as u32;
        self.0.clone().acquire_many_owned(kib).await.ok()
    }
}

/// Bytes moved by one connection.
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

    /// Counts bytes sent to the server.
    pub fn send(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes received from the server.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// A number that changes while large values move in either direction.
    pub fn progress(&self) -> u64 {
        self.received().wrapping_add(self.sent.load(Ordering::Relaxed) / PROGRESS_UNIT_BYTES)
    }
}

/// Waits for `work` while `progress` changes from one pause to the next, at most until
/// `limit.latest`.
///
/// `None` if it timed out.
pub async fn wait<F: Future>(
    clock: &dyn Clock,
    limit: Timeout,
    progress: impl Fn() -> u64,
    work: F,
) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut now = clock.now();
    let (pause, mut ends, mut before) = (limit.deadline.since(now), limit.deadline, progress());
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
        Timeout { deadline: now.plus(until * SECOND), latest: now.plus(latest * SECOND) }
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
        let started_at = Instant::now();
        assert_eq!(wait(&clock, limit(&clock, 1, 100), progress, sleep(50 * SECOND)).await, None, "it stands still");
        assert_eq!(started_at.elapsed().as_secs(), 2);
        mover.await.expect("ends");
        let ever = AtomicU64::new(0);
        let started_at = Instant::now();
        let progress = || ever.fetch_add(1, Ordering::Relaxed);
        assert_eq!(wait(&clock, limit(&clock, 1, 5), progress, sleep(50 * SECOND)).await, None);
        assert_eq!(started_at.elapsed().as_secs(), 5);
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
        let timeout = Timeout { deadline: at(1), latest: at(20) };
        let latest = |bytes| write_timeout(timeout, bytes, Moment(1)).latest;
        assert_eq!(
            [
                latest(1),
                latest(WRITE_TIMEOUT_UNIT_BYTES),
                latest(8 * WRITE_TIMEOUT_UNIT_BYTES),
                latest(64 * WRITE_TIMEOUT_UNIT_BYTES)
            ],
            [at(1), at(2), at(9), at(20)]
        );
        assert_eq!(
            write_timeout(at(1).into(), 64 * WRITE_TIMEOUT_UNIT_BYTES, Moment(1)),
            at(1).into(),
            "its caller leaves"
        );
    }

    #[test]
    fn a_batch_of_small_values_is_one_trip_unless_it_is_long() {
        assert_eq!(
            [1, 4, 8, 64, 10_000].map(small_among),
            [SMALL_VALUE_BYTES, SMALL_VALUE_BYTES, TRIP_BYTES / 8, TRIP_BYTES / 64, SMALL_IN_BATCH_BYTES]
        );
    }

    #[tokio::test]
    async fn one_value_larger_than_the_room_takes_all_of_it() {
        let room = LargeValueRoom::default();
        let all = room.take(64 << 20).await;
        assert_eq!(room.0.available_permits(), 0);
        drop(all);
        let _part = room.take(TRIP_BYTES).await;
        assert_eq!(room.0.available_permits(), MAX_KIB_IN_FLIGHT - TRIP_BYTES / 1024);
    }
}
