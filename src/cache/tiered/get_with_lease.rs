//! Get with a lease: one caller fills the entry; others wait, take a stale value or time out.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{Instrument as _, Span};

use super::cache::{Tiered, TieredInner};
use super::lookup::{GetContext, L1Lookup, hit_in_l1, outlived};
use super::round_wait::{Room, RoundWait};
use super::types::{Consistency, Get, GetAnswer, GetOutcome, Miss, Tier};
use crate::cache::clock::Moment;
use crate::cache::coherence::Freshness;
use crate::cache::entry::Entry;
use crate::cache::error::CacheError;
use crate::cache::key::Key;
use crate::cache::lease::LeaseOptions;
use crate::cache::lease::waiters::{End, LeaseRequest, RoundOutcome, WaitResult, Waiter};
use crate::cache::namespace::Namespace;
use crate::cache::single_flight::{FetchResult, Fetched};
use crate::cache::spans;
use crate::cache::version::Version;

/// How many times in a row L2 may report an entry that a read does not find, before the read wins.
const MAX_CONTRADICTIONS: u32 = 3;

/// A Get that requests a lease.
struct LeasedGet<'a> {
    cache: &'a Tiered,
    context: GetContext<'a>,
    key: Key,
    options: LeaseOptions,
    /// End of its waits.
    deadline: Moment,
    /// Start of the requests to L2, which share one timeout. The wait for another caller to fill
    /// the entry moves it.
    requests_since: Moment,
    /// Contents of L2 as reported at the end of the last round.
    reported: Option<FetchResult>,
    /// How many times in a row L2 reported an entry that was not found.
    contradictions: u32,
    /// True if it waited for another caller.
    waited: bool,
}

// === impl Tiered ===

impl Tiered {
    /// Reads one entry for a caller that would fill it.
    pub(super) async fn get_with_lease(
        &self,
        context: GetContext<'_>,
        options: LeaseOptions,
    ) -> Result<GetAnswer, CacheError> {
        let GetContext { get, started_at, .. } = context;
        let mut attempts = LeasedGet {
            cache: self,
            context,
            key: get.key.to_key(),
            options,
            deadline: self.0.answer_deadline(Duration::MAX, get.deadline, started_at),
            requests_since: started_at,
            reported: None,
            contradictions: 0,
            waited: false,
        };
        let answer = loop {
            if let Some(answer) = attempts.attempt().await? {
                break answer;
            }
        };
        let waited = attempts.waited;
        if waited {
            let counters = &self.0.leases.counters;
            match answer.outcome {
                GetOutcome::Hit { .. } => counters.served.inc(),
                GetOutcome::Miss(_) => counters.left.inc(),
            }
        }
        Ok(GetAnswer { waited, ..answer })
    }

    /// Joins the round of `key`. Returns true if this call began it.
    fn join_round(&self, key: &Key, partition: u16, request: LeaseRequest) -> (Waiter, bool) {
        let (waiter, is_new) = self.0.coherence.rounds(partition).join_or_start(key, request);
        if is_new {
            let round = self.clone().run_round(key.clone(), partition, waiter.round().clone());
            let round = round.instrument(waiter.round().span.clone());
            self.0.tasks.spawn(self.0.stop.clone().run_until_cancelled_owned(round));
        }
        (waiter, is_new)
    }
}

// === impl LeasedGet ===

