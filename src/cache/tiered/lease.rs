//! What becomes of a lease: asked for once for all who want it in this replica, handed to one of them, used, given back, or lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::cache::Tiered;
use super::set::{SetAnswer, SetOutcome};
use super::types::{Consistency, Get, GetAnswer};
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::key::Key;
use crate::cache::lease::waiters::{End, Round, RoundGuard};
use crate::cache::lease::{Lease, LeaseHolder, LeaseStatus};
use crate::cache::spans;
use crate::cache::tier::{Acquired, L2Error, LeaseClaim, LeaseId, LeaseRelease, Timeout};
use crate::cache::token::Token;

/// Of the bound on staleness: how long a round lasts while messages are not heard.
const UNHEARD: u32 = 8;

/// The return of a lease.
#[derive(Clone, Debug)]
pub struct Release {
    /// The key.
    pub key: Key,
    /// The lease, and how it is given back.
    pub back: LeaseRelease,
    /// When the caller leaves.
    pub deadline: Moment,
}

/// The answer to a Release.
pub struct Released {
    /// False: the lease did not hold any more.
    pub released: bool,
    /// When the entry could not be made: what is kept of it.
    pub kept: Option<GetAnswer>,
}

/// How the shared tier answered to a round, or this replica in its place.
enum LeaseReply {
    Granted(Lease),
    Obstructed(LeaseHolder),
    Present,
}

// === impl Tiered: rounds ===

impl Tiered {
    /// Runs a round to its end. Nothing that is heard is relied on for longer than the bound on staleness, should messages get lost.
    pub(super) async fn run_round(self, key: Key, partition: u16, round: Arc<Round>) {
        let shared = &*self.0;
        let mut running = RoundGuard::new(shared.coherence.rounds(partition), &key, &round);
        let mut unclaimed = None;
        let stands_until = match self.ask_for_lease(&key, &round).await {
            LeaseReply::Granted(lease) => {
                unclaimed = round.offer(lease).err();
                spans::note(spans::OUTCOME, "granted");
                // One that nobody gets is nobody's: who does not wait looks again, and finds it given back.
                unclaimed.is_none().then(|| {
                    round.set_status(LeaseStatus::Taken);
                    lease.until
                })
            }
            LeaseReply::Obstructed(LeaseHolder { until, status: said }) => {
                round.set_status(said);
                spans::note(spans::OUTCOME, "obstructed");
                Some(until)
            }
            LeaseReply::Present => {
                running.outcome.end = End::Present;
                spans::note(spans::OUTCOME, "present");
                None
            }
        };
        if let Some(until) = stands_until {
            let bound = shared.coherence.max_staleness();
            let bound = if shared.coherence.is_followed(partition) { bound } else { bound / UNHEARD };
            _ = timeout(until.since(shared.clock.now()).min(bound), round.ended()).await;
        }
        running.outcome.end = round.has_ended().unwrap_or(running.outcome.end);
        running.close();
        if let Some(lease) = unclaimed.or_else(|| round.take()) {
            self.take_back(&key, lease).await;
        }
        if round.is_awaited() {
            // Those who wait have deadlines of their own.
            let until = shared.clock.now().plus(shared.config.read_budget);
            let limit = Timeout { deadline: until, latest: Moment::FOREVER };
            running.outcome.found = Some(self.fetch_together(key.clone(), Duration::ZERO, limit).await);
        }
    }

    /// Asks the shared tier for the lease; when it cannot be asked, grants it here, to one caller at a time.
    async fn ask_for_lease(&self, key: &Key, round: &Round) -> LeaseReply {
        let shared = &*self.0;
        let sent = shared.clock.now();
        if let Some(obstacle) = shared.leases.alone(key, sent) {
            return LeaseReply::Obstructed(obstacle);
        }
        let occasion = &round.request;
        let id = LeaseId(rand::random());
        let claim = LeaseClaim { lease: id, duration: occasion.duration, seen: occasion.seen };
        let acquired = match sent < occasion.deadline {
            true => shared.l2.acquire(key, claim, occasion.deadline).await,
            false => Err(L2Error::unavailable("no time was left to ask for a lease")),
        };
        let (now, until) = (shared.clock.now(), sent.plus(occasion.duration));
        let lease = Lease { id, until, alone: false };
        let obstructed = |left, said| LeaseReply::Obstructed(LeaseHolder { until: now.plus(left), status: said });
        match acquired {
            Ok(Acquired::Granted) => {
                shared.leases.granted(key, lease, now);
                LeaseReply::Granted(lease)
            }
            Ok(Acquired::Held(left)) => obstructed(left, LeaseStatus::Taken),
            Ok(Acquired::Paused(left)) => obstructed(left, LeaseStatus::Paused),
            Ok(Acquired::Present) => LeaseReply::Present,
            // Under the same name: should the answer have been lost, the lease holds there, too.
            Err(_) => {
                let lease = Lease { until: now.plus(occasion.duration), alone: true, ..lease };
                match shared.leases.grant_alone(key, lease, now) {
                    Ok(()) => LeaseReply::Granted(lease),
                    Err(obstacle) => LeaseReply::Obstructed(obstacle),
                }
            }
        }
    }

