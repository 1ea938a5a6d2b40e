//! Get with a lease: one caller fills the entry; others wait, take a stale value or time out.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{Instrument as _, Span};

use super::cache::{L1Lookup, Tiered, TieredInner, outlived};
use super::types::{Consistency, Get, GetAnswer, GetOutcome, Miss, Tier};
use crate::cache::clock::Moment;
use crate::cache::coherence::Freshness;
use crate::cache::entry::Entry;
use crate::cache::error::CacheError;
use crate::cache::key::Key;
use crate::cache::lease::waiters::{End, LeaseRequest, RoundOutcome, WaitResult, Waiter};
use crate::cache::lease::{LeaseOptions, LeaseStatus};
use crate::cache::namespace::Namespace;
use crate::cache::policy::Switches;
use crate::cache::single_flight::{FetchResult, Fetched};
use crate::cache::spans;

/// How many times in a row L2 may report an entry that a read does not find, before the read wins.
const MAX_CONTRADICTIONS: u32 = 3;

/// Part of one Get in a lease round.
#[derive(Clone, Copy)]
struct RoundPart {
    /// True if this Get began the round: so far it waits for the shared tier only.
    started_round: bool,
    /// True if it waits for another caller.
    wait: bool,
    /// True if it has an answer to fall back to while leases are paused.
    has_fallback: bool,
    /// End of its wait.
    deadline: Moment,
}

/// Result of waiting for room for an answer.
enum Room {
    AtOnce,
    /// There is room after a wait. Time has passed, so the answer has to be looked up again.
    Later,
    /// There was no room in time.
    Never,
}

// === impl Tiered ===

impl Tiered {
    /// Reads one entry for a caller that would fill it.
    pub(super) async fn get_with_lease(
        &self,
        get: &Get<'_>,
        options: LeaseOptions,
        switches: Switches,
        partition: u16,
        started_at: Moment,
    ) -> Result<GetAnswer, CacheError> {
        let shared = &*self.0;
        let deadline = shared.answer_deadline(Duration::MAX, get.deadline, started_at);
        let key = get.key.to_key();
        let (mut heard, mut contradictions, mut waited) = (None, 0, false);
        // All requests to L2 share one timeout from here on. The wait for another caller to fill
        // the entry does not count.
        let mut asking_since = started_at;
        let answer = loop {
            let now = shared.clock.now();
            if let Some(answer) = shared.answer_from_l1(get, switches, partition, now) {
                let room_begun = shared.clock.now();
                match self.room(get, &answer, deadline).await {
                    Room::AtOnce => break self.with_lease_to_refresh(get, &key, options, asking_since, answer).await,
                    Room::Later => {
                        asking_since = asking_since.plus(shared.clock.now().since(room_begun));
                        heard = None;
                        continue;
                    }
                    Room::Never => break shared.leased_miss(answer),
                }
            }
            let (fetched, seat) = self.fetched_or_known(get, &key, partition, asking_since, heard.take()).await;
            let found = fetched.as_ref().ok().cloned();
            let answer = shared.answer_from_fetch(get, switches, partition, fetched)?;
            match answer.outcome {
                GetOutcome::Hit { .. } => {
                    let room_begun = shared.clock.now();
                    match self.room(get, &answer, deadline).await {
                        Room::AtOnce => {
                            break self.with_lease_to_refresh(get, &key, options, asking_since, answer).await;
                        }
                        Room::Later => {
                            asking_since = asking_since.plus(shared.clock.now().since(room_begun));
                            continue;
                        }
                        Room::Never => break shared.leased_miss(answer),
                    }
                }
                GetOutcome::Miss(Miss::Absent | Miss::Unavailable) => {}
                GetOutcome::Miss(_) => break answer,
            }
            let (seat, first) = seat.map_or_else(
                || {
                    let deadline_of_l2 = asking_since.plus(shared.config.read_timeout);
                    let occasion = LeaseRequest {
                        duration: options.duration,
                        seen: None,
                        found: found.clone(),
                        deadline: deadline_of_l2,
                    };
                    self.join_round(&key, partition, occasion)
                },
                |seat| (seat, false),
            );
            let kept = |found: Option<&Fetched>| {
                let stale = options.stale_if_error.then(|| shared.stale_fallback(get, partition, found)).flatten();
                stale.map(|stale| GetAnswer { degraded: answer.degraded, ..stale })
            };
            let span = if first { Span::none() } else { spans::wait(&seat.round().span) };
            let turn_begun = shared.clock.now();
            let deadline =
                if options.wait { deadline } else { deadline.min(asking_since.plus(shared.config.read_timeout)) };
            let part = RoundPart {
                started_round: first,
                wait: options.wait,
                has_fallback: kept(found.as_ref()).is_some(),
                deadline,
            };
            let (turn, refused) = self.wait_in_round(get, part, &seat).instrument(span).await;
            if options.wait {
                asking_since = asking_since.plus(shared.clock.now().since(turn_begun));
            }
            waited |= options.wait && refused.is_none() && !(first && matches!(turn, Some(WaitResult::Lease(_))));
            match turn {
                Some(WaitResult::Lease(lease)) => {
                    let degraded = answer.degraded || lease.alone;
                    break GetAnswer { lease: Some(lease), degraded, at: shared.clock.now(), ..answer };
                }
                Some(WaitResult::Ended(RoundOutcome { end, found: last })) => {
                    contradictions = if end == End::Present { contradictions + 1 } else { 0 };
                    if contradictions == MAX_CONTRADICTIONS {
                        break answer;
                    }
                    let last_found = last.as_ref().and_then(|last| last.as_ref().ok());
                    let last_found = last_found.or(found.as_ref());
                    if end == End::Failed
                        && let Some(stale) = self.with_room(get, deadline, || kept(last_found)).await
                    {
                        break stale;
                    }
                    heard = last;
                }
                Some(WaitResult::Status(_)) | None => {
                    match (self.with_room(get, deadline, || kept(found.as_ref())).await, refused) {
                        (Some(stale), _) => break stale,
                        (None, Some(refused)) => return Err(refused),
                        (None, None) => break shared.leased_miss(answer),
                    }
                }
            }
        };
        if waited {
            let counters = &shared.leases.counters;
            match answer.outcome {
                GetOutcome::Hit { .. } => counters.served.inc(),
                GetOutcome::Miss(_) => counters.left.inc(),
            }
        }
        Ok(GetAnswer { waited, ..answer })
    }

