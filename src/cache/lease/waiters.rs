//! A round is what all Gets of a replica share that want the lease of one key and do not have it. It asks the shared tier once for all of
//! them, hands the lease to one, and ends when anything is heard of the key, or nothing for a while; then the shared tier is read once for
//! all who are left. It has a task of its own, so that applying a change wakes one task, however many Gets wait: as many as there are RPCs
//! in flight, which are limited before they come here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tracing::Span;

use super::grants::{Lease, LeaseStatus};
use crate::cache::clock::Moment;
use crate::cache::key::{Key, KeyRef};
use crate::cache::single_flight::{FetchResult, Fetched};
use crate::cache::spans;
use crate::cache::version::Version;

/// Rounds of a partition under way at once. Where there are more, one ends early: who waits looks again.
const ROUNDS: usize = 4096;

/// What a round was begun with.
#[derive(Clone)]
pub struct LeaseRequest {
    /// For how long the lease is wanted.
    pub duration: Duration,
    /// The live entry that is to be made anew; none: there is none.
    pub seen: Option<Version>,
    /// What the shared tier was found to hold just before; none: it could not be asked.
    pub found: Option<Fetched>,
    /// Until when the shared tier is waited for.
    pub deadline: Moment,
}

/// Why a round ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Something was heard of the key, or nothing for a while.
    LookAgain,
    /// There is an entry.
    Present,
    /// Who had the lease could not make the entry.
    Failed,
}

/// What a round ended with.
#[derive(Clone)]
pub struct RoundOutcome {
    /// Why.
    pub end: End,
    /// What the shared tier holds after it; none: it was not asked.
    pub found: Option<FetchResult>,
}

/// Gets of one key that want its lease.
pub struct Round {
    /// What it was begun with.
    pub request: LeaseRequest,
    /// In which it is run.
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
    /// A lease that nobody has taken yet.
    lease: Option<Lease>,
}

/// A Get's part in a round. The last to leave a lease behind ends the round.
pub struct Waiter(Arc<Round>);

/// What a Get that takes part in a round comes to.
pub enum WaitResult {
    /// It has the lease.
    Lease(Lease),
    /// The round is over.
    Ended(RoundOutcome),
    /// Another has the lease, or nobody may have it.
    Status(LeaseStatus),
}

// === impl Round ===

impl Round {
    fn new(occasion: LeaseRequest) -> Arc<Round> {
        let (said, ended, over) = (watch::Sender::new(None), watch::Sender::new(None), watch::Sender::new(None));
        let (span, seats, handed) = (spans::round(), Mutex::default(), Notify::new());
        Arc::new(Round { request: occasion, span, waiters: seats, offered: handed, status: said, ended, outcome: over })
    }

    fn add_waiter(self: &Arc<Self>) -> Waiter {
        self.waiters().count += 1;
        Waiter(self.clone())
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the lease to one of those who take part. Back, when nobody does any more or the round has ended meanwhile.
    pub fn offer(&self, lease: Lease) -> Result<(), Lease> {
        let mut seats = self.waiters();
        if seats.count == 0 || self.has_ended().is_some() {
            return Err(lease);
        }
        seats.lease = Some(lease);
        drop(seats);
        // Who is told and leaves all the same passes it on.
        self.offered.notify_one();
        Ok(())
    }

    /// The lease, if nobody has taken it.
    pub fn take(&self) -> Option<Lease> {
        self.waiters().lease.take()
    }

    /// Says how the shared tier answered.
    pub fn set_status(&self, said: LeaseStatus) {
        self.status.send_replace(Some(said));
    }

    /// Why it has ended; none: it has not.
    pub fn has_ended(&self) -> Option<End> {
        *self.ended.borrow()
    }

    /// Waits until something ends it.
    pub async fn ended(&self) {
        // An error cannot be: the sender lives in `self`.
        _ = self.ended.subscribe().wait_for(Option::is_some).await;
    }

    /// Whether anybody takes part yet.
    pub fn is_awaited(&self) -> bool {
        self.waiters().count > 0
    }

    fn end(&self, end: End) {
        self.ended.send_if_modified(|ended| ended.replace(ended.unwrap_or(end)).is_none());
    }
}

// === impl Seat ===

impl Waiter {
    /// The round.
    pub fn round(&self) -> &Arc<Round> {
        &self.0
    }