    /// Nobody was there any more to take the lease.
    async fn take_back(&self, key: &Key, lease: Lease) {
        let shared = &*self.0;
        shared.leases.forget(key, lease.id, shared.clock.now());
        if !lease.alone {
            self.give_back(key, LeaseRelease { lease: lease.id, failed: false, pause: Duration::ZERO }).await;
        }
    }

    async fn give_back(&self, key: &Key, back: LeaseRelease) {
        let until = self.0.clock.now().plus(self.0.config.write_budget);
        if let Err(error) = self.0.l2.release(key, back, until).await {
            tracing::debug!(%error, "a lease could not be given back; it ends by time");
        }
    }
}

// === impl Tiered: what is done with a lease ===

impl Tiered {
    /// A Set with a lease has been answered: the lease stands in nobody's way any more, unless it still holds in the shared tier.
    pub(super) async fn settle_lease(&self, key: &Key, id: LeaseId, answer: Result<&SetAnswer, &CacheError>) {
        let shared = &*self.0;
        let counters = &shared.leases.counters;
        match answer {
            Ok(SetAnswer { outcome: SetOutcome::Stored, .. }) => counters.filled.inc(),
            Ok(SetAnswer { outcome: SetOutcome::LeaseVoid, .. }) => counters.voided.inc(),
            // It may be used with another value yet.
            Ok(_) => return,
            Err(_) => {}
        }
        let granted_here = shared.leases.forget(key, id, shared.clock.now()).is_some();
        let is_void = matches!(answer, Ok(SetAnswer { outcome: SetOutcome::LeaseVoid, .. }));
        if is_void || matches!(answer, Err(CacheError::Full)) {
            // It may hold for an entry with other tags yet, but who had it knows it as void; or it will not be used soon. What gives it back
            // works also when there is no room.
            self.give_back(key, LeaseRelease { lease: id, failed: false, pause: Duration::ZERO }).await;
        }
        if granted_here {
            shared.coherence.end_round(key.as_ref(), End::LookAgain);
        }
    }

    /// Gives a lease back. A caller who leaves does not end it half way.
    pub async fn release(&self, release: Release) -> Result<Released, CacheError> {
        let cache = self.clone();
        self.owned(async move { cache.release_now(release).await }).await
    }

    async fn release_now(&self, release: Release) -> Result<Released, CacheError> {
        let shared = &*self.0;
        let Release { key, back, deadline } = release;
        let begun = shared.clock.now();
        let end = if back.failed { End::Failed } else { End::LookAgain };
        let granted_here = shared.leases.forget(&key, back.lease, begun);
        if granted_here == Some(true) && !back.pause.is_zero() {
            shared.leases.pause(&key, begun.plus(back.pause), begun);
        }
        let released = match granted_here {
            Some(true) => {
                // Should the shared tier have granted it after all, and its answer been lost.
                let (cache, key) = (self.clone(), key.clone());
                shared.tasks.spawn(async move { cache.give_back(&key, back).await });
                Ok(true)
            }
            _ => shared.l2.release(&key, back, begun.plus(shared.config.write_budget).min(deadline)).await,
        };
        if granted_here == Some(true) || (granted_here.is_some() && released.is_err()) {
            shared.coherence.end_round(key.as_ref(), end);
        }
        let released = released.map_err(|error| shared.error(error, deadline))?;
        if released {
            shared.leases.counters.released.inc();
        }
        let kept = if back.failed { self.kept_after_all(&key, deadline).await } else { None };
        Ok(Released { released, kept })
    }

    /// What is kept of an entry that could not be made.
    async fn kept_after_all(&self, key: &Key, deadline: Moment) -> Option<GetAnswer> {
        let shared = &*self.0;
        let token = Token::default();
        let consistency = Consistency::Bounded(None);
        let get = Get { key: key.as_ref(), consistency, token: &token, deadline, lease: None, place: None };
        let partition = shared.coherence.partition_of(key.as_ref());
        if let Some(kept) = shared.kept(&get, partition, None) {
            return Some(kept);
        }
        let fetched = self.ask_l2(&get, partition, shared.clock.now()).await.ok()?;
        shared.kept(&get, partition, Some(&fetched))
    }
}
