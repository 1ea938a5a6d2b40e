//! Rounds: the Gets of a replica that wait for the lease of one key.
//!
//! A round requests the lease from L2 once for all of them, hands it to one, and ends at the first
//! news of the key, or after a while without any. Then it reads L2 once for all that are left. It
//! has a task of its own, so that applying a change wakes one task, however many Gets wait: at most
//! as many as there are RPCs in flight, which are limited by admission.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tracing::Span;

use super::grants::{Lease, LeaseStatus};
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::key::{Key, KeyRef};
use crate::cache::single_flight::{FetchResult, Fetched};
use crate::cache::spans;
use crate::cache::version::Version;
use crate::sync::Mutex;

/// Most rounds of a partition in flight. Beyond that one ends early, and its waiters look again.
const MAX_ROUNDS: usize = 4096;

/// The request that a round was started with.
#[derive(Clone)]
pub struct LeaseRequest {
    /// Duration of the lease.
    pub duration: Duration,
    /// Version of the live entry to refresh. `None` if there is no live entry.
    pub seen: Option<Version>,
    /// The contents of L2 just before. `None` if it was unavailable.
    pub found: Option<Fetched>,
    /// Deadline of waiting for L2.
    pub deadline: Moment,
}

/// Reason for the end of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There was news of the key, or none for a while.
    LookAgain,
    /// There is an entry.
    Present,
    /// The lease holder failed to fill the entry.
    Failed,
}

/// Outcome of a round.
#[derive(Clone)]
pub struct RoundOutcome {
    /// The reason.
    pub end: End,
    /// The contents of L2 afterwards. `None` if it was not read.
    pub found: Option<FetchResult>,
    /// The limit that kept the lease from being requested.
    pub refused: Option<CacheError>,
}

/// Gets that wait for the lease of one key.
pub struct Round {
    /// The request that it was started with.
    pub request: LeaseRequest,
    /// Span of its task.
    pub span: Span,
    waiters: Mutex<Waiters>,
    offered: Notify,
    status: watch::Sender<Option<LeaseStatus>>,
    ended: watch::Sender<Option<End>>,
    outcome: watch::Sender<Option<RoundOutcome>>,
}

#[derive(Default)]
struct Waiters {
    count: usize,
    /// A lease that no waiter has taken yet.
    lease: Option<Lease>,
}

/// A Get's part in a round. The last waiter to drop while a lease is on offer ends the round.
pub struct Waiter(Arc<Round>);

/// Result of waiting in a round.
pub enum WaitResult {
    /// The Get has the lease.
    Lease(Lease),
    /// The round has ended.
    Ended(RoundOutcome),
    /// Another caller has the lease, or it is paused.
    Status(LeaseStatus),
}

// === impl Round ===

impl Round {
    fn new(request: LeaseRequest) -> Arc<Round> {
        let (status, ended, outcome) = (watch::Sender::new(None), watch::Sender::new(None), watch::Sender::new(None));
        let (span, waiters, offered) = (spans::round(), Mutex::default(), Notify::new());
        Arc::new(Round { request, span, waiters, offered, status, ended, outcome })
    }

    fn add_waiter(self: &Arc<Self>) -> Waiter {
        self.waiters().count += 1;
        Waiter(self.clone())
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock()
    }

    /// Offers the lease to a waiter.
    ///
    /// Returns it as an error if there is no waiter left or the round has ended.
    pub fn offer(&self, lease: Lease) -> Result<(), Lease> {
        let mut waiters = self.waiters();
        if waiters.count == 0 || self.has_ended().is_some() {
            return Err(lease);
        }
        waiters.lease = Some(lease);
        drop(waiters);
        // A waiter that is woken and then drops hands the wake-up to the next.
        self.offered.notify_one();
        Ok(())
    }

    /// Takes the offered lease, if no waiter has taken it.
    pub fn take(&self) -> Option<Lease> {
        self.waiters().lease.take()
    }

    /// Publishes the reply of L2.
    pub fn set_status(&self, status: LeaseStatus) {
        self.status.send_replace(Some(status));
    }

    /// Returns why it has ended. `None` if it has not.
    pub fn has_ended(&self) -> Option<End> {
        *self.ended.borrow()
    }

    /// Waits for its end.
    pub async fn ended(&self) {
        // There is no error: the sender lives in `self`.
        _ = self.ended.subscribe().wait_for(Option::is_some).await;
    }

    /// Returns true if there is a waiter.
    pub fn is_awaited(&self) -> bool {
        self.waiters().count > 0
    }

    fn end(&self, end: End) {
        self.ended.send_if_modified(|ended| ended.replace(ended.unwrap_or(end)).is_none());
    }
}

// === impl Waiter ===

impl Waiter {
    /// Returns the round.
    pub fn round(&self) -> &Arc<Round> {
        &self.0
    }

