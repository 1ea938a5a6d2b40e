//! The place of one request among the requests in work. A request that waits for another caller gives it back and takes a waiting place, so
//! that callers of one slow key do not hold the places of all others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::{Account, Admission, LimitReached, RequestPermit, Resource, TakenAmounts};
use crate::cache::error::CacheError;

/// The streams of one connection: how many may be in work at once, and how many more may wait.
pub struct Streams {
    work: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    waiting_limit: usize,
}

/// The place of one request. Every clone is the same place; it is given back with the last of them.
#[derive(Clone)]
pub struct RequestSlot(Arc<SlotInner>);

/// Facts of a request that takes long, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its namespace.
    pub namespace: String,
    /// Its key, as the log may have it; none: it has none, or several.
    pub key: Option<String>,
    /// Outcome, in one word.
    pub outcome: Option<&'static str>,
    /// The tier that answered.
    pub tier: Option<&'static str>,
    /// True if the shared tier was needed and could not be asked.
    pub degraded: Option<bool>,
}

struct SlotInner {
    account: Arc<Account>,
    /// Time from which on it takes long; none: no time is.
    slow_from: Option<Instant>,
    facts: OnceLock<Facts>,
    streams: Arc<Streams>,
    state: Mutex<SlotState>,
    /// Whether the answer must not be refused, however little room there is.
    is_owed: AtomicBool,
}

enum SlotState {
    /// Among the requests in work.
    Working {
        _permits: Box<dyn Send>,
        /// Memory of the request.
        request: Option<TakenAmounts>,
    },
    /// Given back: the response is a stream that lasts.
    Released,
    /// Among the requests that wait, until the response is sent: a request that goes on after its wait is never refused.
    Waiting {
        _permits: (OwnedSemaphorePermit, RequestPermit),
        /// Room for the response.
        answer: Option<OwnedSemaphorePermit>,
    },
}

// === impl Streams ===

impl Streams {
    /// Streams of a connection of which at most `work` are in work at once, beside its share of the waiting places of `load`.
    pub fn new(work: usize, load: &Admission) -> Streams {
        let waiting_limit = Streams::waiting_limit(load);
        let (work, waiting) = (Arc::new(Semaphore::new(work)), Arc::new(Semaphore::new(waiting_limit)));
        Streams { work, waiting, waiting_limit }
    }

    /// Most requests of one connection that wait at once: half of all, so that no connection takes the waiting places of all others.
    pub fn waiting_limit(load: &Admission) -> usize {
        load.waiting_limit().div_ceil(2)
    }

    /// Waits until one more stream of the connection may be in work.
    pub async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        self.work.clone().acquire_owned().await.ok()
    }
}

// === impl Place ===

impl RequestSlot {
    /// A place that gives `permits` back when it is dropped, or when its request begins to wait.
    pub fn new(account: Arc<Account>, streams: Arc<Streams>, permits: impl Send + 'static) -> RequestSlot {
        RequestSlot::slow_from(account, streams, permits, None)
    }

    /// The same of a request that takes long from `slow_from` on.
    pub fn slow_from(
        account: Arc<Account>,
        streams: Arc<Streams>,
        permits: impl Send + 'static,
        slow_from: Option<Instant>,
    ) -> RequestSlot {
        let state = Mutex::new(SlotState::Working { _permits: Box::new(permits), request: None });
        let (is_owed, facts) = (AtomicBool::new(false), OnceLock::new());
        RequestSlot(Arc::new(SlotInner { account, slow_from, facts, streams, state, is_owed }))
    }

    /// Returns true if it takes long by now.
    pub fn is_slow(&self) -> bool {
        self.0.slow_from.is_some_and(|from| Instant::now() >= from)
    }

    /// Notes what is known of it. The first note counts.
    pub fn set_facts(&self, facts: Facts) {
        let _ = self.0.facts.set(facts);
    }

    /// Returns what was noted.
    pub fn facts(&self) -> Option<&Facts> {
        self.0.facts.get()
    }

    /// The same with the memory of the request, which is given back when the request has been answered or begins to wait.
    pub fn with_request(self, taken: TakenAmounts) -> RequestSlot {
        if let SlotState::Working { request, .. } = &mut *self.state() {
            *request = Some(taken);
        }
        self
    }

    /// Gives the memory of the request back: it has been answered.
    pub fn end_request(&self) {
        if let SlotState::Working { request, .. } = &mut *self.state() {
            *request = None;
        }
    }

    /// Keeps the answer from being refused: what it brings, such as a lease, would be lost.
    pub fn owe_answer(&self) {
        self.0.is_owed.store(true, Ordering::Relaxed);
    }

    /// Whether the answer must not be refused.
    pub fn is_owed(&self) -> bool {
        self.0.is_owed.load(Ordering::Relaxed)
    }

    /// The account of the request's connection.
    pub fn account(&self) -> &Arc<Account> {
        &self.0.account
    }

    /// Gives the place back before the request has ended: its response lasts.
    pub fn release(&self) {
        *self.state() = SlotState::Released;
    }