    /// Returns what L2 holds: as reported at the end of a round, as the current round was begun
    /// with, or as read now.
    async fn fetched_or_known(
        &self,
        get: &Get<'_>,
        key: &Key,
        partition: u16,
        asking_since: Moment,
        heard: Option<FetchResult>,
    ) -> (FetchResult, Option<Waiter>) {
        let token = get.token.position(partition);
        if let Some(heard) = heard
            && heard.as_ref().map_or(true, |fetched| !fetched.may_precede(token, get.key.namespace))
        {
            return (heard, None);
        }
        // The absence is still current, or the round would have ended.
        let suits = |occasion: &LeaseRequest| {
            let known = |found: &Fetched| !found.may_precede(token, get.key.namespace);
            occasion.seen.is_none() && occasion.found.as_ref().is_some_and(known)
        };
        if let Some(seat) = self.0.coherence.rounds(partition).join(key, suits)
            && let Some(found) = seat.round().request.found.clone()
        {
            return (Ok(found), Some(seat));
        }
        (self.fetch(get, partition, asking_since).await, None)
    }

    /// Returns `answer`, with the refresh lease if the entry is due and no other caller has it.
    async fn with_lease_to_refresh(
        &self,
        get: &Get<'_>,
        key: &Key,
        options: LeaseOptions,
        asking_since: Moment,
        answer: GetAnswer,
    ) -> GetAnswer {
        let shared = &*self.0;
        let GetOutcome::Hit { held, stale, .. } = &answer.outcome else { return answer };
        let now = shared.clock.now();
        if stale.is_none() && !is_due(&held.entry, get.key.namespace, now) {
            return answer;
        }
        let seen = stale.is_none().then_some(held.entry.version);
        let found = (!answer.degraded).then(|| Fetched { position: answer.position, held: Some(held.clone()) });
        let deadline_of_l2 = asking_since.plus(shared.config.read_timeout);
        let occasion = LeaseRequest { duration: options.duration, seen, found, deadline: deadline_of_l2 };
        let (seat, true) = self.join_round(key, answer.partition, occasion) else { return answer };
        let deadline = shared.answer_deadline(shared.config.read_timeout, get.deadline, asking_since);
        match timeout(deadline.since(now), seat.wait(|_| true)).await {
            Ok(WaitResult::Lease(lease)) => GetAnswer { lease: Some(lease), at: shared.clock.now(), ..answer },
            _ => answer,
        }
    }