impl LeasedGet<'_> {
    /// Looks for an answer in L1, in L2 and in a round, once. `None` if it has to look again.
    async fn attempt(&mut self) -> Result<Option<GetAnswer>, CacheError> {
        let shared = &*self.cache.0;
        if let Some(answer) = shared.answer_from_l1(self.context, shared.clock.now()) {
            return Ok(self.hit(answer).await);
        }
        let (fetched, waiter) = self.fetched_or_known().await;
        let found = fetched.as_ref().ok().cloned();
        let answer = shared.answer_from_fetch(self.context, fetched)?;
        match answer.outcome {
            GetOutcome::Hit { .. } => Ok(self.hit(answer).await),
            GetOutcome::Miss(Miss::Absent | Miss::Unavailable) => self.miss(answer, found, waiter).await,
            GetOutcome::Miss(_) => Ok(Some(answer)),
        }
    }

    /// Returns a hit, if there is room for its answer at once. After a wait it has to be looked up
    /// again.
    async fn hit(&mut self, answer: GetAnswer) -> Option<GetAnswer> {
        let clock = &self.cache.0.clock;
        let started_at = clock.now();
        match self.cache.0.room(self.context.get, &answer, self.deadline).await {
            Room::Now => Some(self.with_lease_to_refresh(answer).await),
            Room::Later => {
                self.requests_since = self.requests_since.plus(clock.now().since(started_at));
                self.reported = None;
                None
            }
            Room::Never => Some(self.cache.0.leased_miss(answer)),
        }
    }

    /// Waits in the round of the key for the lease, or for another caller to fill the entry.
    async fn miss(
        &mut self,
        answer: GetAnswer,
        found: Option<Fetched>,
        joined: Option<Waiter>,
    ) -> Result<Option<GetAnswer>, CacheError> {
        let shared = &*self.cache.0;
        let wait = self.options.wait;
        let (waiter, started_round) = match joined {
            Some(waiter) => (waiter, false),
            None => self.join_round(None, found.clone()),
        };
        let span = if started_round { Span::none() } else { spans::wait(&waiter.round().span) };
        let wait_started_at = shared.clock.now();
        let deadline = if wait { self.deadline } else { self.deadline.min(self.requests_deadline()) };
        let has_fallback = self.fallback(&answer, found.as_ref()).is_some();
        let round_wait = RoundWait { started_round, wait, has_fallback, deadline };
        let (result, refused) = shared.wait_in_round(self.context.get, round_wait, &waiter).instrument(span).await;
        if wait {
            self.requests_since = self.requests_since.plus(shared.clock.now().since(wait_started_at));
        }
        let has_lease = matches!(result, Some(WaitResult::Lease(_)));
        self.waited |= wait && refused.is_none() && !(started_round && has_lease);
        match result {
            Some(WaitResult::Lease(lease)) => {
                let degraded = answer.degraded || lease.alone;
                Ok(Some(GetAnswer { lease: Some(lease), degraded, at: shared.clock.now(), ..answer }))
            }
            Some(WaitResult::Ended(outcome)) => self.round_ended(outcome, answer, found, deadline).await,
            Some(WaitResult::Status(_)) | None => {
                let fallback = || self.fallback(&answer, found.as_ref());
                match (shared.with_room(self.context.get, deadline, fallback).await, refused) {
                    (Some(stale), _) => Ok(Some(stale)),
                    (None, Some(refused)) => Err(refused),
                    (None, None) => Ok(Some(shared.leased_miss(answer))),
                }
            }
        }
    }

    /// Returns the answer after the end of a round. `None` if it has to look again.
    async fn round_ended(
        &mut self,
        RoundOutcome { end, found: reported, refused }: RoundOutcome,
        answer: GetAnswer,
        found: Option<Fetched>,
        deadline: Moment,
    ) -> Result<Option<GetAnswer>, CacheError> {
        if let Some(refused) = refused {
            let fallback = || self.fallback(&answer, found.as_ref());
            let stale = self.cache.0.with_room(self.context.get, deadline, fallback).await;
            return stale.map(Some).ok_or(refused);
        }
        self.contradictions = if end == End::Present { self.contradictions + 1 } else { 0 };
        if self.contradictions == MAX_CONTRADICTIONS {
            return Ok(Some(answer));
        }
        let last_found = reported.as_ref().and_then(|reported| reported.as_ref().ok()).or(found.as_ref());
        if end == End::Failed {
            let fallback = || self.fallback(&answer, last_found);
            if let Some(stale) = self.cache.0.with_room(self.context.get, deadline, fallback).await {
                return Ok(Some(stale));
            }
        }
        self.reported = reported;
        Ok(None)
    }

    /// Returns a stale value, if this Get accepts one, as degraded as `answer`.
    fn fallback(&self, answer: &GetAnswer, found: Option<&Fetched>) -> Option<GetAnswer> {
        let GetContext { get, partition, .. } = self.context;
        let stale = self.options.stale_if_error.then(|| self.cache.0.stale_fallback(get, partition, found)).flatten();
        stale.map(|stale| GetAnswer { degraded: answer.degraded, ..stale })
    }

    /// Returns the contents of L2: as reported at the end of a round, as known when the current
    /// round began, or as read now. Also returns the part in that round.
    async fn fetched_or_known(&mut self) -> (FetchResult, Option<Waiter>) {
        let GetContext { get, partition, .. } = self.context;
        let token = get.token.position(partition);
        if let Some(reported) = self.reported.take()
            && reported.as_ref().map_or(true, |fetched| !fetched.may_precede(token, get.key.namespace))
        {
            return (reported, None);
        }
        // The absence is still current, or the round would have ended.
        let suits = |request: &LeaseRequest| {
            let known = |found: &Fetched| !found.may_precede(token, get.key.namespace);
            request.seen.is_none() && request.found.as_ref().is_some_and(known)
        };
        if let Some(waiter) = self.cache.0.coherence.rounds(partition).join(&self.key, suits)
            && let Some(found) = waiter.round().request.found.clone()
        {
            return (Ok(found), Some(waiter));
        }
        (self.cache.fetch(get, partition, self.requests_since).await, None)
    }

    /// Returns `answer`, with the refresh lease if the entry is due and no other caller has it.
    async fn with_lease_to_refresh(&self, answer: GetAnswer) -> GetAnswer {
        let shared = &*self.cache.0;
        let get = self.context.get;
        let GetOutcome::Hit { held, stale, .. } = &answer.outcome else { return answer };
        let now = shared.clock.now();
        if stale.is_none() && !is_due(&held.entry, get.key.namespace, now) {
            return answer;
        }
        let seen = stale.is_none().then_some(held.entry.version);
        let found = (!answer.degraded).then(|| Fetched { position: answer.position, held: Some(held.clone()) });
        let (waiter, true) = self.join_round(seen, found) else { return answer };
        let deadline = shared.answer_deadline(shared.config.read_timeout, get.deadline, self.requests_since);
        match timeout(deadline.since(now), waiter.wait(|_| true)).await {
            Ok(WaitResult::Lease(lease)) => GetAnswer { lease: Some(lease), at: shared.clock.now(), ..answer },
            _ => answer,
        }
    }

    /// Joins the round of the key, or begins one. Returns true if it began one.
    fn join_round(&self, seen: Option<Version>, found: Option<Fetched>) -> (Waiter, bool) {
        let deadline = self.requests_deadline();
        let request = LeaseRequest { duration: self.options.duration, seen, found, deadline };
        self.cache.join_round(&self.key, self.context.partition, request)
    }

    /// Returns the deadline of requests to L2.
    fn requests_deadline(&self) -> Moment {
        self.requests_since.plus(self.cache.0.config.read_timeout)
    }
}