    /// Exchanges the place in work for a waiting place. Fails, and keeps the place, when there is none.
    pub fn wait(&self) -> Result<(), CacheError> {
        let mut state = self.state();
        if matches!(*state, SlotState::Waiting { .. }) {
            return Ok(());
        }
        let streams = &self.0.streams;
        let load = self.0.account.load();
        let own = streams.waiting.clone().try_acquire_owned().map_err(|_| {
            let what = "waiting Gets of one connection (half of server.max_waiting)";
            load.refuse(LimitReached { what, limit: streams.waiting_limit })
        })?;
        let permits = (own, self.0.account.admit(Resource::Waiting)?);
        *state = SlotState::Waiting { _permits: permits, answer: None };
        Ok(())
    }

    /// Whether the request has waited: then its response has room of its own, see `room`, and is never refused.
    pub fn has_waited(&self) -> bool {
        matches!(*self.state(), SlotState::Waiting { .. })
    }

    /// Waits until there is room for a response of `bytes` among the responses of requests that have waited: those that are woken together
    /// are answered as fast as their callers read. Returns whether there was room at once. A request that has not waited needs none.
    pub async fn wait_for_answer_room(&self, bytes: usize) -> bool {
        let (all, most) = self.0.account.load().waiting_answers();
        let bytes = u32::try_from(bytes.min(most)).unwrap_or(u32::MAX);
        match &mut *self.state() {
            SlotState::Waiting { answer, .. } => {
                if answer.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) >= bytes as usize {
                    return true;
                }
                // Less than is needed would keep others out while it waits for more.
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
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::admission::limits::AdmissionLimits;

    /// A connection with two streams in work, of a service with room for three waiting requests and 100 bytes of their responses.
    fn world() -> (Arc<Admission>, Arc<Streams>) {
        let limits =
            AdmissionLimits { requests: 2, bytes: 200, probes: 1, connections: 1, waiting: 3, peer_share: 1.0 };
        let load = Arc::new(Admission::new(limits));
        let streams = Arc::new(Streams::new(2, &load));
        (load, streams)
    }

    async fn place(load: &Arc<Admission>, streams: &Arc<Streams>) -> RequestSlot {
        let account = load.account([127, 0, 0, 1].into());
        let permits = (streams.enter().await, account.admit(Resource::Requests).expect("a place"));
        RequestSlot::new(account, streams.clone(), permits)
    }

    #[tokio::test]
    async fn a_request_that_waits_gives_its_place_and_its_stream_to_others() {
        let (load, streams) = world();
        let first = place(&load, &streams).await;
        let second = place(&load, &streams).await;
        assert_eq!((load.in_flight(), load.waiting()), (2, 0));
        assert!(load.account([127, 0, 0, 1].into()).admit(Resource::Requests).is_err());
        first.wait().expect("a waiting place");
        first.wait().expect("the same");
        assert_eq!((load.in_flight(), load.waiting()), (1, 1));
        let third = place(&load, &streams).await;
        drop((second, third));
        assert_eq!((load.in_flight(), load.waiting()), (0, 1));
        drop(first);
        assert_eq!(load.waiting(), 0);
    }

    #[tokio::test]
    async fn a_request_beyond_a_limit_is_refused_and_keeps_its_place() {
        let (load, streams) = world();
        let other = Arc::new(Streams::new(2, &load));
        let mut waiting = Vec::new();
        for streams in [&streams, &streams, &other] {
            let place = place(&load, streams).await;
            place.wait().expect("a waiting place");
            waiting.push(place);
        }
        for (streams, limit) in [(&streams, 2), (&other, 3)] {
            let refused = place(&load, streams).await;
            let error = refused.wait().expect_err("no waiting place");
            assert!(matches!(error, CacheError::Exhausted { limit: was, retry_after: Some(_), .. } if was == limit));
            assert_eq!(load.in_flight(), 1);
        }
        assert_eq!(load.shed(), 2);
        drop(waiting.pop());
        place(&load, &other).await.wait().expect("a waiting place again");
    }

    #[tokio::test]
    async fn requests_that_have_waited_are_answered_one_after_the_other() {
        let (load, streams) = world();
        let (first, second, third) =
            (place(&load, &streams).await, place(&load, &streams).await, Arc::new(Streams::new(2, &load)));
        assert!(second.wait_for_answer_room(80).await, "nothing is needed before a wait");
        first.wait().expect("a waiting place");
        second.wait().expect("a waiting place");
        assert!(first.wait_for_answer_room(80).await && first.wait_for_answer_room(50).await);
        assert!(second.wait_for_answer_room(20).await);
        let third = place(&load, &third).await;
        third.wait().expect("a waiting place");
        let waits =
            tokio::spawn(
                async move { (third.wait_for_answer_room(1000).await, third.wait_for_answer_room(1000).await) },
            );
        tokio::task::yield_now().await;
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop(second);
        // More than there ever is counts as all there is.
        assert_eq!(waits.await.expect("no panic"), (false, true));
    }
}