    /// Joins the round of `key`. Returns true if this call began it.
    fn join_round(&self, key: &Key, partition: u16, occasion: LeaseRequest) -> (Waiter, bool) {
        let (seat, is_new) = self.0.coherence.rounds(partition).join_or_start(key, occasion);
        if is_new {
            let round = self.clone().run_round(key.clone(), partition, seat.round().clone());
            let round = round.instrument(seat.round().span.clone());
            self.0.tasks.spawn(self.0.stop.clone().run_until_cancelled_owned(round));
        }
        (seat, is_new)
    }

    /// Waits in a round for one Get.
    ///
    /// A Get that only requests the lease keeps its slot; one that waits for another caller gives
    /// it back. Also returns the error if the Get may not wait.
    async fn wait_in_round(
        &self,
        get: &Get<'_>,
        part: RoundPart,
        seat: &Waiter,
    ) -> (Option<WaitResult>, Option<CacheError>) {
        let waiting = part.wait.then(|| self.0.leases.counters.waiting.inc_guard());
        if part.started_round || !part.wait {
            let turn = self.wait_for_offer(false, part.has_fallback, part.deadline, seat).await;
            if !(part.wait && matches!(turn, Some(WaitResult::Status(_)))) {
                return (turn, None);
            }
        }
        let refused = get.slot.and_then(|place| place.wait().err());
        let _waiting = waiting.filter(|_| refused.is_none());
        (self.wait_for_offer(refused.is_none(), part.has_fallback, part.deadline, seat).await, refused)
    }

    /// Waits until there is room for an answer. The answer may be sent as it is only if there was
    /// room at once.
    async fn room(&self, get: &Get<'_>, answer: &GetAnswer, deadline: Moment) -> Room {
        let (Some(place), GetOutcome::Hit { held, .. }) = (get.slot, &answer.outcome) else { return Room::AtOnce };
        let patience = deadline.since(self.0.clock.now());
        match timeout(patience, place.wait_for_answer_room(held.entry.content.len())).await {
            Ok(true) => Room::AtOnce,
            Ok(false) => Room::Later,
            Err(_) => Room::Never,
        }
    }

    /// Returns the answer of `look` once there is room for it. `None` if there is no answer, or no
    /// room in time.
    async fn with_room(
        &self,
        get: &Get<'_>,
        deadline: Moment,
        look: impl Fn() -> Option<GetAnswer>,
    ) -> Option<GetAnswer> {
        loop {
            let answer = look()?;
            match self.room(get, &answer, deadline).await {
                Room::AtOnce => return Some(answer),
                Room::Later => {}
                Room::Never => return None,
            }
        }
    }

    /// Waits for the result of a round for one Get, until its deadline. `None` if it timed out.
    async fn wait_for_offer(&self, wait: bool, kept: bool, deadline: Moment, seat: &Waiter) -> Option<WaitResult> {
        let shared = &*self.0;
        let patience = deadline.since(shared.clock.now());
        let leaving = async {
            shared.draining.cancelled().await;
            seat.wait(|_| true).await
        };
        let turn = async {
            tokio::select! {
                biased;
                turn = seat.wait(|said| !wait || (kept && said == LeaseStatus::Paused)) => turn,
                turn = leaving => turn,
            }
        };
        timeout(patience, turn).await.ok()
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
        match self.lookup_l1(&Get { consistency, ..*get }, switches, partition, now) {
            L1Lookup::Fresh(held) => return Some(self.hit_in_l1(partition, held, None, now)),
            L1Lookup::Stale(held, stale) => return Some(self.hit_in_l1(partition, held, Some(stale), now)),
            L1Lookup::Nothing => {}
        }
        let Fetched { position, held: Some(held) } = found? else { return None };
        let judgement = self.coherence.freshness(get.key, held, Moment::NEVER, Duration::ZERO, now);
        let stale = outlived(&held.entry, held.marked_at(), now)
            .filter(|stale| stale.staleness <= get.key.namespace.policy().stale_window)?;
        if judgement == Freshness::Invalidated
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
