//! Keeps one connection for commands open: reopens it, pings it, and discards it when it breaks.
//!
//! The ping is also the breaker: while Redis does not answer it in time, commands fail immediately.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::fred_client::Purpose;
use super::large_values;
use super::primary::Primary;
use super::redis_connection::Connection;
use super::redis_error::{ConnectError, words};
use crate::cache::clock::Moment;
use crate::cache::tier::Timeout;
use crate::units::format_duration;

/// Pings within the time after which Redis counts as unresponsive.
pub const PINGS_PER_TIMEOUT: u32 = 3;
/// A connection is discarded after this many further timeouts without an answer.
const DISCARD_AFTER_TIMEOUTS: u32 = 6;

/// The reason while the breaker is open.
pub const UNRESPONSIVE: &str = "redis does not answer";

/// One supervised connection.
pub struct ConnectionSupervisor {
    /// Its number among the connections for commands; `None` if it carries large values.
    number: Option<usize>,
    primary: Arc<Primary>,
    current: ArcSwapOption<Connection>,
    suspended: AtomicBool,
    round_trip: AtomicU64,
}

impl ConnectionSupervisor {
    /// Creates a supervisor. [`ConnectionSupervisor::supervise`] connects.
    pub fn new(number: Option<usize>, primary: Arc<Primary>) -> ConnectionSupervisor {
        ConnectionSupervisor {
            number,
            primary,
            current: ArcSwapOption::empty(),
            suspended: AtomicBool::new(false),
            round_trip: AtomicU64::new(0),
        }
    }

    /// The connection, if it may be used.
    pub fn connection(&self) -> Option<Arc<Connection>> {
        if self.suspended.load(Ordering::Acquire) { None } else { self.current.load_full() }
    }

    /// Round-trip time of the last ping.
    pub fn round_trip(&self) -> Option<Duration> {
        let nanos = self.round_trip.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// Keeps the connection open until `stop`.
    pub async fn supervise(&self, stop: CancellationToken) {
        let primary = &*self.primary;
        let mut backoff = Backoff::default();
        let mut first = true;
        while !stop.is_cancelled() {
            let opened = tokio::select! {
                opened = Connection::open(primary, Purpose::Commands) => opened,
                () = stop.cancelled() => return,
            };
            match opened {
                Ok((connection, mut task)) => {
                    backoff = Backoff::default();
                    if !std::mem::take(&mut first) {
                        primary.context.reconnects.inc();
                    }
                    let connection = Arc::new(connection);
                    self.current.store(Some(connection.clone()));
                    self.suspended.store(false, Ordering::Release);
                    primary.health.agreed();
                    self.works(&connection);
                    let why = tokio::select! {
                        why = task.ended() => why,
                        why = self.watch(&connection) => why,
                        why = keep_handshake_current(primary, &connection) => why,
                        () = connection.condemned.cancelled() => "redis is no longer the primary".to_owned(),
                        () = stop.cancelled() => "shutting down".to_owned(),
                    };
                    self.is_obstructed(&why);
                    self.current.store(None);
                    connection.close().await;
                    if !stop.is_cancelled() {
                        self.fails(&why);
                    }
                }
                Err(error @ ConnectError::Partitions { .. }) => primary.health.halt(&error.to_string()),
                Err(ConnectError::Failed(why) | ConnectError::Misplaced(why)) => {
                    self.is_obstructed(&why);
                    self.fails(&why);
                }
            }
            tokio::select! {
                () = sleep(backoff.next()) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Pings Redis at an interval. Returns the reason why the connection is no longer usable.
    async fn watch(&self, connection: &Connection) -> String {
        let primary = &*self.primary;
        let limit = primary.context.config.unresponsive_after;
        loop {
            let sent_at = primary.context.clock.now();
            let mut answer = std::pin::pin!(connection.ping());
            let mut reply = None;
            if self.number.is_some() {
                reply = self.wait(connection, limit, &mut answer).await;
            }
            if reply.is_none() && self.number.is_some() {
                self.is_obstructed(UNRESPONSIVE);
                self.suspended.store(true, Ordering::Release);
                self.fails(UNRESPONSIVE);
            }
            if reply.is_none() {
                reply = self.wait(connection, limit * DISCARD_AFTER_TIMEOUTS, &mut answer).await;
            }
            match reply {
                Some(Ok(micros)) => self.record_answer(connection, micros, sent_at),
                Some(Err(error)) => return words(&error),
                None => {
                    return format!(
                        "redis did not answer within {}",
                        format_duration(limit * (DISCARD_AFTER_TIMEOUTS + 1))
                    );
                }
            }
            // Another connection is the breaker of the one for large values.
            sleep(if self.number.is_some() { limit / PINGS_PER_TIMEOUT } else { limit * DISCARD_AFTER_TIMEOUTS }).await;
        }
    }

    /// Waits for an answer while replies arrive before it.
    ///
    /// A large value takes long in either direction.
    async fn wait<F: Future>(&self, connection: &Connection, limit: Duration, answer: F) -> Option<F::Output> {
        let clock = &*self.primary.context.clock;
        let limit = Timeout { deadline: clock.now().plus(limit), latest: Moment::FOREVER };
        let moved = &connection.moved;
        let progress = || if self.number.is_some() { moved.received() } else { moved.progress() };
        large_values::wait(clock, limit, progress, answer).await
    }

    /// Records that commands work.
    ///
    /// The connection for large values is excluded: its state is not that of the primary.
    fn works(&self, connection: &Connection) {
        if let Some(number) = self.number {
            self.primary.obstacle.store(None);
            self.primary.health.commands_work(number, &connection.server_version);
        }
    }

    fn is_obstructed(&self, why: &str) {
        if self.number.is_some() {
            self.primary.obstacle.store(Some(Arc::new(why.to_owned())));
        }
    }

    fn fails(&self, why: &str) {
        if let Some(number) = self.number {
            self.primary.health.commands_fail(number, why);
            self.primary.context.misplaced.notify_one();
        }
    }

    fn record_answer(&self, connection: &Connection, micros: u64, sent_at: Moment) {
        let primary = &*self.primary;
        let now = primary.context.clock.now();
        self.round_trip.store(now.since(sent_at).as_nanos() as u64, Ordering::Relaxed);
        primary.sample_clock(micros, sent_at, now);
        if self.suspended.swap(false, Ordering::AcqRel) {
            self.works(connection);
        }
    }
}

/// Repeats the handshake when the partitions change, or one is of another life.
///
/// Returns the reason why the connection is no longer usable.
async fn keep_handshake_current(primary: &Primary, connection: &Connection) -> String {
    let mut partitions = primary.watch_partitions();
    let mut other_life = primary.other_life.subscribe();
    let mut greeted = *partitions.borrow_and_update() == connection.partitions && primary.term() == connection.term;
    loop {
        if greeted {
            tokio::select! {
                _ = partitions.changed() => {}
                _ = other_life.changed() => {}
            }
        }
        if let Err(error) = connection.repeat_handshake(primary).await {
            return error.to_string();
        }
        greeted = true;
    }
}

/// Exponential backoff from 50 ms to 1 s, with jitter.
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Backoff(Duration::from_millis(50))
    }
}

impl Backoff {
    /// The next pause.
    pub fn next(&mut self) -> Duration {
        let pause = self.0.mul_f64(rand::random_range(0.5..1.0));
        self.0 = (self.0 * 2).min(Duration::from_secs(1));
        pause
    }
}
