//! Gets with a lease: one caller makes the entry, the others wait for it, take a stale value, or leave in time.

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

/// How often in a row the shared tier may say that there is an entry of which a read shows nothing. Then the read is believed.
const CONTRADICTIONS: u32 = 3;

/// How one Get takes part in a round.
#[derive(Clone, Copy)]
struct RoundPart {
    /// The round was begun for it: so far it waits for the shared tier only.
    first: bool,
    /// Whether it waits for another caller.
    wait: bool,
    /// Whether it has an answer that will do when nobody may have the lease.
    kept: bool,
    /// Until when it waits.
    until: Moment,
}

/// Whether there is room for an answer.
enum Room {
    AtOnce,
    /// There is now. Time has passed: the answer has to be looked up again.
    Later,
    /// There was none in time.
    Never,
}

// === impl Tiered ===

impl Tiered {
    /// Reads one entry for a caller who would make it.
    pub(super) async fn get_with_lease(
        &self,
        get: &Get<'_>,
        wish: LeaseOptions,
        switches: Switches,
        partition: u16,
        begun: Moment,
    ) -> Result<GetAnswer, CacheError> {
        let shared = &*self.0;
        let until = shared.until(Duration::MAX, get.deadline, begun);
        let key = get.key.to_key();
        let (mut heard, mut contradictions, mut waited) = (None, 0, false);
        // All that the shared tier is asked for has one budget, from here on; waiting for another caller to make the entry does not count.
        let mut asking_since = begun;
        let answer = loop {
            let now = shared.clock.now();
            if let Some(answer) = shared.answer_from_memory(get, switches, partition, now) {
                let room_begun = shared.clock.now();
                match self.room(get, &answer, until).await {
                    Room::AtOnce => break self.with_lease_to_refresh(get, &key, wish, asking_since, answer).await,
                    Room::Later => {
                        asking_since = asking_since.plus(shared.clock.now().since(room_begun));
                        heard = None;
                        continue;
                    }
                    Room::Never => break shared.leased(answer),
                }
            }
            let (fetched, seat) = self.fetched_or_known(get, &key, partition, asking_since, heard.take()).await;
            let found = fetched.as_ref().ok().cloned();
            let answer = shared.conclude(get, switches, partition, fetched)?;
            match answer.outcome {
                GetOutcome::Hit { .. } => {
                    let room_begun = shared.clock.now();
                    match self.room(get, &answer, until).await {
                        Room::AtOnce => break self.with_lease_to_refresh(get, &key, wish, asking_since, answer).await,
                        Room::Later => {
                            asking_since = asking_since.plus(shared.clock.now().since(room_begun));
                            continue;
                        }
                        Room::Never => break shared.leased(answer),
                    }
                }
                GetOutcome::Miss(Miss::Absent | Miss::Unavailable) => {}
                GetOutcome::Miss(_) => break answer,
            }
            let (seat, first) = seat.map_or_else(
                || {
                    let patience = asking_since.plus(shared.config.read_budget);
                    let occasion =
                        LeaseRequest { duration: wish.duration, seen: None, found: found.clone(), deadline: patience };
                    self.take_seat(&key, partition, occasion)
                },
                |seat| (seat, false),
            );
            let kept = |found: Option<&Fetched>| match wish.stale_if_error {
                true => {
                    shared.kept(get, partition, found).map(|stale| GetAnswer { degraded: answer.degraded, ..stale })
                }
                false => None,
            };
            let span = if first { Span::none() } else { spans::wait(&seat.round().span) };
            let turn_begun = shared.clock.now();
            let until = if wish.wait { until } else { until.min(asking_since.plus(shared.config.read_budget)) };
            let part = RoundPart { first, wait: wish.wait, kept: kept(found.as_ref()).is_some(), until };
            let (turn, refused) = self.take_part(get, part, &seat).instrument(span).await;
            if wish.wait {
                asking_since = asking_since.plus(shared.clock.now().since(turn_begun));
            }
            waited |= wish.wait && refused.is_none() && !(first && matches!(turn, Some(WaitResult::Lease(_))));
            match turn {
                Some(WaitResult::Lease(lease)) => {
                    let degraded = answer.degraded || lease.alone;
                    break GetAnswer { lease: Some(lease), degraded, at: shared.clock.now(), ..answer };
                }
                Some(WaitResult::Ended(RoundOutcome { end, found: last })) => {
                    contradictions = if end == End::Present { contradictions + 1 } else { 0 };
                    if contradictions == CONTRADICTIONS {
                        break answer;
                    }
                    let last_found = last.as_ref().and_then(|last| last.as_ref().ok());
                    let last_found = last_found.or(found.as_ref());
                    if end == End::Failed
                        && let Some(stale) = self.with_room(get, until, || kept(last_found)).await
                    {
                        break stale;
                    }
                    heard = last;
                }
                Some(WaitResult::Status(_)) | None => {
                    match (self.with_room(get, until, || kept(found.as_ref())).await, refused) {
                        (Some(stale), _) => break stale,
                        (None, Some(refused)) => return Err(refused),
                        (None, None) => break shared.leased(answer),
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

    /// What the shared tier holds: as was heard at the end of a round, as the round under way was begun with, or as it says now.
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
        // What an absence was known by still stands, or the round would be over.
        let suits = |occasion: &LeaseRequest| {
            let known = |found: &Fetched| !found.may_precede(token, get.key.namespace);
            occasion.seen.is_none() && occasion.found.as_ref().is_some_and(known)
        };
        if let Some(seat) = self.0.coherence.rounds(partition).join(key, suits)
            && let Some(found) = seat.round().request.found.clone()
        {
            return (Ok(found), Some(seat));
        }
        (self.ask_l2(get, partition, asking_since).await, None)
    }

    /// A value that can be used, with the lease to make it anew if that is due and nobody else has it.
    async fn with_lease_to_refresh(
        &self,
        get: &Get<'_>,
        key: &Key,
        wish: LeaseOptions,
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
        let patience = asking_since.plus(shared.config.read_budget);
        let occasion = LeaseRequest { duration: wish.duration, seen, found, deadline: patience };
        let (seat, true) = self.take_seat(key, answer.partition, occasion) else { return answer };
        let until = shared.until(shared.config.read_budget, get.deadline, asking_since);
        match timeout(until.since(now), seat.wait(|_| true)).await {
            Ok(WaitResult::Lease(lease)) => GetAnswer { lease: Some(lease), at: shared.clock.now(), ..answer },
            _ => answer,
        }
    }

    /// Takes part in the round of `key`. Returns also whether it was begun for this.
    fn take_seat(&self, key: &Key, partition: u16, occasion: LeaseRequest) -> (Waiter, bool) {
        let (seat, begun) = self.0.coherence.rounds(partition).join_or_start(key, occasion);
        if begun {
            let round = self.clone().run_round(key.clone(), partition, seat.round().clone());
            let round = round.instrument(seat.round().span.clone());
            self.0.tasks.spawn(self.0.stop.clone().run_until_cancelled_owned(round));
        }
        (seat, begun)
    }

    /// Takes part in a round for one Get. What only asks for the lease keeps its place; what waits for another caller gives it back. Returns
    /// also why the Get may not wait, if it would.
    async fn take_part(
        &self,
        get: &Get<'_>,
        part: RoundPart,
        seat: &Waiter,
    ) -> (Option<WaitResult>, Option<CacheError>) {
        let waiting = part.wait.then(|| self.0.leases.counters.waiting.inc_guard());
        if part.first || !part.wait {
            let turn = self.turn(false, part.kept, part.until, seat).await;
            if !(part.wait && matches!(turn, Some(WaitResult::Status(_)))) {
                return (turn, None);
            }
        }
        let refused = get.place.and_then(|place| place.wait().err());
        let _waiting = waiting.filter(|_| refused.is_none());
        (self.turn(refused.is_none(), part.kept, part.until, seat).await, refused)
    }

    /// Waits until there is room for an answer. It may be given as it is only if there was room at once.
    async fn room(&self, get: &Get<'_>, answer: &GetAnswer, until: Moment) -> Room {
        let (Some(place), GetOutcome::Hit { held, .. }) = (get.place, &answer.outcome) else { return Room::AtOnce };
        let patience = until.since(self.0.clock.now());
        match timeout(patience, place.room(held.entry.content.len())).await {
            Ok(true) => Room::AtOnce,
            Ok(false) => Room::Later,
            Err(_) => Room::Never,
        }
    }

    /// The answer that `look` finds when there is room for it; `None` if it finds none, or there is no room in time.
    async fn with_room(&self, get: &Get<'_>, until: Moment, look: impl Fn() -> Option<GetAnswer>) -> Option<GetAnswer> {
        loop {
            let answer = look()?;
            match self.room(get, &answer, until).await {
                Room::AtOnce => return Some(answer),
                Room::Later => {}
                Room::Never => return None,
            }
        }
    }

    /// Waits for what a round comes to for one Get, as long as its caller would. None: in vain.
    async fn turn(&self, wait: bool, kept: bool, until: Moment, seat: &Waiter) -> Option<WaitResult> {
        let shared = &*self.0;
        let patience = until.since(shared.clock.now());
        let leaving = async {
            shared.leaving.cancelled().await;
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

// === impl Shared ===

impl TieredInner {
    /// The answer to a Get that has waited in vain.
    fn leased(&self, answer: GetAnswer) -> GetAnswer {
        GetAnswer { outcome: GetOutcome::Miss(Miss::Leased), at: self.clock.now(), ..answer }
    }

    /// What is kept of an entry that cannot be made, as far as its namespace allows it.
    pub(super) fn kept(&self, get: &Get<'_>, partition: u16, found: Option<&Fetched>) -> Option<GetAnswer> {
        let (now, consistency) = (self.clock.now(), Consistency::Bounded(None));
        let switches = self.switches(get.key.namespace);
        match self.look_up(&Get { consistency, ..*get }, switches, partition, now) {
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

/// Whether an entry that lives is to be made anew: from its soft time to live on, or drawn before it ends, the sooner the more making it
/// costs (XFetch: of many who look, about one draws in time, and hardly any too early).
fn is_due(entry: &Entry, namespace: &Namespace, now: Moment) -> bool {
    let (eagerness, immutable) = (namespace.policy().early_refresh, namespace.policy().immutable);
    let drawn = || {
        let ahead = entry.cost.mul_f64(eagerness * -(1.0 - rand::random::<f64>()).ln());
        // Reading prolongs the life of some entries.
        entry.sliding.is_none() && entry.expires_at != Moment::FOREVER && now.plus(ahead) >= entry.expires_at
    };
    // What is written once is never made anew.
    !immutable && (now >= entry.due_at || (eagerness > 0.0 && !entry.cost.is_zero() && drawn()))
}

#[cfg(test)]
#[path = "get_with_lease_tests.rs"]
mod tests;