    /// Waits for the lease or the end of the round, or only until `heeded` was said.
    pub async fn wait(&self, heeded: impl Fn(LeaseStatus) -> bool) -> WaitResult {
        let (mut said, mut over) = (self.0.status.subscribe(), self.0.outcome.subscribe());
        loop {
            tokio::select! {
                biased;
                () = self.0.offered.notified() => {
                    if let Some(lease) = self.0.take() {
                        return WaitResult::Lease(lease);
                    }
                }
                Ok(over) = over.wait_for(Option::is_some) => {
                    let none = RoundOutcome { end: End::LookAgain, found: None };
                    return WaitResult::Ended(over.clone().unwrap_or(none));
                }
                Ok(said) = said.wait_for(|said| said.is_some_and(&heeded)) => {
                    return WaitResult::Status(said.unwrap_or(LeaseStatus::Taken));
                }
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut seats = self.0.waiters();
        seats.count -= 1;
        if seats.count == 0 && seats.lease.is_some() {
            drop(seats);
            self.0.end(End::LookAgain);
        }
    }
}

/// The rounds under way of one partition.
#[derive(Default)]
pub struct Rounds {
    /// How many there are: what applies a change looks no further when there are none.
    number: AtomicUsize,
    under_way: Mutex<HashMap<Key, Arc<Round>>>,
}

// === impl Rounds ===

impl Rounds {
    /// Takes part in the round of `key` under way, if there is one that `suits`.
    pub fn join(&self, key: &Key, suits: impl Fn(&LeaseRequest) -> bool) -> Option<Waiter> {
        if self.number.load(Ordering::SeqCst) == 0 {
            return None;
        }
        self.under_way().get(key).filter(|round| suits(&round.request)).map(Round::add_waiter)
    }

    /// Takes part in the round of `key` under way, or begins one. Returns whether it was begun: then it has to be run.
    pub fn join_or_start(&self, key: &Key, occasion: LeaseRequest) -> (Waiter, bool) {
        let mut under_way = self.under_way();
        if let Some(round) = under_way.get(key) {
            return (round.add_waiter(), false);
        }
        if under_way.len() >= ROUNDS
            && let Some(other) = under_way.keys().next().cloned()
            && let Some(round) = under_way.remove(&other)
        {
            round.end(End::LookAgain);
        }
        let round = Round::new(occasion);
        under_way.insert(key.clone(), round.clone());
        self.number.store(under_way.len(), Ordering::SeqCst);
        (round.add_waiter(), true)
    }

    /// Something was heard of `key`.
    pub fn end(&self, key: KeyRef<'_>, end: End) {
        if self.number.load(Ordering::SeqCst) > 0 {
            self.end_those(end, |under_way| under_way.remove(&key.to_key()).into_iter().collect());
        }
    }

    /// Something was heard that may be about any key of the namespace numbered `namespace`; none: of any.
    pub fn end_all(&self, namespace: Option<u32>) {
        if self.number.load(Ordering::SeqCst) > 0 {
            let meant = |key: &Key| namespace.is_none_or(|id| key.namespace().id == id);
            self.end_those(End::LookAgain, |under_way| {
                under_way.extract_if(|key, _| meant(key)).map(|(_, round)| round).collect()
            });
        }
    }

    /// The round has run to its end, with this.
    pub fn finish(&self, key: &Key, round: &Arc<Round>) {
        let mut under_way = self.under_way();
        if under_way.get(key).is_some_and(|other| Arc::ptr_eq(other, round)) {
            under_way.remove(key);
            self.number.store(under_way.len(), Ordering::SeqCst);
        }
    }

    /// How many are under way.
    pub fn number(&self) -> usize {
        self.number.load(Ordering::SeqCst)
    }

    fn end_those(&self, end: End, take: impl FnOnce(&mut HashMap<Key, Arc<Round>>) -> Vec<Arc<Round>>) {
        let mut under_way = self.under_way();
        let ended = take(&mut under_way);
        self.number.store(under_way.len(), Ordering::SeqCst);
        ended.iter().for_each(|round| round.end(end));
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Key, Arc<Round>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A round being run: however its task ends, nobody goes on waiting for it.
pub struct RoundGuard<'a> {
    rounds: &'a Rounds,
    key: &'a Key,
    round: &'a Arc<Round>,
    /// What those who are left are told.
    pub outcome: RoundOutcome,
}

impl<'a> RoundGuard<'a> {
    /// Begins to run.
    pub fn new(rounds: &'a Rounds, key: &'a Key, round: &'a Arc<Round>) -> RoundGuard<'a> {
        RoundGuard { rounds, key, round, outcome: RoundOutcome { end: End::LookAgain, found: None } }
    }

    /// No Get may join it any more.
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
