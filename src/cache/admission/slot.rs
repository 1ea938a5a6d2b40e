//! The slot of one request among the requests in flight.
//!
//! A request that waits for another caller exchanges its slot for a waiting slot, so that callers
//! of one slow key do not hold the slots of all others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, OnceLock};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::limits::{Account, Admission, LimitReached, RequestPermit, TakenAmounts};
use super::resource::Resource;
use crate::cache::error::CacheError;
use crate::cache::namespace::InFlightPlace;
use crate::sync::Mutex;

/// Stream limits of one connection: active streams, and waiting streams beside them.
pub struct Streams {
    work: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    waiting_limit: usize,
}

/// The slot of one request. Every clone is the same slot; dropping the last one releases it.
#[derive(Clone)]
pub struct RequestSlot(Arc<SlotInner>);

/// Facts of a slow request, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its namespace.
    pub namespace: String,
    /// Its key, in the form the log allows. `None` if the request has no key or several.
    pub key: Option<String>,
    /// Outcome, in one word.
    pub outcome: Option<&'static str>,
    /// The tier that answered.
    pub tier: Option<&'static str>,
    /// True if the shared tier was needed and could not be reached.
    pub degraded: Option<bool>,
}

struct SlotInner {
    account: Arc<Account>,
    /// Time from which the request is slow. `None` if it is never reported as slow.
    slow_from: Option<Instant>,
    facts: OnceLock<Facts>,
    streams: Arc<Streams>,
    state: Mutex<SlotState>,
    /// True if the answer must not be refused, however little room there is.
    is_owed: AtomicBool,
    /// Place of the request in the quota of its namespace.
    in_flight: OnceLock<InFlightPlace>,
}

enum SlotState {
    /// In flight.
    Working {
        _permits: Box<dyn Send>,
        /// Memory of the request.
        request: Option<TakenAmounts>,
    },
    /// Released: the response is a long-lived stream.
    Released,
    /// Waiting, until the response is sent. A request that continues after its wait is never
    /// refused.
    Waiting {
        _permits: (OwnedSemaphorePermit, RequestPermit),
        /// Room for the response.
        answer: Option<OwnedSemaphorePermit>,
    },
}

// === impl Streams ===

impl Streams {
    /// Creates the limits of a connection: at most `work` active streams, beside its share of the
    /// waiting slots of `load`.
    pub fn new(work: usize, load: &Admission) -> Streams {
        let waiting_limit = Streams::waiting_limit(load);
        let (work, waiting) = (Arc::new(Semaphore::new(work)), Arc::new(Semaphore::new(waiting_limit)));
        Streams { work, waiting, waiting_limit }
    }

    /// Returns the most requests of one connection that wait at once: half of all, so that no
    /// connection takes all waiting slots.
    pub fn waiting_limit(load: &Admission) -> usize {
        load.waiting_limit().div_ceil(2)
    }

    /// Waits until one more stream of the connection may be active.
    pub async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        self.work.clone().acquire_owned().await.ok()
    }

    /// Makes a stream active until `leave`, if one more may be active now.
    pub fn try_enter(&self) -> bool {
        self.work.try_acquire().map(SemaphorePermit::forget).is_ok()
    }

    /// Ends a stream that `try_enter` made active.
    pub fn leave(&self) {
        self.work.add_permits(1);
    }
}

// === impl RequestSlot ===

impl RequestSlot {
    /// Creates a slot that drops `permits` when it is dropped, or when its request begins to wait.
    pub fn new(account: Arc<Account>, streams: Arc<Streams>, permits: impl Send + 'static) -> RequestSlot {
        RequestSlot::slow_from(account, streams, permits, None)
    }