// === impl TieredInner ===

impl TieredInner {
    /// Returns the answer to a Get that has waited without success.
    fn leased_miss(&self, answer: GetAnswer) -> GetAnswer {
        GetAnswer { outcome: GetOutcome::Miss(Miss::Leased), at: self.clock.now(), ..answer }
    }

    /// Returns a stale value of an entry that cannot be filled, if its namespace allows that.
    pub(super) fn stale_fallback(&self, get: &Get<'_>, partition: u16, found: Option<&Fetched>) -> Option<GetAnswer> {
        let (now, consistency) = (self.clock.now(), Consistency::Bounded(None));
        let switches = self.switches(get.key.namespace);
        let context = GetContext { get: &Get { consistency, ..*get }, switches, partition, started_at: now };
        match self.lookup_l1(context, now) {
            L1Lookup::Fresh(held) => return Some(hit_in_l1(partition, held, None, now)),
            L1Lookup::Stale(held, stale) => return Some(hit_in_l1(partition, held, Some(stale), now)),
            L1Lookup::Nothing => {}
        }
        let Fetched { position, held: Some(held) } = found? else { return None };
        let freshness = self.coherence.freshness(get.key, held, Moment::NEVER, Duration::ZERO, now);
        let stale = outlived(&held.entry, held.marked_at(), now)
            .filter(|stale| get.key.namespace.policy().may_serve_stale(stale.staleness))?;
        if freshness == Freshness::Invalidated
            || now >= held.entry.kept_until
            || *position < get.token.position(partition)
        {
            return None;
        }
        let outcome = GetOutcome::Hit { held: held.clone(), tier: Tier::L2, stale: Some(stale) };
        Some(GetAnswer::new(outcome, partition, *position, now))
    }
}

/// Returns true if a live entry is to be refreshed: after its soft time to live, or chosen at
/// random before it expires, the sooner the higher the cost of a fill (XFetch: of many readers
/// about one is chosen in time, and hardly any too early).
fn is_due(entry: &Entry, namespace: &Namespace, now: Moment) -> bool {
    let (eagerness, immutable) = (namespace.policy().early_refresh, namespace.policy().immutable);
    let drawn = || {
        let ahead = entry.cost.mul_f64(eagerness * -(1.0 - rand::random::<f64>()).ln());
        // Reads extend the life of some entries.
        entry.sliding.is_none() && entry.expires_at != Moment::FOREVER && now.plus(ahead) >= entry.expires_at
    };
    // An immutable entry is never refreshed.
    !immutable && (now >= entry.due_at || (eagerness > 0.0 && !entry.cost.is_zero() && drawn()))
}

#[cfg(test)]
#[path = "get_with_lease_tests.rs"]
mod tests;