    /// Waits for the lease, for the end of the round, or for a status that `ends_wait`.
    pub async fn wait(&self, ends_wait: impl Fn(LeaseStatus) -> bool) -> WaitResult {
        let (mut status, mut outcome) = (self.0.status.subscribe(), self.0.outcome.subscribe());
        loop {
            tokio::select! {
                biased;
                () = self.0.offered.notified() => {
                    if let Some(lease) = self.0.take() {
                        return WaitResult::Lease(lease);
                    }
                }
                Ok(outcome) = outcome.wait_for(Option::is_some) => {
                    let none = RoundOutcome { end: End::LookAgain, found: None, refused: None };
                    return WaitResult::Ended(outcome.clone().unwrap_or(none));
                }
                Ok(status) = status.wait_for(|status| status.is_some_and(&ends_wait)) => {
                    return WaitResult::Status(status.unwrap_or(LeaseStatus::Taken));
                }
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiters = self.0.waiters();
        waiters.count -= 1;
        if waiters.count == 0 && waiters.lease.is_some() {
            drop(waiters);
            self.0.end(End::LookAgain);
        }
    }
}

/// The rounds in flight of one partition.
#[derive(Default)]
pub struct Rounds {
    /// Number of rounds. If it is 0, applying a change looks no further.
    number: AtomicUsize,
    in_flight: Mutex<HashMap<Key, Arc<Round>>>,
}

// === impl Rounds ===

impl Rounds {
    /// Joins the round of `key` in flight, if there is one that `suits`.
    pub fn join(&self, key: &Key, suits: impl Fn(&LeaseRequest) -> bool) -> Option<Waiter> {
        if self.number.load(Ordering::SeqCst) == 0 {
            return None;
        }
        self.in_flight().get(key).filter(|round| suits(&round.request)).map(Round::add_waiter)
    }

    /// Joins the round of `key` in flight, or starts one.
    ///
    /// Returns true if it was started: then the caller has to run it.
    pub fn join_or_start(&self, key: &Key, request: LeaseRequest) -> (Waiter, bool) {
        let mut in_flight = self.in_flight();
        if let Some(round) = in_flight.get(key) {
            return (round.add_waiter(), false);
        }
        if in_flight.len() >= MAX_ROUNDS
            && let Some(other) = in_flight.keys().next().cloned()
            && let Some(round) = in_flight.remove(&other)
        {
            round.end(End::LookAgain);
        }
        let round = Round::new(request);
        in_flight.insert(key.clone(), round.clone());
        self.number.store(in_flight.len(), Ordering::SeqCst);
        (round.add_waiter(), true)
    }

    /// Ends the round of `key`.
    pub fn end(&self, key: KeyRef<'_>, end: End) {
        if self.number.load(Ordering::SeqCst) > 0 {
            self.end_those(end, |in_flight| in_flight.remove(&key.to_key()).into_iter().collect());
        }
    }

    /// Ends the rounds of the namespace numbered `namespace`, or with `None`, all rounds.
    pub fn end_all(&self, namespace: Option<u32>) {
        if self.number.load(Ordering::SeqCst) > 0 {
            let is_covered = |key: &Key| namespace.is_none_or(|id| key.namespace().id == id);
            self.end_those(End::LookAgain, |in_flight| {
                in_flight.extract_if(|key, _| is_covered(key)).map(|(_, round)| round).collect()
            });
        }
    }

    /// Removes a round that has run to its end.
    pub fn finish(&self, key: &Key, round: &Arc<Round>) {
        let mut in_flight = self.in_flight();
        if in_flight.get(key).is_some_and(|other| Arc::ptr_eq(other, round)) {
            in_flight.remove(key);
            self.number.store(in_flight.len(), Ordering::SeqCst);
        }
    }

    /// Returns the number of rounds in flight.
    pub fn number(&self) -> usize {
        self.number.load(Ordering::SeqCst)
    }

    fn end_those(&self, end: End, take: impl FnOnce(&mut HashMap<Key, Arc<Round>>) -> Vec<Arc<Round>>) {
        let mut in_flight = self.in_flight();
        let ended = take(&mut in_flight);
        self.number.store(in_flight.len(), Ordering::SeqCst);
        ended.iter().for_each(|round| round.end(end));
    }

    fn in_flight(&self) -> MutexGuard<'_, HashMap<Key, Arc<Round>>> {
        self.in_flight.lock()
    }
}

/// Guard of a running round: however its task ends, no Get waits for it any longer.
pub struct RoundGuard<'a> {
    rounds: &'a Rounds,
    key: &'a Key,
    round: &'a Arc<Round>,
    /// The outcome for the waiters that are left.
    pub outcome: RoundOutcome,
}

impl<'a> RoundGuard<'a> {
    /// Takes charge of a round before it runs.
    pub fn new(rounds: &'a Rounds, key: &'a Key, round: &'a Arc<Round>) -> RoundGuard<'a> {
        RoundGuard { rounds, key, round, outcome: RoundOutcome { end: End::LookAgain, found: None, refused: None } }
    }

    /// Lets no further Get join it.
    pub fn close(&self) {
        self.rounds.finish(self.key, self.round);
    }
}

impl Drop for RoundGuard<'_> {
    fn drop(&mut self) {
        self.close();
        self.round.outcome.send_replace(Some(self.outcome.clone()));
    }
}