    /// Creates a slot of a request that is slow from `slow_from` on.
    pub fn slow_from(
        account: Arc<Account>,
        streams: Arc<Streams>,
        permits: impl Send + 'static,
        slow_from: Option<Instant>,
    ) -> RequestSlot {
        let state = Mutex::new(SlotState::Working { _permits: Box::new(permits), request: None });
        let (is_owed, facts, in_flight) = (AtomicBool::new(false), OnceLock::new(), OnceLock::new());
        RequestSlot(Arc::new(SlotInner { account, slow_from, facts, streams, state, is_owed, in_flight }))
    }

    /// Returns true if the request is slow by now.
    pub fn is_slow(&self) -> bool {
        self.0.slow_from.is_some_and(|from| Instant::now() >= from)
    }

    /// Sets the facts for the log. Only the first call has an effect.
    pub fn set_facts(&self, facts: Facts) {
        let _ = self.0.facts.set(facts);
    }

    /// Returns the facts for the log.
    pub fn facts(&self) -> Option<&Facts> {
        self.0.facts.get()
    }

    /// Adds the memory of the request, which is released when the request has been answered or
    /// begins to wait.
    pub fn with_request(self, taken: TakenAmounts) -> RequestSlot {
        if let SlotState::Working { request, .. } = &mut *self.state() {
            *request = Some(taken);
        }
        self
    }

    /// Keeps the place of the request in the quota of its namespace until the response is written.
    pub fn keep_in_flight(&self, place: InFlightPlace) {
        _ = self.0.in_flight.set(place);
    }

    /// Releases the memory of the request, which has been answered.
    pub fn end_request(&self) {
        if let SlotState::Working { request, .. } = &mut *self.state() {
            *request = None;
        }
    }

    /// Keeps the answer from being refused: its content, such as a lease, would be lost.
    pub fn owe_answer(&self) {
        self.0.is_owed.store(true, Ordering::Relaxed);
    }

    /// Returns true if the answer must not be refused.
    pub fn is_owed(&self) -> bool {
        self.0.is_owed.load(Ordering::Relaxed)
    }

    /// Returns the account of the request's connection.
    pub fn account(&self) -> &Arc<Account> {
        &self.0.account
    }

    /// Releases the slot before the request has ended, because its response is a long-lived stream.
    pub fn release(&self) {
        *self.state() = SlotState::Released;
    }

    /// Exchanges the slot for a waiting slot. Fails, and keeps the slot, if there is none.
    pub fn wait(&self) -> Result<(), CacheError> {
        let mut state = self.state();
        if matches!(*state, SlotState::Waiting { .. }) {
            return Ok(());
        }
        let streams = &self.0.streams;
        let load = self.0.account.load();
        let own = streams.waiting.clone().try_acquire_owned().map_err(|_| {
            let what = "waiting Gets of one connection";
            load.refuse(LimitReached { what, limit: streams.waiting_limit })
        })?;
        let permits = (own, self.0.account.admit(Resource::Waiting)?);
        *state = SlotState::Waiting { _permits: permits, answer: None };
        Ok(())
    }

    /// Returns true if the request has waited. Its response then has room of its own (see
    /// [`Self::wait_for_answer_room`]) and is never refused.
    pub fn has_waited(&self) -> bool {
        matches!(*self.state(), SlotState::Waiting { .. })
    }

    /// Waits for room for a response of `bytes` among the responses of requests that have waited.
    ///
    /// Requests that wake together are answered as fast as their callers read. Returns true if
    /// there was room at once. A request that has not waited needs none.
    pub async fn wait_for_answer_room(&self, bytes: usize) -> bool {
        let (all, most) = self.0.account.load().waiting_answers();
        let bytes = u32::try_from(bytes.min(most)).unwrap_or(u32::MAX);
        match &mut *self.state() {
            SlotState::Waiting { answer, .. } => {
                if answer.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) >= bytes as usize {
                    return true;
                }
                // A part of what is needed would keep others out while this request waits for more.
                *answer = None;
            }
            SlotState::Working { .. } | SlotState::Released => return true,
        }
        if let Ok(room) = all.clone().try_acquire_many_owned(bytes) {
            self.keep(room);
            return true;
        }
        if let Ok(room) = all.clone().acquire_many_owned(bytes).await {
            self.keep(room);
        }
        false
    }

    fn keep(&self, room: OwnedSemaphorePermit) {
        if let SlotState::Waiting { answer, .. } = &mut *self.state() {
            *answer = Some(room);
        }
    }

    fn state(&self) -> MutexGuard<'_, SlotState> {
        self.0.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::admission::limits::AdmissionLimits;

    /// A connection with two active streams, of a service with room for three waiting requests and
    /// 100 bytes of their responses.
    fn world() -> (Arc<Admission>, Arc<Streams>) {
        let limits = AdmissionLimits {
            requests: 2,
            bytes: 200,
            probes: 1,
            watches: 8,
            connections: 1,
            waiting: 3,
            peer_share: 1.0,
        };
        let load = Arc::new(Admission::new(limits));
        let streams = Arc::new(Streams::new(2, &load));
        (load, streams)
    }

    async fn slot(load: &Arc<Admission>, streams: &Arc<Streams>) -> RequestSlot {
        let account = load.account([127, 0, 0, 1].into());
        let permits = (streams.enter().await, account.admit(Resource::Requests).expect("a slot"));
        RequestSlot::new(account, streams.clone(), permits)
    }

    #[tokio::test]
    async fn a_request_that_waits_gives_its_slot_and_its_stream_to_others() {
        let (load, streams) = world();
        let first = slot(&load, &streams).await;
        let second = slot(&load, &streams).await;
        assert_eq!((load.in_flight(), load.waiting()), (2, 0));
        assert!(load.account([127, 0, 0, 1].into()).admit(Resource::Requests).is_err());
        first.wait().expect("a waiting slot");
        first.wait().expect("the same");
        assert_eq!((load.in_flight(), load.waiting()), (1, 1));
        let third = slot(&load, &streams).await;
        drop((second, third));
        assert_eq!((load.in_flight(), load.waiting()), (0, 1));
        drop(first);
        assert_eq!(load.waiting(), 0);
    }

    #[tokio::test]
    async fn a_request_beyond_a_limit_is_refused_and_keeps_its_slot() {
        let (load, streams) = world();
        let other = Arc::new(Streams::new(2, &load));
        let mut waiting = Vec::new();
        for streams in [&streams, &streams, &other] {
            let slot = slot(&load, streams).await;
            slot.wait().expect("a waiting slot");
            waiting.push(slot);
        }
        for (streams, limit) in [(&streams, 2), (&other, 3)] {
            let refused = slot(&load, streams).await;
            let error = refused.wait().expect_err("no waiting slot");
            assert!(matches!(error, CacheError::Exhausted { limit: was, retry_after: Some(_), .. } if was == limit));
            assert_eq!(load.in_flight(), 1);
        }
        assert_eq!(load.shed(), 2);
        drop(waiting.pop());
        slot(&load, &other).await.wait().expect("a waiting slot again");
    }

    #[tokio::test]
    async fn requests_that_have_waited_are_answered_one_after_the_other() {
        let (load, streams) = world();
        let (first, second, third) =
            (slot(&load, &streams).await, slot(&load, &streams).await, Arc::new(Streams::new(2, &load)));
        assert!(second.wait_for_answer_room(80).await, "nothing is needed before a wait");
        first.wait().expect("a waiting slot");
        second.wait().expect("a waiting slot");
        assert!(first.wait_for_answer_room(80).await && first.wait_for_answer_room(50).await);
        assert!(second.wait_for_answer_room(20).await);
        let third = slot(&load, &third).await;
        third.wait().expect("a waiting slot");
        let waits =
            tokio::spawn(
                async move { (third.wait_for_answer_room(1000).await, third.wait_for_answer_room(1000).await) },
            );
        tokio::task::yield_now().await;
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop(second);
        // A size above the limit counts as the limit.
        assert_eq!(waits.await.expect("no panic"), (false, true));
    }
}
